//! The rendezvous: rank 0 listens, the other ranks connect to it, and all start once every rank is connected.

use super::RanksError;
use super::launched::{Rendezvous, Token};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Read, Result as IoResult, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// The request of a rank to join.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct JoinRequest {
    version: String,
    job: String,
    world_size: usize,
    rank: usize,
    token: Token,
}

/// The reply of rank 0, sent once all ranks are connected or the rendezvous has failed.
#[derive(Serialize, Deserialize)]
struct Reply {
    error: Option<String>,
}

impl JoinRequest {
    fn of(rank: usize, world_size: usize, rendezvous: &Rendezvous) -> Self {
        let (version, job) = (env!("CARGO_PKG_VERSION").into(), rendezvous.job.clone());
        Self { version, job, world_size, rank, token: rendezvous.token.clone() }
    }
}

/// Time between two checks for a new connection.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Time for a connection to send its whole request. Each has a thread of its own, so that no connection waits for another.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The most connections that may be sending their requests; rank 0 closes further ones at once.
const MAX_PENDING: usize = 256;
/// Time to connect to one address of rank 0's host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The first bytes of a message in both directions, which tell a rank from another program.
const MAGIC: &[u8] = b"smalti ranks\n";
/// The most bytes of a request or reply.
const MAX_MESSAGE_BYTES: u32 = 4096;

/// The connections of rank 0 to all other ranks.
///
/// # Errors
/// [`RanksError::Listen`], [`RanksError::NoToken`] or [`RanksError::MissingRanks`]; the connected ranks receive it as well.
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

/// Admit the missing ranks. A request that is rejected ends nothing, for any program may connect.
fn wait(
    listener: &TcpListener,
    world_size: usize,
    rendezvous: &Rendezvous,
    timeout: Duration,
    connected: &mut BTreeMap<usize, TcpStream>,
) -> Result<(), RanksError> {
    let deadline = Instant::now() + timeout;
    let (sender, requests) = channel();
    let (pending, mut rejected) = (Arc::new(()), None);
    while connected.len() + 1 < world_size {
        if Instant::now() >= deadline {
            let missing = (1..world_size).filter(|rank| !connected.contains_key(rank)).collect();
            let (address, seconds) = (address(rendezvous), timeout.as_secs());
            return Err(RanksError::MissingRanks { missing, world_size, address, seconds, rejected });
        }
        match listener.accept() {
            Ok((stream, _)) if Arc::strong_count(&pending) <= MAX_PENDING => {
                read_request(stream, sender.clone(), pending.clone());
            }
            Ok(_) => (),
            Err(_) => sleep(POLL_INTERVAL),
        }
        for (request, mut stream) in requests.try_iter() {
            match check_request(&request, world_size, rendezvous, connected) {
                Ok(()) => drop(connected.insert(request.rank, stream)),
                Err(problem) => {
                    let _ = send(&mut stream, &Reply { error: Some(problem.clone()) });
                    rejected = Some(problem);
                }
            }
        }
    }
    Ok(())
}

/// Read the request of a connection in a thread. Connections that do not follow the protocol are not ranks.
fn read_request(mut stream: TcpStream, requests: Sender<(JoinRequest, TcpStream)>, pending: Arc<()>) {
    spawn(move || {
        let request = stream.set_nonblocking(false).and_then(|()| receive(&mut stream, REQUEST_TIMEOUT));
        drop(pending);
        if let Ok(request) = request {
            let _ = requests.send((request, stream)); // fails once all ranks are connected
        }
    });
}

/// Fail with a reason if a request is not of one of the missing ranks.
fn check_request(
    request: &JoinRequest,
    world_size: usize,
    rendezvous: &Rendezvous,
    connected: &BTreeMap<usize, TcpStream>,
) -> Result<(), String> {
    let own = JoinRequest::of(request.rank, world_size, rendezvous);
    if !own.token.matches(&request.token) {
        return Err("the token differs: set SMALTI_TOKEN to the same secret on all ranks".into());
    }
    if request.job != own.job {
        return Err(format!("this is rank 0 of another job, {:?}", own.job));
    }
    let mismatch =
        |what, expected: &str, found: &str| Err(format!("{what}: expected {expected}; found {found}"));
    if request.version != own.version {
        return mismatch("smalti's version on another rank", &own.version, &request.version);
    }
    if request.world_size != world_size {
        let found = format!("{} on rank {}", request.world_size, request.rank);
        return mismatch("the number of ranks", &world_size.to_string(), &found);
    }
    if request.rank == 0 || request.rank >= world_size || connected.contains_key(&request.rank) {
        let found = format!("two processes of rank {}", request.rank);
        return mismatch("rank numbers", "a different one for each process", &found);
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

/// Listen at the address that is told, by default that of rank 0's host.
fn listen(rendezvous: &Rendezvous) -> Result<TcpListener, RanksError> {
    let host = rendezvous.listen.as_ref().unwrap_or(&rendezvous.host);
    let bound = TcpListener::bind((host.as_str(), rendezvous.port)).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let is_loopback = listener.local_addr()?.ip().is_loopback();
        Ok((listener, is_loopback))
    });
    let at = format!("{host}:{}", rendezvous.port);
    match bound {
        Ok((_, false)) if rendezvous.token.is_empty() => Err(RanksError::NoToken(at)),
        Ok((listener, _)) => Ok(listener),
        Err(e) => Err(RanksError::Listen { address: at, problem: e.to_string() }),
    }
}

fn address(rendezvous: &Rendezvous) -> String {
    format!("{}:{}", rendezvous.host, rendezvous.port)
}

fn send(stream: &mut TcpStream, message: &impl Serialize) -> IoResult<()> {
    let text = serde_json::to_vec(message)?;
    let length = (text.len() as u32).to_le_bytes();
    stream.write_all(&[MAGIC, &length, &text].concat())
}

/// Read one message within a time-out for the whole of it, so that a byte now and then does not extend it.
fn receive<T: DeserializeOwned>(stream: &mut TcpStream, timeout: Duration) -> IoResult<T> {
    let deadline = Instant::now() + timeout;
    let mut read = |buffer: &mut [u8]| {
        let mut done = 0;
        while done < buffer.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::from(ErrorKind::TimedOut));
            }
            stream.set_read_timeout(Some(left))?;
            match stream.read(&mut buffer[done..])? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                n => done += n,
            }
        }
        Ok(())
    };
    let (mut magic, mut length) = ([0; MAGIC.len()], [0; 4]);
    read(&mut magic)?;
    read(&mut length)?;
    let length = u32::from_le_bytes(length);
    if magic != MAGIC || length > MAX_MESSAGE_BYTES {
        return Err(Error::new(ErrorKind::InvalidData, "another program replied"));
    }
    let mut text = vec![0; length as usize];
    read(&mut text)?;
    stream.set_read_timeout(None)?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests;
