//! Ranks connected by TCP to rank 0, which reduces and broadcasts.

use super::launched::Rendezvous;
use super::{Ranks, RanksError, rendezvous};
use bytemuck::{Pod, cast_slice, cast_slice_mut};
use smalti_contract::memory;
use socket2::{SockRef, TcpKeepalive};
use std::io::{BufReader, Error, ErrorKind, Read, Result as IoResult, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::AddAssign;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

/// One of several ranks, connected by TCP: rank 0 with all others, each other rank with rank 0.
///
/// A thread reads from each connection, even while the rank itself waits for a GPU. A connection that closes unexpectedly
/// means that the other rank has died; the thread then calls `on_peer_failure` and ends the waits of this rank, and rank 0
/// informs the others.
pub(super) struct Tcp {
    rank: usize,
    world_size: usize,
    connections: Arc<Connections>,
    /// What each connection has received; disconnected once that rank has left, or any rank has failed.
    received: Vec<Mutex<Receiver<Vec<u8>>>>,
}

/// The writing ends of the connections, and the failure that ended them.
struct Connections {
    peers: Vec<Peer>,
    /// The first failure of any rank; later ones are its consequences.
    failure: OnceLock<RanksError>,
    on_peer_failure: OnPeerFailure,
}

/// The rank at the other end of a connection.
struct Peer {
    rank: usize,
    address: String,
    stream: TcpStream,
    /// Locked while a message is sent.
    sending: Mutex<()>,
}

/// What this rank does once another has failed.
pub(super) type OnPeerFailure = Box<dyn Fn(&RanksError) + Send + Sync>;

/// How long the rendezvous waits for missing ranks.
pub(super) const RENDEZVOUS_TIMEOUT: Duration = Duration::from_secs(300);
/// A host that stays silent this long counts as lost.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(120);
/// A rank that sends nothing for this long, not even that it is alive, counts as frozen.
pub(super) const FROZEN_TIMEOUT: Duration = Duration::from_secs(60);
/// Messages of a connection that wait to be taken. In a collective operation no rank is more than one message ahead.
const MAX_WAITING: usize = 4;

/// The first byte of a message; the length follows in eight bytes, then the content.
#[derive(Clone, Copy)]
enum MessageKind {
    /// A rank's share of a collective operation.
    Data = 1,
    /// The rank leaves, at the end of training.
    Leave = 2,
    /// A rank has failed; the content is its number, its address and the problem.
    Failure = 3,
    /// The rank runs, although it has nothing to send.
    Alive = 4,
}

impl Tcp {
    /// Connects with the other ranks.
    ///
    /// # Errors
    /// As of [`rendezvous::accept_ranks`] and [`rendezvous::connect`].
    pub(super) fn join(
        rank: usize,
        world_size: usize,
        at: &Rendezvous,
        on_peer_failure: OnPeerFailure,
    ) -> Result<Self, RanksError> {
        let streams = match rank {
            0 => rendezvous::accept_ranks(world_size, at, RENDEZVOUS_TIMEOUT)?,
            _ => vec![(0, rendezvous::connect(rank, world_size, at, RENDEZVOUS_TIMEOUT)?)],
        };
        let broken = |e: std::io::Error| RanksError::Rejected(format!("nothing: its connection broke: {e}"));
        Self::over(rank, world_size, streams, frozen_timeout()?, on_peer_failure).map_err(broken)
    }

    fn over(
        rank: usize,
        world_size: usize,
        streams: Vec<(usize, TcpStream)>,
        frozen: Duration,
        on_peer_failure: OnPeerFailure,
    ) -> IoResult<Self> {
        let mut peers = Vec::new();
        for (peer, stream) in &streams {
            stream.set_nodelay(true)?;
            let keepalive =
                TcpKeepalive::new().with_time(KEEPALIVE_TIMEOUT / 4).with_interval(KEEPALIVE_TIMEOUT / 12);
            let socket = SockRef::from(stream);
            socket.set_tcp_keepalive(&keepalive)?;
            #[cfg(target_os = "linux")]
            socket.set_tcp_user_timeout(Some(KEEPALIVE_TIMEOUT))?;
            stream.set_read_timeout(Some(frozen))?;
            let (address, stream) = (text(stream.peer_addr()?), stream.try_clone()?);
            peers.push(Peer { rank: *peer, address, stream, sending: Mutex::new(()) });
        }
        let connections = Arc::new(Connections { peers, failure: OnceLock::new(), on_peer_failure });
        let read_from = |(connection, (_, stream))| {
            let (sender, receiver) = sync_channel(MAX_WAITING);
            let connections = connections.clone();
            std::thread::spawn(move || read_messages(connection, stream, &sender, &connections));
            Mutex::new(receiver)
        };
        let received = streams.into_iter().enumerate().map(read_from).collect();
        let weak = Arc::downgrade(&connections);
        std::thread::spawn(move || send_heartbeats(&weak, frozen / 6));
        Ok(Self { rank, world_size, connections, received })
    }

    /// The next data of a connection.
    fn receive(&self, connection: usize) -> Result<Vec<u8>, RanksError> {
        let data = lock(&self.received[connection]).recv();
        data.map_err(|_| self.connections.fail(connection, "has left before the end of training"))
    }

    /// Sends data from rank 0 to all other ranks.
    fn broadcast(&self, data: &[u8]) -> Result<(), RanksError> {
        let mut connections = 0..self.received.len();
        connections.try_for_each(|connection| self.connections.send(connection, MessageKind::Data, data))
    }

    /// Rank 0 adds in the order of ranks, so that a sum does not depend on the order of arrival.
    fn all_reduce_of<T: Pod + AddAssign>(&self, numbers: &mut [T]) -> Result<(), RanksError> {
        if self.rank > 0 {
            self.connections.send(0, MessageKind::Data, cast_slice(numbers))?;
            return self.receive_into(numbers, 0);
        }
        let mut theirs = numbers.to_vec();
        for connection in 0..self.received.len() {
            self.receive_into(&mut theirs, connection)?;
            numbers.iter_mut().zip(&theirs).for_each(|(sum, number)| *sum += *number);
        }
        self.broadcast(cast_slice(numbers))
    }

    fn receive_into<T: Pod>(&self, numbers: &mut [T], connection: usize) -> Result<(), RanksError> {
        let data = self.receive(connection)?;
        let (expected, found) = (size_of_val(numbers), data.len());
        if expected != found {
            let problem =
                format!("has sent another number of values: expected {expected} bytes; found {found}");
            return Err(self.connections.fail(connection, &problem));
        }
        cast_slice_mut(numbers).copy_from_slice(&data);
        Ok(())
    }
}

impl Ranks for Tcp {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn all_reduce(&self, numbers: &mut [f32]) -> Result<(), RanksError> {
        self.all_reduce_of(numbers)
    }

    fn all_reduce_f64(&self, numbers: &mut [f64]) -> Result<(), RanksError> {
        self.all_reduce_of(numbers)
    }

    fn all_gather(&self, text: &str) -> Result<Vec<String>, RanksError> {
        if self.rank > 0 {
            self.connections.send(0, MessageKind::Data, text.as_bytes())?;
            let all: Option<Vec<String>> = serde_json::from_slice(&self.receive(0)?).ok();
            let all = all.filter(|all| all.len() == self.world_size);
            return all.ok_or_else(|| self.connections.fail(0, "has called another collective operation"));
        }
        let mut all = vec![text.to_string()];
        for connection in 0..self.received.len() {
            all.push(String::from_utf8_lossy(&self.receive(connection)?).into_owned());
        }
        self.broadcast(&serde_json::to_vec(&all).unwrap_or_default())?; // texts can always be written
        Ok(all)
    }

    fn barrier(&self) -> Result<(), RanksError> {
        self.all_gather("here").map(drop)
    }

    fn abort(&self, problem: &str) {
        self.connections.fail_as(self.rank, format!("has failed: {problem}"));
    }
}

/// Leaves once all other ranks leave, unless a rank has failed.
impl Drop for Tcp {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.connections.fail_as(self.rank, "has panicked".into());
        }
        if self.connections.failure.get().is_some() {
            return;
        }
        if self.rank > 0 {
            let _ = self.connections.send(0, MessageKind::Leave, &[]); // if it fails, rank 0 has ended
        }
        for received in &self.received {
            while lock(received).recv().is_ok() {}
        }
        if self.rank == 0 {
            for connection in 0..self.received.len() {
                let _ = self.connections.send(connection, MessageKind::Leave, &[]);
            }
        }
    }
}

impl Connections {
    fn send(&self, connection: usize, kind: MessageKind, content: &[u8]) -> Result<(), RanksError> {
        let Peer { stream, sending, .. } = &self.peers[connection];
        let sent = {
            let _sending = lock(sending);
            send(stream, kind, content)
        };
        sent.map_err(|_| {
            // If the other rank has sent a reason, the reading thread finds it.
            std::thread::sleep(Duration::from_secs(1));
            self.fail(connection, LOST)
        })
    }

    /// Ends the training because of the rank at the other end of a connection. Returns the first failure.
    fn fail(&self, connection: usize, problem: &str) -> RanksError {
        let Peer { rank, address, .. } = &self.peers[connection];
        let (rank, address, problem) = (*rank, address.clone(), problem.into());
        self.end(RanksError::PeerFailed { rank, address, problem }, &self.on_peer_failure)
    }

    /// Ends the training because of this rank.
    fn fail_as(&self, rank: usize, problem: String) {
        let address = self.peers.first().and_then(|peer| peer.stream.local_addr().ok());
        let address = address.map_or_else(String::new, text);
        self.end(RanksError::PeerFailed { rank, address, problem }, |_| ());
    }

    /// Informs the other ranks of a failure, then this process, and ends all waits. Returns the first failure.
    fn end(&self, failure: RanksError, inform: impl Fn(&RanksError)) -> RanksError {
        let first = || {
            self.send_failure(&failure);
            inform(&failure);
            // The reading threads find the connections closed and end, and so do the waits for what they read.
            self.peers.iter().for_each(|peer| drop(peer.stream.shutdown(Shutdown::Both)));
            failure
        };
        self.failure.get_or_init(first).clone()
    }

    fn send_failure(&self, failure: &RanksError) {
        let RanksError::PeerFailed { rank, address, problem } = failure else { return };
        let content = serde_json::to_vec(&(rank, address, problem)).unwrap_or_default(); // texts can always be written
        for Peer { stream, sending, .. } in &self.peers {
            // A message may be half sent to a rank that does not read; that rank finds the connection lost.
            if let Ok(_sending) = sending.try_lock() {
                let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
                let _ = send(stream, MessageKind::Failure, &content);
            }
        }
    }
}

/// Passes on the data of a rank until it leaves or a rank fails.
fn read_messages(
    connection: usize,
    stream: TcpStream,
    data: &SyncSender<Vec<u8>>,
    connections: &Connections,
) {
    let mut stream = BufReader::new(stream);
    loop {
        match receive(&mut stream) {
            Ok((kind, content)) if kind == MessageKind::Data as u8 => {
                if data.send(content).is_err() {
                    return; // this rank has left
                }
            }
            Ok((kind, _)) if kind == MessageKind::Alive as u8 => (),
            Ok((kind, _)) if kind == MessageKind::Leave as u8 => return,
            Ok((kind, content)) if kind == MessageKind::Failure as u8 => {
                match serde_json::from_slice(&content) {
                    Ok((rank, address, problem)) => {
                        let failure = RanksError::PeerFailed { rank, address, problem };
                        connections.end(failure, &connections.on_peer_failure);
                    }
                    Err(_) => drop(connections.fail(connection, LOST)),
                }
                return;
            }
            Ok(_) => return drop(connections.fail(connection, "has sent a message of an unknown kind")),
            Err(error) => return drop(connections.fail(connection, &problem(&error))),
        }
    }
}

/// Describe why nothing can be read from a rank.
fn problem(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("has sent nothing for the time of {TIMEOUT_VARIABLE}: its process or host is frozen")
        }
        ErrorKind::InvalidData => format!("has sent a message that is too long ({error})"),
        _ => LOST.into(),
    }
}

/// The environment variable with the seconds after which a silent rank counts as frozen.
const TIMEOUT_VARIABLE: &str = "SMALTI_RANK_TIMEOUT";

fn frozen_timeout() -> Result<Duration, RanksError> {
    let Ok(text) = std::env::var(TIMEOUT_VARIABLE) else { return Ok(FROZEN_TIMEOUT) };
    let seconds = text.trim().parse::<u64>().ok().filter(|seconds| (1..=86_400).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| RanksError::Variable {
        variable: TIMEOUT_VARIABLE,
        expected: "a number of seconds from 1 to 86400".into(),
        found: format!("{text:?}"),
    })
}

/// Tell the other ranks at each interval that this one runs, until it leaves.
fn send_heartbeats(connections: &Weak<Connections>, interval: Duration) {
    loop {
        std::thread::sleep(interval);
        let Some(connections) = connections.upgrade() else { return };
        for Peer { stream, sending, .. } in &connections.peers {
            // A message that is being sent says the same. A connection that is lost is found by its reading thread.
            if let Ok(_sending) = sending.try_lock() {
                let _ = send(stream, MessageKind::Alive, &[]);
            }
        }
    }
}

/// The problem of a rank that has ended without a message.
const LOST: &str = "has ended, or the connection to it is lost";

/// An address, for messages.
fn text(address: SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

fn send(mut stream: &TcpStream, kind: MessageKind, content: &[u8]) -> IoResult<()> {
    let mut header = [kind as u8; 9];
    header[1..].copy_from_slice(&(content.len() as u64).to_le_bytes());
    stream.write_all(&header)?;
    stream.write_all(content)
}

/// Read one message. Its length is checked before memory is allocated for it.
fn receive(stream: &mut impl Read) -> IoResult<(u8, Vec<u8>)> {
    let mut header = [0; 9];
    stream.read_exact(&mut header)?;
    let (kind, mut length) = (header[0], [0; 8]);
    length.copy_from_slice(&header[1..]);
    let length = u64::from_le_bytes(length);
    if kind != MessageKind::Data as u8 && length > MAX_REASON_BYTES {
        return Err(Error::new(ErrorKind::InvalidData, format!("{length} bytes that are no data")));
    }
    memory::check(length).map_err(|e| Error::new(ErrorKind::InvalidData, format!("{length} bytes: {e}")))?;
    let mut content = Vec::new();
    match stream.take(length).read_to_end(&mut content)? as u64 == length {
        true => Ok((kind, content)),
        false => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// The most bytes of a message that is no data: the problem of a rank.
const MAX_REASON_BYTES: u64 = 1 << 16;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
