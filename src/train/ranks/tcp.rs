//! Ranks connected by TCP to rank 0, which reduces and broadcasts.

use super::launched::Rendezvous;
use super::{PEER_FAILED, Ranks, RanksError, rendezvous};
use bytemuck::{Pod, cast_slice, cast_slice_mut};
use socket2::{SockRef, TcpKeepalive};
use std::io::{BufReader, Read, Result as IoResult, Write};
use std::net::TcpStream;
use std::ops::AddAssign;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One of several ranks, connected by TCP: rank 0 with all others, each other rank with rank 0.
///
/// A thread reads from each connection, even while the rank itself waits for a GPU. A connection that closes unexpectedly
/// means that the other rank has died; the thread then ends this process with a message, and rank 0 informs the others.
pub(super) struct Tcp {
    rank: usize,
    world_size: usize,
    connections: Arc<Connections>,
    /// What each connection has received; disconnected once that rank has left.
    received: Vec<Mutex<Receiver<Vec<u8>>>>,
}

/// The writing ends of the connections, each with the rank at its other end.
struct Connections(Vec<(usize, Mutex<TcpStream>)>);

/// How long the rendezvous waits for missing ranks.
pub(super) const RENDEZVOUS_TIMEOUT: Duration = Duration::from_secs(300);
/// A host that stays silent this long counts as lost.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(120);

/// The first byte of a message; the length follows in eight bytes, then the content.
#[derive(Clone, Copy)]
enum MessageKind {
    /// A rank's share of a collective operation.
    Data = 1,
    /// The rank leaves, at the end of training.
    Leave = 2,
    /// Training ends at once; the content is the reason.
    End = 3,
}

impl Tcp {
    /// Connects with the other ranks.
    ///
    /// # Errors
    /// As of [`rendezvous::accept_ranks`] and [`rendezvous::connect`].
    pub(super) fn join(rank: usize, world_size: usize, at: &Rendezvous) -> Result<Self, RanksError> {
        let streams = match rank {
            0 => rendezvous::accept_ranks(world_size, at, RENDEZVOUS_TIMEOUT)?,
            _ => vec![(0, rendezvous::connect(rank, world_size, at, RENDEZVOUS_TIMEOUT)?)],
        };
        let broken = |e: std::io::Error| RanksError::Rejected(format!("nothing: its connection broke: {e}"));
        Self::over(rank, world_size, streams).map_err(broken)
    }

    fn over(rank: usize, world_size: usize, streams: Vec<(usize, TcpStream)>) -> IoResult<Self> {
        let mut connections = Vec::new();
        for (peer, stream) in &streams {
            stream.set_nodelay(true)?;
            let keepalive =
                TcpKeepalive::new().with_time(KEEPALIVE_TIMEOUT / 4).with_interval(KEEPALIVE_TIMEOUT / 12);
            let socket = SockRef::from(stream);
            socket.set_tcp_keepalive(&keepalive)?;
            #[cfg(target_os = "linux")]
            socket.set_tcp_user_timeout(Some(KEEPALIVE_TIMEOUT))?;
            connections.push((*peer, Mutex::new(stream.try_clone()?)));
        }
        let connections = Arc::new(Connections(connections));
        let read_from = |(peer, stream)| {
            let (sender, receiver) = channel();
            let connections = connections.clone();
            std::thread::spawn(move || read_messages(peer, stream, &sender, &connections));
            Mutex::new(receiver)
        };
        let received = streams.into_iter().map(read_from).collect();
        Ok(Self { rank, world_size, connections, received })
    }

    /// The next data of a connection.
    fn receive(&self, connection: usize) -> Vec<u8> {
        let data = lock(&self.received[connection]).recv();
        let peer = self.connections.0[connection].0;
        data.unwrap_or_else(|_| {
            self.connections.end(&format!("rank {peer} has left before the end of training"))
        })
    }

    /// Sends data from rank 0 to all other ranks.
    fn broadcast(&self, data: &[u8]) {
        let connections = 0..self.received.len();
        connections.for_each(|connection| self.connections.send(connection, MessageKind::Data, data));
    }

    /// Rank 0 adds in the order of ranks, so that a sum does not depend on the order of arrival.
    fn all_reduce_of<T: Pod + AddAssign>(&self, numbers: &mut [T]) {
        if self.rank > 0 {
            self.connections.send(0, MessageKind::Data, cast_slice(numbers));
            return self.fill(numbers, &self.receive(0));
        }
        let mut theirs = numbers.to_vec();
        for connection in 0..self.received.len() {
            self.fill(&mut theirs, &self.receive(connection));
            numbers.iter_mut().zip(&theirs).for_each(|(sum, number)| *sum += *number);
        }
        self.broadcast(cast_slice(numbers));
    }

    fn fill<T: Pod>(&self, numbers: &mut [T], data: &[u8]) {
        let (expected, found) = (size_of_val(numbers), data.len());
        if expected != found {
            let why = format!("all-reduce of different sizes: expected {expected} bytes; found {found}");
            self.connections.end(&why)
        }
        cast_slice_mut(numbers).copy_from_slice(data);
    }
}

impl Ranks for Tcp {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn all_reduce(&self, numbers: &mut [f32]) {
        self.all_reduce_of(numbers);
    }

    fn all_reduce_f64(&self, numbers: &mut [f64]) {
        self.all_reduce_of(numbers);
    }

    fn all_gather(&self, text: &str) -> Vec<String> {
        let gathered = if self.rank > 0 {
            self.connections.send(0, MessageKind::Data, text.as_bytes());
            self.receive(0)
        } else {
            let theirs = (0..self.received.len())
                .map(|connection| String::from_utf8_lossy(&self.receive(connection)).into_owned());
            let all: Vec<String> = std::iter::once(text.to_string()).chain(theirs).collect();
            let gathered = serde_json::to_vec(&all).unwrap_or_default(); // texts can always be written
            self.broadcast(&gathered);
            gathered
        };
        let all: Option<Vec<String>> = serde_json::from_slice(&gathered).ok();
        let all = all.filter(|all| all.len() == self.world_size);
        all.unwrap_or_else(|| self.connections.end("the ranks call different collective operations"))
    }

    fn barrier(&self) {
        self.all_gather("here");
    }

    fn abort(&self) -> ! {
        self.connections.notify_end(&format!("rank {} has ended the training", self.rank));
        exit(1)
    }
}

/// Leaves once all other ranks leave.
impl Drop for Tcp {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return self.connections.notify_end(&format!("rank {} has panicked", self.rank));
        }
        if self.rank > 0 {
            self.connections.send(0, MessageKind::Leave, &[]);
        }
        for received in &self.received {
            while lock(received).recv().is_ok() {}
        }
        if self.rank == 0 {
            let connections = 0..self.received.len();
            connections.for_each(|connection| self.connections.send(connection, MessageKind::Leave, &[]));
        }
    }
}

impl Connections {
    fn send(&self, connection: usize, kind: MessageKind, content: &[u8]) {
        let (peer, stream) = &self.0[connection];
        if send(&mut lock(stream), kind, content).is_err() {
            // If the other rank has sent a reason, the reading thread ends this process with it.
            std::thread::sleep(Duration::from_secs(1));
            self.end(&lost(*peer))
        }
    }

    /// Informs all connected ranks that training ends.
    fn notify_end(&self, why: &str) {
        for (_, stream) in &self.0 {
            // A stream is locked while a message is half sent to a rank that does not read; it finds the connection lost.
            if let Ok(mut stream) = stream.try_lock() {
                let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
                let _ = send(&mut stream, MessageKind::End, why.as_bytes());
            }
        }
    }

    /// Ends this process because of another rank, and informs the others.
    fn end(&self, why: &str) -> ! {
        static FIRST: Mutex<()> = Mutex::new(());
        let _first = lock(&FIRST); // other threads only see consequences of the first error
        eprintln!(
            "error: {why}; training has ended: --resume resumes from the last checkpoint, if there is one"
        );
        self.notify_end(why);
        exit(PEER_FAILED)
    }
}

/// Passes on the data of a rank until it leaves.
fn read_messages(peer: usize, stream: TcpStream, data: &Sender<Vec<u8>>, connections: &Connections) {
    let mut stream = BufReader::new(stream);
    loop {
        match receive(&mut stream) {
            Ok((kind, content)) if kind == MessageKind::Data as u8 => {
                if data.send(content).is_err() {
                    return; // this rank has left
                }
            }
            Ok((kind, _)) if kind == MessageKind::Leave as u8 => return,
            Ok((kind, why)) if kind == MessageKind::End as u8 => {
                connections.end(&String::from_utf8_lossy(&why))
            }
            _ => connections.end(&lost(peer)),
        }
    }
}

fn lost(rank: usize) -> String {
    format!("the connection to rank {rank} is lost")
}

fn send(stream: &mut TcpStream, kind: MessageKind, content: &[u8]) -> IoResult<()> {
    let mut header = [kind as u8; 9];
    header[1..].copy_from_slice(&(content.len() as u64).to_le_bytes());
    stream.write_all(&header)?;
    stream.write_all(content)
}

fn receive(stream: &mut impl Read) -> IoResult<(u8, Vec<u8>)> {
    let mut header = [0; 9];
    stream.read_exact(&mut header)?;
    let (kind, mut length) = (header[0], [0; 8]);
    length.copy_from_slice(&header[1..]);
    let length = u64::from_le_bytes(length);
    let mut content = Vec::new();
    match stream.take(length).read_to_end(&mut content)? as u64 == length {
        true => Ok((kind, content)),
        false => Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the process without its exit handlers, which would wait for a GPU that waits for a lost rank.
fn exit(code: i32) -> ! {
    #[cfg(unix)]
    // SAFETY: ends the process; nothing of it is used afterwards.
    unsafe {
        libc::_exit(code)
    }
    #[cfg(not(unix))]
    std::process::exit(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// The results of `of_rank` on three ranks.
    fn on_three<T: Send>(of_rank: impl Fn(&Tcp) -> T + Sync) -> Vec<T> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let rendezvous = Rendezvous { host: "127.0.0.1".into(), port, job: "three".into() };
        let run = |rank| of_rank(&Tcp::join(rank, 3, &rendezvous).unwrap());
        std::thread::scope(|scope| {
            let ranks: Vec<_> = (0..3).map(|rank| scope.spawn(move || run(rank))).collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }

    #[test]
    fn all_ranks_get_the_same() {
        let found = on_three(|ranks| {
            let mut long: Vec<f32> =
                (0..100_000).map(|i| (i as f32).sqrt() * (1.0 + ranks.rank() as f32)).collect();
            ranks.all_reduce(&mut long);
            let mut doubles = [0.1 + ranks.rank() as f64, 1e-300];
            ranks.all_reduce_f64(&mut doubles);
            ranks.all_reduce(&mut []);
            ranks.barrier();
            let texts = ranks.all_gather(&format!("rank \"{}\" é", ranks.rank()));
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
        on_three(|ranks| std::thread::sleep(Duration::from_millis(20) * (2 - ranks.rank() as u32)));
    }
}
