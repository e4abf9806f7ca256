//! How ranks find one another: rank 0 listens, the others call it, and all begin once all are there.

use super::RanksError;
use super::launched::Meeting;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Read, Result as IoResult, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What a rank says when it calls.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Call {
    version: String,
    job: String,
    size: usize,
    rank: usize,
}

/// What rank 0 answers, once all are there or cannot be.
#[derive(Serialize, Deserialize)]
struct Answer {
    refused: Option<String>,
}

impl Call {
    fn of(rank: usize, size: usize, meeting: &Meeting) -> Self {
        Self { version: env!("CARGO_PKG_VERSION").into(), job: meeting.job.clone(), size, rank }
    }
}

/// Between two looks at whether somebody has come.
const MOMENT: Duration = Duration::from_millis(20);
/// What a caller has to say who it is; who says nothing keeps the others waiting.
const GREETING: Duration = Duration::from_secs(2);
/// What one address of rank 0's host has to answer.
const CONNECTING: Duration = Duration::from_secs(10);
/// What a connection begins with in both ways, so that a stranger is known at once.
const SIGN: &[u8] = b"smalti ranks\n";
/// The most that a greeting holds.
const LONGEST: u32 = 4096;

/// The connections of rank 0, once all others have come.
///
/// # Errors
/// [`RanksError::Listen`], [`RanksError::Absent`], [`RanksError::Stranger`]; those who have come are told.
pub(super) fn host(
    size: usize,
    meeting: &Meeting,
    limit: Duration,
) -> Result<Vec<(usize, TcpStream)>, RanksError> {
    let mut come = BTreeMap::new();
    let met = listen(meeting).and_then(|listener| wait(&listener, size, meeting, limit, &mut come));
    let refused = met.as_ref().err().map(ToString::to_string);
    for stream in come.values_mut() {
        // Who is no longer there is missed when it is to say something.
        let _ = say(stream, &Answer { refused: refused.clone() });
    }
    met.map(|()| come.into_iter().collect())
}

fn wait(
    listener: &TcpListener,
    size: usize,
    meeting: &Meeting,
    limit: Duration,
    come: &mut BTreeMap<usize, TcpStream>,
) -> Result<(), RanksError> {
    let deadline = Instant::now() + limit;
    while come.len() + 1 < size {
        let Ok((mut stream, _)) = listener.accept() else {
            if Instant::now() >= deadline {
                let missing = (1..size).filter(|rank| !come.contains_key(rank)).collect();
                let address = address(meeting);
                return Err(RanksError::Absent { missing, size, address, seconds: limit.as_secs() });
            }
            sleep(MOMENT);
            continue;
        };
        // Whoever does not speak as a rank does is none of ours.
        let Ok(call) = stream.set_nonblocking(false).and_then(|()| hear::<Call>(&mut stream, GREETING))
        else {
            continue;
        };
        if call.job != meeting.job {
            let refused = Some(format!("this is rank 0 of another job, {:?}", meeting.job));
            let _ = say(&mut stream, &Answer { refused });
            continue;
        }
        if let Err(stranger) = admit(&call, size, meeting, come) {
            let _ = say(&mut stream, &Answer { refused: Some(stranger.to_string()) });
            return Err(stranger);
        }
        come.insert(call.rank, stream);
    }
    Ok(())
}

/// Whether a caller is one of the ranks that are awaited.
fn admit(
    call: &Call,
    size: usize,
    meeting: &Meeting,
    come: &BTreeMap<usize, TcpStream>,
) -> Result<(), RanksError> {
    let awaited = Call::of(call.rank, size, meeting);
    let stranger =
        |what, expected: String, found: String| Err(RanksError::Stranger { what, expected, found });
    if call.version != awaited.version {
        return stranger("smalti's version on another rank", awaited.version, call.version.clone());
    }
    if call.size != size {
        let found = format!("{} on rank {}", call.size, call.rank);
        return stranger("the number of ranks", size.to_string(), found);
    }
    if call.rank == 0 || call.rank >= size || come.contains_key(&call.rank) {
        let expected = "each of its own".into();
        return stranger("the numbers of ranks", expected, format!("two processes of rank {}", call.rank));
    }
    Ok(())
}

/// The connection to rank 0, once all ranks are there.
///
/// # Errors
/// [`RanksError::NoAnswer`], [`RanksError::Refused`].
pub(super) fn call(
    rank: usize,
    size: usize,
    meeting: &Meeting,
    limit: Duration,
) -> Result<TcpStream, RanksError> {
    let deadline = Instant::now() + limit;
    let own = Call::of(rank, size, meeting);
    loop {
        let problem = match try_call(&own, meeting, deadline) {
            Ok((stream, Answer { refused: None })) => return Ok(stream),
            Ok((_, Answer { refused: Some(why) })) => return Err(RanksError::Refused(why)),
            Err(problem) => problem.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(RanksError::NoAnswer {
                rank,
                address: address(meeting),
                seconds: limit.as_secs(),
                problem,
            });
        }
        sleep(5 * MOMENT);
    }
}

fn try_call(own: &Call, meeting: &Meeting, deadline: Instant) -> IoResult<(TcpStream, Answer)> {
    let left = || deadline.saturating_duration_since(Instant::now()).max(MOMENT);
    let mut problem = Error::new(ErrorKind::NotFound, "the host has no address");
    for place in (meeting.host.as_str(), meeting.port).to_socket_addrs()? {
        let mut stream = match TcpStream::connect_timeout(&place, left().min(CONNECTING)) {
            Ok(stream) => stream,
            Err(refused) => {
                problem = refused;
                continue;
            }
        };
        // Where nobody listens on this host, the system may connect a port with itself.
        if stream.local_addr()? == stream.peer_addr()? {
            problem = ErrorKind::ConnectionRefused.into();
            continue;
        }
        say(&mut stream, own)?;
        let answer = hear(&mut stream, left()).map_err(|e| match e.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                Error::new(e.kind(), "it still waits for other ranks")
            }
            _ => e,
        });
        return Ok((stream, answer?));
    }
    Err(problem)
}

/// On this host alone where the ranks meet there, on all its addresses otherwise: what others call it by need not be
/// one of its own.
fn listen(meeting: &Meeting) -> Result<TcpListener, RanksError> {
    let port = meeting.port;
    let places = (meeting.host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
    let any = [IpAddr::from(Ipv6Addr::UNSPECIFIED), Ipv4Addr::UNSPECIFIED.into()];
    let places = match places {
        Ok(places) if places.iter().all(|place| place.ip().is_loopback()) => places,
        _ => any.map(|ip| SocketAddr::new(ip, port)).to_vec(),
    };
    let listener = TcpListener::bind(&places[..]).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|e| RanksError::Listen { address: address(meeting), problem: e.to_string() })
}

fn address(meeting: &Meeting) -> String {
    format!("{}:{}", meeting.host, meeting.port)
}

fn say(stream: &mut TcpStream, what: &impl Serialize) -> IoResult<()> {
    let text = serde_json::to_vec(what)?;
    let length = (text.len() as u32).to_le_bytes();
    stream.write_all(&[SIGN, &length, &text].concat())
}

fn hear<T: DeserializeOwned>(stream: &mut TcpStream, limit: Duration) -> IoResult<T> {
    stream.set_read_timeout(Some(limit))?;
    let mut sign = [0; SIGN.len()];
    stream.read_exact(&mut sign)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if sign != SIGN || length > LONGEST {
        return Err(Error::new(ErrorKind::InvalidData, "something else answers there"));
    }
    let mut text = vec![0; length as usize];
    stream.read_exact(&mut text)?;
    stream.set_read_timeout(None)?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::{JoinHandle, spawn};

    const SHORT: Duration = Duration::from_secs(1);

    /// A place where nobody listens.
    fn place(job: &str) -> Meeting {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Meeting { host: "127.0.0.1".into(), port, job: job.into() }
    }

    fn hosts(size: usize, meeting: &Meeting, limit: Duration) -> JoinHandle<Result<usize, RanksError>> {
        let meeting = meeting.clone();
        spawn(move || host(size, &meeting, limit).map(|come| come.len()))
    }

    fn calls(rank: usize, size: usize, meeting: &Meeting) -> JoinHandle<Result<(), RanksError>> {
        let meeting = meeting.clone();
        spawn(move || call(rank, size, &meeting, 20 * SHORT).map(drop))
    }

    fn said<T: std::fmt::Debug>(rank: JoinHandle<Result<T, RanksError>>) -> String {
        rank.join().unwrap().unwrap_err().to_string()
    }

    #[test]
    fn strangers_are_shown_out_and_ranks_let_in() {
        let meeting = place("a");
        let rank_1 = calls(1, 3, &meeting); // it may come first
        let rank_0 = hosts(3, &meeting, 20 * SHORT);
        let mut garbage = TcpStream::connect(("127.0.0.1", meeting.port));
        while garbage.is_err() {
            sleep(MOMENT);
            garbage = TcpStream::connect(("127.0.0.1", meeting.port));
        }
        let mut garbage = garbage.unwrap();
        garbage.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert!(!matches!(garbage.read(&mut [0; 64]), Ok(1..)), "garbage is answered");
        let long = [SIGN, &u32::MAX.to_le_bytes()].concat();
        TcpStream::connect(("127.0.0.1", meeting.port)).unwrap().write_all(&long).unwrap();
        let other = Meeting { job: "b".into(), ..meeting.clone() };
        assert_eq!(said(calls(1, 3, &other)), r#"rank 0 says: this is rank 0 of another job, "a""#);
        let rank_2 = calls(2, 3, &meeting);
        assert_eq!(rank_0.join().unwrap(), Ok(2));
        assert_eq!((rank_1.join().unwrap(), rank_2.join().unwrap()), (Ok(()), Ok(())));
    }

    #[test]
    fn who_waits_in_vain_says_for_whom() {
        let meeting = place("");
        let (rank_0, rank_2) = (hosts(4, &meeting, SHORT), calls(2, 4, &meeting));
        let message = format!("of 4 ranks, [1, 3] have not come to 127.0.0.1:{} within 1 s", meeting.port);
        assert_eq!(said(rank_0), message);
        assert_eq!(said(rank_2), format!("rank 0 says: {message}"));
        let meeting = place("");
        let message = call(1, 2, &meeting, SHORT).unwrap_err().to_string();
        let start = format!(
            "rank 1 has called rank 0 at 127.0.0.1:{} for 1 s; the last time: Connection refused",
            meeting.port
        );
        assert!(message.starts_with(&start) && message.contains("MASTER_ADDR"), "{message}");
    }

    #[test]
    fn ranks_that_were_started_otherwise_are_told() {
        let meeting = place("");
        let (rank_0, rank_1) = (hosts(2, &meeting, 20 * SHORT), calls(1, 3, &meeting));
        let message = "the number of ranks: expected 2; found 3 on rank 1";
        assert_eq!(said(rank_0), message);
        assert_eq!(said(rank_1), format!("rank 0 says: {message}"));
    }

    #[test]
    fn a_number_belongs_to_one_rank() {
        let meeting = place("");
        let (rank_0, first, second) =
            (hosts(3, &meeting, 20 * SHORT), calls(1, 3, &meeting), calls(1, 3, &meeting));
        let message = "the numbers of ranks: expected each of its own; found two processes of rank 1";
        assert_eq!(said(rank_0), message);
        for rank in [first, second] {
            assert_eq!(said(rank), format!("rank 0 says: {message}"));
        }
    }

    #[test]
    fn a_port_that_is_taken_is_said() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let meeting = Meeting { host: "127.0.0.1".into(), port, job: String::new() };
        let message = host(2, &meeting, SHORT).unwrap_err().to_string();
        assert!(message.contains("in use") && message.contains("SMALTI_PORT"), "{message}");
        // What listens there, torchrun's own store say, is not taken for rank 0.
        let answers = spawn(move || {
            for stream in taken.incoming().take(1) {
                stream.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
            }
        });
        let message = call(1, 2, &meeting, SHORT).unwrap_err().to_string();
        answers.join().unwrap();
        assert!(message.contains("rank 1 has called rank 0"), "{message}");
    }
}
