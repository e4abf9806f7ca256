//! The rendezvous: rank 0 listens, the other ranks connect to it, and all start once every rank is connected.

use super::RanksError;
use super::launched::Rendezvous;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Read, Result as IoResult, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The request of a rank to join.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct JoinRequest {
    version: String,
    job: String,
    world_size: usize,
    rank: usize,
}

/// The reply of rank 0, sent once all ranks are connected or the rendezvous has failed.
#[derive(Serialize, Deserialize)]
struct Reply {
    error: Option<String>,
}

impl JoinRequest {
    fn of(rank: usize, world_size: usize, rendezvous: &Rendezvous) -> Self {
        Self { version: env!("CARGO_PKG_VERSION").into(), job: rendezvous.job.clone(), world_size, rank }
    }
}

/// Time between two checks for a new connection.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Time for a connection to send its request; the others wait meanwhile.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Time to connect to one address of rank 0's host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The first bytes of a message in both directions, which tell a rank from another program.
const MAGIC: &[u8] = b"smalti ranks\n";
/// The most bytes of a request or reply.
const MAX_MESSAGE_BYTES: u32 = 4096;

/// The connections of rank 0 to all other ranks.
///
/// # Errors
/// [`RanksError::Listen`], [`RanksError::MissingRanks`] or [`RanksError::Mismatch`]; the connected ranks receive it as well.
pub(super) fn accept_ranks(
    world_size: usize,
    rendezvous: &Rendezvous,
    timeout: Duration,
) -> Result<Vec<(usize, TcpStream)>, RanksError> {
    let mut connected = BTreeMap::new();
    let complete = listen(rendezvous)
        .and_then(|listener| wait(&listener, world_size, rendezvous, timeout, &mut connected));
    let error = complete.as_ref().err().map(ToString::to_string);
    for stream in connected.values_mut() {
        // A lost connection is noticed at the first exchange.
        let _ = send(stream, &Reply { error: error.clone() });
    }
    complete.map(|()| connected.into_iter().collect())
}

fn wait(
    listener: &TcpListener,
    world_size: usize,
    rendezvous: &Rendezvous,
    timeout: Duration,
    connected: &mut BTreeMap<usize, TcpStream>,
) -> Result<(), RanksError> {
    let deadline = Instant::now() + timeout;
    while connected.len() + 1 < world_size {
        let Ok((mut stream, _)) = listener.accept() else {
            if Instant::now() >= deadline {
                let missing = (1..world_size).filter(|rank| !connected.contains_key(rank)).collect();
                let address = address(rendezvous);
                let seconds = timeout.as_secs();
                return Err(RanksError::MissingRanks { missing, world_size, address, seconds });
            }
            sleep(POLL_INTERVAL);
            continue;
        };
        // Connections that do not follow the protocol are not ranks.
        let request =
            stream.set_nonblocking(false).and_then(|()| receive::<JoinRequest>(&mut stream, REQUEST_TIMEOUT));
        let Ok(request) = request else { continue };
        if request.job != rendezvous.job {
            let error = Some(format!("this is rank 0 of another job, {:?}", rendezvous.job));
            let _ = send(&mut stream, &Reply { error });
            continue;
        }
        if let Err(mismatch) = check_request(&request, world_size, rendezvous, connected) {
            let _ = send(&mut stream, &Reply { error: Some(mismatch.to_string()) });
            return Err(mismatch);
        }
        connected.insert(request.rank, stream);
    }
    Ok(())
}

/// Fails if a request is not of one of the missing ranks.
fn check_request(
    request: &JoinRequest,
    world_size: usize,
    rendezvous: &Rendezvous,
    connected: &BTreeMap<usize, TcpStream>,
) -> Result<(), RanksError> {
    let own = JoinRequest::of(request.rank, world_size, rendezvous);
    let mismatch =
        |what, expected: String, found: String| Err(RanksError::Mismatch { what, expected, found });
    if request.version != own.version {
        return mismatch("smalti's version on another rank", own.version, request.version.clone());
    }
    if request.world_size != world_size {
        let found = format!("{} on rank {}", request.world_size, request.rank);
        return mismatch("the number of ranks", world_size.to_string(), found);
    }
    if request.rank == 0 || request.rank >= world_size || connected.contains_key(&request.rank) {
        let found = format!("two processes of rank {}", request.rank);
        return mismatch("rank numbers", "a different one for each process".into(), found);
    }
    Ok(())
}

/// The connection to rank 0, once all ranks are connected to it.
///
/// # Errors
/// [`RanksError::NoConnection`], [`RanksError::Rejected`].
pub(super) fn connect(
    rank: usize,
    world_size: usize,
    rendezvous: &Rendezvous,
    timeout: Duration,
) -> Result<TcpStream, RanksError> {
    let deadline = Instant::now() + timeout;
    let request = JoinRequest::of(rank, world_size, rendezvous);
    loop {
        let problem = match try_connect(&request, rendezvous, deadline) {
            Ok((stream, Reply { error: None })) => return Ok(stream),
            Ok((_, Reply { error: Some(error) })) => return Err(RanksError::Rejected(error)),
            Err(problem) => problem.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(RanksError::NoConnection {
                rank,
                address: address(rendezvous),
                seconds: timeout.as_secs(),
                problem,
            });
        }
        sleep(5 * POLL_INTERVAL);
    }
}

fn try_connect(
    request: &JoinRequest,
    rendezvous: &Rendezvous,
    deadline: Instant,
) -> IoResult<(TcpStream, Reply)> {
    let left = || deadline.saturating_duration_since(Instant::now()).max(POLL_INTERVAL);
    let mut problem = Error::new(ErrorKind::NotFound, "the host has no address");
    for address in (rendezvous.host.as_str(), rendezvous.port).to_socket_addrs()? {
        let mut stream = match TcpStream::connect_timeout(&address, left().min(CONNECT_TIMEOUT)) {
            Ok(stream) => stream,
            Err(error) => {
                problem = error;
                continue;
            }
        };
        // If no process of this host listens, the system may connect a port to itself.
        if stream.local_addr()? == stream.peer_addr()? {
            problem = ErrorKind::ConnectionRefused.into();
            continue;
        }
        send(&mut stream, request)?;
        let reply = receive(&mut stream, left()).map_err(|e| match e.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                Error::new(e.kind(), "it still waits for other ranks")
            }
            _ => e,
        });
        return Ok((stream, reply?));
    }
    Err(problem)
}

/// A listener on the loopback interface if the rendezvous is there, else on all interfaces: the name by which other hosts
/// reach this one need not be one of its own addresses.
fn listen(rendezvous: &Rendezvous) -> Result<TcpListener, RanksError> {
    let port = rendezvous.port;
    let addresses = (rendezvous.host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
    let any = [IpAddr::from(Ipv6Addr::UNSPECIFIED), Ipv4Addr::UNSPECIFIED.into()];
    let addresses = match addresses {
        Ok(addresses) if addresses.iter().all(|address| address.ip().is_loopback()) => addresses,
        _ => any.map(|ip| SocketAddr::new(ip, port)).to_vec(),
    };
    let listener = TcpListener::bind(&addresses[..]).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|e| RanksError::Listen { address: address(rendezvous), problem: e.to_string() })
}

fn address(rendezvous: &Rendezvous) -> String {
    format!("{}:{}", rendezvous.host, rendezvous.port)
}

fn send(stream: &mut TcpStream, message: &impl Serialize) -> IoResult<()> {
    let text = serde_json::to_vec(message)?;
    let length = (text.len() as u32).to_le_bytes();
    stream.write_all(&[MAGIC, &length, &text].concat())
}

fn receive<T: DeserializeOwned>(stream: &mut TcpStream, timeout: Duration) -> IoResult<T> {
    stream.set_read_timeout(Some(timeout))?;
    let mut magic = [0; MAGIC.len()];
    stream.read_exact(&mut magic)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if magic != MAGIC || length > MAX_MESSAGE_BYTES {
        return Err(Error::new(ErrorKind::InvalidData, "another program replied"));
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

    /// An address at which no process listens.
    fn free(job: &str) -> Rendezvous {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Rendezvous { host: "127.0.0.1".into(), port, job: job.into() }
    }

    fn accepts(
        world_size: usize,
        rendezvous: &Rendezvous,
        timeout: Duration,
    ) -> JoinHandle<Result<usize, RanksError>> {
        let rendezvous = rendezvous.clone();
        spawn(move || accept_ranks(world_size, &rendezvous, timeout).map(|connected| connected.len()))
    }

    fn connects(
        rank: usize,
        world_size: usize,
        rendezvous: &Rendezvous,
    ) -> JoinHandle<Result<(), RanksError>> {
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

    #[test]
    fn ranks_of_another_world_size_are_rejected() {
        let rendezvous = free("");
        let (rank_0, rank_1) = (accepts(2, &rendezvous, 20 * SHORT), connects(1, 3, &rendezvous));
        let message = "the number of ranks: expected 2; found 3 on rank 1";
        assert_eq!(error(rank_0), message);
        assert_eq!(error(rank_1), format!("rank 0 reports: {message}"));
    }

    #[test]
    fn two_processes_of_one_rank_are_rejected() {
        let rendezvous = free("");
        let (rank_0, first, second) =
            (accepts(3, &rendezvous, 20 * SHORT), connects(1, 3, &rendezvous), connects(1, 3, &rendezvous));
        let message =
            "rank numbers: expected a different one for each process; found two processes of rank 1";
        assert_eq!(error(rank_0), message);
        for rank in [first, second] {
            assert_eq!(error(rank), format!("rank 0 reports: {message}"));
        }
    }

    #[test]
    fn a_port_in_use_is_an_error() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let rendezvous = Rendezvous { host: "127.0.0.1".into(), port, job: String::new() };
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
}
