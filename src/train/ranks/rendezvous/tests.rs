//! Ranks, strangers and misfits at a rendezvous.

use super::*;
use std::thread::JoinHandle;

const SHORT: Duration = Duration::from_secs(1);

/// An address at which no process listens.
fn free(job: &str) -> Rendezvous {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    Rendezvous { host: "127.0.0.1".into(), port, listen: None, job: job.into(), token: Token::default() }
}

fn accepts(
    world_size: usize,
    rendezvous: &Rendezvous,
    timeout: Duration,
) -> JoinHandle<Result<usize, RanksError>> {
    let rendezvous = rendezvous.clone();
    spawn(move || accept_ranks(world_size, &rendezvous, timeout).map(|connected| connected.len()))
}

fn connects(rank: usize, world_size: usize, rendezvous: &Rendezvous) -> JoinHandle<Result<(), RanksError>> {
    let rendezvous = rendezvous.clone();
    spawn(move || connect(rank, world_size, &rendezvous, 20 * SHORT).map(drop))
}

fn error<T: std::fmt::Debug>(rank: JoinHandle<Result<T, RanksError>>) -> String {
    rank.join().unwrap().unwrap_err().to_string()
}

#[test]
fn ranks_are_admitted_and_other_connections_closed() {
    let rendezvous = free("a");
    let rank_1 = connects(1, 3, &rendezvous); // before rank 0 listens
    let rank_0 = accepts(3, &rendezvous, 20 * SHORT);
    let mut garbage = TcpStream::connect(("127.0.0.1", rendezvous.port));
    while garbage.is_err() {
        sleep(POLL_INTERVAL);
        garbage = TcpStream::connect(("127.0.0.1", rendezvous.port));
    }
    let mut garbage = garbage.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(!matches!(garbage.read(&mut [0; 64]), Ok(1..)), "garbage gets a reply");
    let long = [MAGIC, &u32::MAX.to_le_bytes()].concat();
    TcpStream::connect(("127.0.0.1", rendezvous.port)).unwrap().write_all(&long).unwrap();
    let other = Rendezvous { job: "b".into(), ..rendezvous.clone() };
    assert_eq!(error(connects(1, 3, &other)), r#"rank 0 reports: this is rank 0 of another job, "a""#);
    let rank_2 = connects(2, 3, &rendezvous);
    assert_eq!(rank_0.join().unwrap(), Ok(2));
    assert_eq!((rank_1.join().unwrap(), rank_2.join().unwrap()), (Ok(()), Ok(())));
}

#[test]
fn a_timeout_names_the_missing_rank() {
    let rendezvous = free("");
    let (rank_0, rank_2) = (accepts(4, &rendezvous, SHORT), connects(2, 4, &rendezvous));
    let message = format!(
        "rank 0 at 127.0.0.1:{}: expected 4 ranks within 1 s; ranks [1, 3] are missing",
        rendezvous.port
    );
    assert_eq!(error(rank_0), message);
    assert_eq!(error(rank_2), format!("rank 0 reports: {message}"));
    let rendezvous = free("");
    let message = connect(1, 2, &rendezvous, SHORT).unwrap_err().to_string();
    let start = format!(
        "rank 1 cannot connect to rank 0 at 127.0.0.1:{} within 1 s: Connection refused",
        rendezvous.port
    );
    assert!(message.starts_with(&start) && message.contains("MASTER_ADDR"), "{message}");
}

/// Rank 0 rejects the second request for this reason, waits on, and names the reason at its time-out.
fn rejects(first: Option<usize>, second: (usize, usize), world_size: usize, reason: &str) {
    let rendezvous = free("");
    let rank_0 = accepts(world_size, &rendezvous, 2 * SHORT);
    let first = first.map(|rank| connects(rank, world_size, &rendezvous));
    sleep(SHORT / 2);
    assert_eq!(error(connects(second.0, second.1, &rendezvous)), format!("rank 0 reports: {reason}"));
    let message = error(rank_0);
    assert!(message.ends_with(&format!("are missing. The last rejected request: {reason}")), "{message}");
    if let Some(first) = first {
        assert_eq!(error(first), format!("rank 0 reports: {message}"));
    }
}

#[test]
fn ranks_of_another_world_size_are_rejected() {
    rejects(None, (1, 3), 2, "the number of ranks: expected 2; found 3 on rank 1");
}

#[test]
fn two_processes_of_one_rank_are_rejected() {
    let reason = "rank numbers: expected a different one for each process; found two processes of rank 1";
    rejects(Some(1), (1, 3), 3, reason);
}

#[test]
fn silent_and_slow_connections_keep_no_rank_out() {
    let rendezvous = free("");
    let rank_0 = accepts(2, &rendezvous, 20 * SHORT);
    let connect_one = || loop {
        match TcpStream::connect(("127.0.0.1", rendezvous.port)) {
            Ok(stream) => return stream,
            Err(_) => sleep(POLL_INTERVAL),
        }
    };
    let silent: Vec<TcpStream> = (0..20).map(|_| connect_one()).collect();
    let mut slow = connect_one();
    slow.write_all(&MAGIC[..5]).unwrap();
    assert_eq!(connects(1, 2, &rendezvous).join().unwrap(), Ok(()));
    assert_eq!(rank_0.join().unwrap(), Ok(1));
    drop((silent, slow));
}

#[test]
fn a_byte_now_and_then_does_not_extend_the_time_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let slow = spawn(move || {
        for byte in MAGIC {
            sleep(SHORT / 5);
            if sender.write_all(&[*byte]).is_err() {
                break;
            }
        }
    });
    let (mut stream, _) = listener.accept().unwrap();
    let error = receive::<Reply>(&mut stream, SHORT / 2).err().unwrap();
    assert!(matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock), "{error}");
    drop(stream);
    slow.join().unwrap();
}

#[test]
fn other_hosts_need_the_token() {
    let open = Rendezvous { listen: Some("0.0.0.0".into()), ..free("") };
    let message = accept_ranks(2, &open, SHORT).unwrap_err().to_string();
    assert!(message.contains("SMALTI_TOKEN") && message.contains("openssl rand"), "{message}");
    let token = |secret: &str| serde_json::from_value::<Token>(secret.into()).unwrap();
    let known = Rendezvous { token: token("secret"), ..open };
    let rank_0 = accepts(2, &known, 20 * SHORT);
    let stranger = Rendezvous { token: token("guess"), ..known.clone() };
    let message = error(connects(1, 2, &stranger));
    assert_eq!(
        message,
        "rank 0 reports: the token differs: set SMALTI_TOKEN to the same secret on all ranks"
    );
    assert_eq!(connects(1, 2, &known).join().unwrap(), Ok(()));
    assert_eq!(rank_0.join().unwrap(), Ok(1));
}

#[test]
fn a_port_in_use_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let rendezvous = Rendezvous { port, ..free("") };
    let message = accept_ranks(2, &rendezvous, SHORT).unwrap_err().to_string();
    assert!(message.contains("in use") && message.contains("SMALTI_PORT"), "{message}");
    // Another program at that port, such as torchrun's store, is not taken for rank 0.
    let replies = spawn(move || {
        for stream in taken.incoming().take(1) {
            stream.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        }
    });
    let message = connect(1, 2, &rendezvous, SHORT).unwrap_err().to_string();
    replies.join().unwrap();
    assert!(message.contains("rank 1 cannot connect to rank 0"), "{message}");
}
