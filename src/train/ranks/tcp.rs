//! Ranks that speak to rank 0, which adds up and passes on.

use super::launched::Meeting;
use super::{ENDED, Ranks, RanksError, meet};
use bytemuck::{Pod, cast_slice, cast_slice_mut};
use socket2::{SockRef, TcpKeepalive};
use std::io::{BufReader, Read, Result as IoResult, Write};
use std::net::TcpStream;
use std::ops::AddAssign;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Processes that meet at rank 0's address. Each other rank has one connection, with rank 0.
///
/// A thread listens to each connection, whatever the rank itself waits for, a GPU say: a connection that closes is a
/// rank that has died, and ends the process with a message. Rank 0 tells the others who it was.
pub(super) struct Tcp {
    rank: usize,
    size: usize,
    lines: Arc<Lines>,
    /// What comes from each of `lines`; the end of it where that rank has left.
    heard: Vec<Mutex<Receiver<Vec<u8>>>>,
}

/// Connections to write to, by rank: those of rank 0 with all others, of another with rank 0.
struct Lines(Vec<(usize, Mutex<TcpStream>)>);

/// How long ranks wait for one another to come.
pub(super) const LIMIT: Duration = Duration::from_secs(300);
/// After so long without a sign of life of a host its ranks are gone.
const SILENCE: Duration = Duration::from_secs(120);

/// What a message is, in its first byte; its length follows in eight, and its content.
#[derive(Clone, Copy)]
enum Sort {
    /// A rank's part of what all exchange.
    Part = 1,
    /// The rank leaves, as all do at the end.
    Leaves = 2,
    /// The training ends at once, and why.
    Ends = 3,
}

impl Tcp {
    /// Meets the others.
    ///
    /// # Errors
    /// As of [`meet::host`] and [`meet::call`].
    pub(super) fn join(rank: usize, size: usize, meeting: &Meeting) -> Result<Self, RanksError> {
        let streams = match rank {
            0 => meet::host(size, meeting, LIMIT)?,
            _ => vec![(0, meet::call(rank, size, meeting, LIMIT)?)],
        };
        let broken =
            |e: std::io::Error| RanksError::Refused(format!("nothing, as its connection broke: {e}"));
        Self::over(rank, size, streams).map_err(broken)
    }

    fn over(rank: usize, size: usize, streams: Vec<(usize, TcpStream)>) -> IoResult<Self> {
        let mut lines = Vec::new();
        for (peer, stream) in &streams {
            stream.set_nodelay(true)?;
            let socket = SockRef::from(stream);
            socket
                .set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE / 4).with_interval(SILENCE / 12))?;
            #[cfg(target_os = "linux")]
            socket.set_tcp_user_timeout(Some(SILENCE))?;
            lines.push((*peer, Mutex::new(stream.try_clone()?)));
        }
        let lines = Arc::new(Lines(lines));
        let listen_to = |(peer, stream)| {
            let (says, heard) = channel();
            let lines = lines.clone();
            std::thread::spawn(move || listen(peer, stream, &says, &lines));
            Mutex::new(heard)
        };
        let heard = streams.into_iter().map(listen_to).collect();
        Ok(Self { rank, size, lines, heard })
    }

    /// The next part of who is on a line.
    fn hear(&self, line: usize) -> Vec<u8> {
        let part = held(&self.heard[line]).recv();
        let peer = self.lines.0[line].0;
        part.unwrap_or_else(|_| self.lines.end(&format!("rank {peer} has left before the training's end")))
    }

    /// Of rank 0: to all others.
    fn say_to_all(&self, part: &[u8]) {
        (0..self.heard.len()).for_each(|line| self.lines.say(line, Sort::Part, part));
    }

    /// Rank 0 adds in the order of ranks, so that sums do not depend on who comes first.
    fn sum_of<T: Pod + AddAssign>(&self, numbers: &mut [T]) {
        if self.rank > 0 {
            self.lines.say(0, Sort::Part, cast_slice(numbers));
            return self.fill(numbers, &self.hear(0));
        }
        let mut theirs = numbers.to_vec();
        for line in 0..self.heard.len() {
            self.fill(&mut theirs, &self.hear(line));
            numbers.iter_mut().zip(&theirs).for_each(|(sum, number)| *sum += *number);
        }
        self.say_to_all(cast_slice(numbers));
    }

    fn fill<T: Pod>(&self, numbers: &mut [T], part: &[u8]) {
        let (expected, found) = (size_of_val(numbers), part.len());
        if expected != found {
            let why = format!("ranks differ in what they add up: expected {expected} bytes; found {found}");
            self.lines.end(&why)
        }
        cast_slice_mut(numbers).copy_from_slice(part);
    }
}

impl Ranks for Tcp {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum(&self, numbers: &mut [f32]) {
        self.sum_of(numbers);
    }

    fn sum_f64(&self, numbers: &mut [f64]) {
        self.sum_of(numbers);
    }

    fn gather(&self, text: &str) -> Vec<String> {
        let whole = if self.rank > 0 {
            self.lines.say(0, Sort::Part, text.as_bytes());
            self.hear(0)
        } else {
            let theirs =
                (0..self.heard.len()).map(|line| String::from_utf8_lossy(&self.hear(line)).into_owned());
            let all: Vec<String> = std::iter::once(text.to_string()).chain(theirs).collect();
            let whole = serde_json::to_vec(&all).unwrap_or_default(); // of texts, there is always one
            self.say_to_all(&whole);
            whole
        };
        let all: Option<Vec<String>> = serde_json::from_slice(&whole).ok();
        let all = all.filter(|all| all.len() == self.size);
        all.unwrap_or_else(|| self.lines.end("ranks differ in what they exchange"))
    }

    fn wait(&self) {
        self.gather("here");
    }

    fn abort(&self) -> ! {
        self.lines.tell(&format!("rank {} has ended the training", self.rank));
        exit(1)
    }
}

/// Leaves once all others do so.
impl Drop for Tcp {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return self.lines.tell(&format!("rank {} has panicked", self.rank));
        }
        if self.rank > 0 {
            self.lines.say(0, Sort::Leaves, &[]);
        }
        for heard in &self.heard {
            while held(heard).recv().is_ok() {}
        }
        if self.rank == 0 {
            (0..self.heard.len()).for_each(|line| self.lines.say(line, Sort::Leaves, &[]));
        }
    }
}

impl Lines {
    fn say(&self, line: usize, sort: Sort, content: &[u8]) {
        let (peer, stream) = &self.0[line];
        if say(&mut held(stream), sort, content).is_err() {
            // It may have said why, and who listens to it ends this process with its words.
            std::thread::sleep(Duration::from_secs(1));
            self.end(&gone(*peer))
        }
    }

    /// Says to all others that the training ends.
    fn tell(&self, why: &str) {
        for (_, stream) in &self.0 {
            // Half a message may be on its way to a rank that does not listen; what it then sees is that this one is gone.
            if let Ok(mut stream) = stream.try_lock() {
                let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
                let _ = say(&mut stream, Sort::Ends, why.as_bytes());
            }
        }
    }

    /// Ends this process because of another, and tells the others.
    fn end(&self, why: &str) -> ! {
        static FIRST: Mutex<()> = Mutex::new(());
        let _first = held(&FIRST); // whatever the others see is a consequence
        eprintln!(
            "error: {why}, and so the training has ended; --resume goes on from a checkpoint, if there is one"
        );
        self.tell(why);
        exit(ENDED)
    }
}

/// Hands on what a rank says until it leaves.
fn listen(peer: usize, stream: TcpStream, says: &Sender<Vec<u8>>, lines: &Lines) {
    let mut stream = BufReader::new(stream);
    loop {
        match hear(&mut stream) {
            Ok((sort, content)) if sort == Sort::Part as u8 => {
                if says.send(content).is_err() {
                    return; // this rank has left
                }
            }
            Ok((sort, _)) if sort == Sort::Leaves as u8 => return,
            Ok((sort, why)) if sort == Sort::Ends as u8 => lines.end(&String::from_utf8_lossy(&why)),
            _ => lines.end(&gone(peer)),
        }
    }
}

fn gone(rank: usize) -> String {
    format!("rank {rank} is gone")
}

fn say(stream: &mut TcpStream, sort: Sort, content: &[u8]) -> IoResult<()> {
    let mut start = [sort as u8; 9];
    start[1..].copy_from_slice(&(content.len() as u64).to_le_bytes());
    stream.write_all(&start)?;
    stream.write_all(content)
}

fn hear(stream: &mut impl Read) -> IoResult<(u8, Vec<u8>)> {
    let mut start = [0; 9];
    stream.read_exact(&mut start)?;
    let (sort, mut length) = (start[0], [0; 8]);
    length.copy_from_slice(&start[1..]);
    let length = u64::from_le_bytes(length);
    let mut content = Vec::new();
    match stream.take(length).read_to_end(&mut content)? as u64 == length {
        true => Ok((sort, content)),
        false => Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the process as it stands: what usually runs at its end would wait for a GPU that waits for a rank that is gone.
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

    /// What `of_rank` gives on each of three ranks.
    fn on_three<T: Send>(of_rank: impl Fn(&Tcp) -> T + Sync) -> Vec<T> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let meeting = Meeting { host: "127.0.0.1".into(), port, job: "three".into() };
        let run = |rank| of_rank(&Tcp::join(rank, 3, &meeting).unwrap());
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
            ranks.sum(&mut long);
            let mut doubles = [0.1 + ranks.rank() as f64, 1e-300];
            ranks.sum_f64(&mut doubles);
            ranks.sum(&mut []);
            ranks.wait();
            let texts = ranks.gather(&format!("rank \"{}\" é", ranks.rank()));
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
    fn who_leaves_early_waits_for_the_others() {
        on_three(|ranks| std::thread::sleep(Duration::from_millis(20) * (2 - ranks.rank() as u32)));
    }
}
