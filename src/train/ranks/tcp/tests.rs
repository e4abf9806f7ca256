use super::*;
use crate::train::ranks::launched::Token;
use std::net::TcpListener;

/// The results of `of_rank` on three ranks, which also gets the failures that this rank's callback has received.
fn on_three<T: Send>(of_rank: impl Fn(&Tcp, &Mutex<Vec<RanksError>>) -> T + Sync) -> Vec<T> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (host, job, token) = ("127.0.0.1".into(), "three".into(), Token::default());
    let rendezvous = Rendezvous { host, port, listen: None, job, token };
    let run = |rank| {
        let failures = Arc::new(Mutex::new(vec![]));
        let callback = failures.clone();
        let on_peer_failure = Box::new(move |error: &RanksError| lock(&callback).push(error.clone()));
        of_rank(&Tcp::join(rank, 3, &rendezvous, on_peer_failure).unwrap(), &failures)
    };
    std::thread::scope(|scope| {
        let ranks: Vec<_> = (0..3).map(|rank| scope.spawn(move || run(rank))).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

#[test]
fn all_ranks_get_the_same() {
    let found = on_three(|ranks, _| {
        let mut long: Vec<f32> =
            (0..100_000).map(|i| (i as f32).sqrt() * (1.0 + ranks.rank() as f32)).collect();
        ranks.all_reduce(&mut long).unwrap();
        let mut doubles = [0.1 + ranks.rank() as f64, 1e-300];
        ranks.all_reduce_f64(&mut doubles).unwrap();
        ranks.all_reduce(&mut []).unwrap();
        ranks.barrier().unwrap();
        let texts = ranks.all_gather(&format!("rank \"{}\" é", ranks.rank())).unwrap();
        (long, doubles, texts)
    });
    assert!(found.windows(2).all(|two| two[0] == two[1]));
    let (long, doubles, texts) = &found[0];
    let of = |i: usize| {
        let root = (i as f32).sqrt();
        root + root * 2.0 + root * 3.0 // in the order of ranks
    };
    assert!((0..100_000).all(|i| long[i] == of(i)));
    assert_eq!(*doubles, [0.1 + 1.1 + 2.1, 3e-300]);
    assert_eq!(texts[2], "rank \"2\" é");
}

#[test]
fn a_rank_that_leaves_early_waits_for_the_others() {
    let failures = on_three(|ranks, failures| {
        std::thread::sleep(Duration::from_millis(20) * (2 - ranks.rank() as u32));
        lock(failures).clone()
    });
    assert_eq!(failures, [[], [], []]);
}

/// The waits of all other ranks end with the same error, which their callbacks receive once.
fn fails(of_rank_2: impl Fn(&Tcp) + Sync, message: &str) {
    on_three(|ranks, failures| {
        if ranks.rank() == 2 {
            return of_rank_2(ranks);
        }
        let error = ranks.barrier().unwrap_err();
        assert!(error.to_string().starts_with(message), "{error}");
        assert!(error.to_string().contains("(rank 2 is at 127.0.0.1:"), "{error}");
        assert_eq!(ranks.all_reduce(&mut [1.0]).unwrap_err(), error);
        assert_eq!(*lock(failures), [error]);
    });
}

#[test]
fn a_rank_that_fails_ends_the_waits_of_the_others() {
    fails(|ranks| ranks.abort("no space left"), "rank 2 has failed: no space left (");
}

#[test]
fn a_rank_that_dies_ends_the_waits_of_the_others() {
    let die = |ranks: &Tcp| {
        let failure = RanksError::Tensor("died".into()); // so that it neither leaves nor sends a reason
        ranks.connections.end(failure, |_| ());
    };
    fails(die, "rank 2 has ended, or the connection to it is lost (");
}

#[test]
fn different_numbers_of_values_are_an_error() {
    let errors = on_three(|ranks, _| {
        let mut numbers = vec![1.0; 2 + ranks.rank() / 2];
        ranks.all_reduce(&mut numbers).unwrap_err().to_string()
    });
    let expected = "rank 2 has sent another number of values: expected 8 bytes; found 12 (rank 2 is at ";
    assert!(errors.iter().all(|error| error.starts_with(expected)), "{errors:?}");
}

/// Rank 0 of two over a connection whose other end is the test's.
fn with_stranger(frozen: Duration) -> (Tcp, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stranger = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    (Tcp::over(0, 2, vec![(1, stream)], frozen, Box::new(|_| ())).unwrap(), stranger)
}

#[test]
fn a_rank_that_stays_silent_is_frozen_and_one_that_sends_heartbeats_is_not() {
    let frozen = Duration::from_millis(600);
    let (rank_0, mut alive) = with_stranger(frozen);
    let messages = std::thread::spawn(move || {
        for _ in 0..10 {
            std::thread::sleep(frozen / 6);
            alive.write_all(&[MessageKind::Alive as u8, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        }
        send(&alive, MessageKind::Data, b"there").unwrap();
        std::thread::sleep(3 * frozen); // open, and silent
    });
    assert_eq!(rank_0.all_gather("here").unwrap(), ["here", "there"]);
    let error = rank_0.all_gather("here").unwrap_err().to_string();
    assert!(error.starts_with("rank 1 has sent nothing for the time of SMALTI_RANK_TIMEOUT"), "{error}");
    messages.join().unwrap();
}

#[test]
fn the_length_of_a_message_is_checked_before_it_is_allocated() {
    for (kind, length, expected) in [
        (MessageKind::Data as u8, u64::MAX, "rank 1 has sent a message that is too long"),
        (MessageKind::Failure as u8, 1 << 20, "rank 1 has sent a message that is too long"),
        (9, 0, "rank 1 has sent a message of an unknown kind"),
    ] {
        let (rank_0, mut stranger) = with_stranger(FROZEN_TIMEOUT);
        stranger.write_all(&[&[kind][..], &length.to_le_bytes()].concat()).unwrap();
        let error = rank_0.barrier().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
