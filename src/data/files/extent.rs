//! A range of bytes on disk, in memory or on another machine, read on demand.

#[cfg(feature = "remote")]
use super::remote::Object;
use smalti_contract::memory;
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

/// `len` bytes from `start` of a file or a buffer. Cheap to clone; members of an archive share its store.
#[derive(Debug, Clone)]
pub(crate) struct Extent {
    store: Store,
    start: u64,
    len: u64,
}

#[derive(Debug, Clone)]
enum Store {
    Disk(Arc<OnDisk>),
    Memory(Arc<InMemory>),
    #[cfg(feature = "remote")]
    Remote(Arc<Object>),
}

#[derive(Debug)]
struct OnDisk {
    #[cfg(unix)]
    file: File,
    #[cfg(not(unix))]
    path: std::path::PathBuf,
    /// Size and time of change; `None` if the file system has no times.
    stamp: Option<String>,
}

#[derive(Debug)]
struct InMemory {
    bytes: Cow<'static, [u8]>,
    /// The stamp of the file that these bytes were packed in, if any.
    stamp: Option<String>,
}

impl OnDisk {
    /// Reads at an offset, without a cursor that threads would share.
    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.file, buffer, offset)
    }

    #[cfg(not(unix))]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(offset))?;
        file.read(buffer)
    }
}

impl Extent {
    /// A whole file on disk, which is kept open.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let on_disk = OnDisk {
            #[cfg(unix)]
            file,
            #[cfg(not(unix))]
            path: path.to_path_buf(),
            stamp: metadata.modified().ok().map(|time| format!("{} at {time:?}", metadata.len())),
        };
        Ok(Self { store: Store::Disk(Arc::new(on_disk)), start: 0, len: metadata.len() })
    }

    /// A whole temporary file; `stamp` is that of the file that it was made from.
    #[cfg(unix)]
    pub(super) fn temporary(file: File, stamp: Option<String>) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { store: Store::Disk(Arc::new(OnDisk { file, stamp })), start: 0, len })
    }

    /// The bytes of a temporary file, which has no path to read it from in several threads.
    #[cfg(not(unix))]
    pub(super) fn temporary(mut file: File, _stamp: Option<String>) -> io::Result<Self> {
        let mut bytes = vec![];
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut bytes)?;
        Ok(Self::memory(bytes.into()))
    }

    /// A whole buffer.
    pub fn memory(bytes: Cow<'static, [u8]>) -> Self {
        Self::unpacked(bytes, None)
    }

    /// Unpacked bytes, and the stamp of the file that they were packed in.
    pub(super) fn unpacked(bytes: Cow<'static, [u8]>, stamp: Option<String>) -> Self {
        let len = bytes.len() as u64;
        Self { store: Store::Memory(Arc::new(InMemory { bytes, stamp })), start: 0, len }
    }

    /// A whole object on another machine.
    #[cfg(feature = "remote")]
    pub(super) fn remote(object: Arc<Object>) -> Self {
        let len = object.len();
        Self { store: Store::Remote(object), start: 0, len }
    }

    /// The number of bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// `len` bytes from `offset` on; `None` if they exceed the range.
    pub fn slice(&self, offset: u64, len: u64) -> Option<Self> {
        let end = offset.checked_add(len)?;
        (end <= self.len).then(|| Self { store: self.store.clone(), start: self.start + offset, len })
    }

    /// Reads from `offset` on, until the end of `buffer` or of the range.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let wanted = self.len.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let buffer = buffer.get_mut(..wanted).unwrap_or_default();
        match &self.store {
            Store::Disk(file) => file.read_at(buffer, self.start + offset),
            Store::Memory(memory) => {
                let rest = memory.bytes.get((self.start + offset) as usize..).unwrap_or_default();
                (&mut &*rest).read(buffer)
            }
            #[cfg(feature = "remote")]
            Store::Remote(object) => object.read_at(buffer, self.start + offset),
        }
    }

    /// The range, and the size and time of change or version of its file; `None` in memory.
    pub fn stamp(&self) -> Option<String> {
        let of = match &self.store {
            Store::Disk(file) => file.stamp.clone()?,
            Store::Memory(memory) => memory.stamp.clone()?,
            #[cfg(feature = "remote")]
            Store::Remote(object) => object.stamp()?,
        };
        Some(format!("{} from {} of {of}", self.len, self.start))
    }

    /// A new reader of these bytes.
    pub(crate) fn reader(&self) -> Cursor {
        Cursor { extent: self.clone(), position: 0 }
    }

    /// All the bytes.
    ///
    /// # Errors
    /// If they are more than [`memory::unpack_limit`], which a file of zeros may state without having them.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        memory::check(self.len).map_err(|e| {
            let problem = format!("{} bytes are too many to hold: {}", self.len, memory::describe_limit());
            io::Error::new(e.kind(), problem)
        })?;
        let mut bytes = Vec::new();
        match &self.store {
            // A server may state any length, so reserving may fail. Each read is a request, so one reads all.
            #[cfg(feature = "remote")]
            Store::Remote(_) => {
                if self.len > memory::at_hand() {
                    return Err(io::ErrorKind::OutOfMemory.into());
                }
                bytes.try_reserve_exact(self.len as usize).map_err(|_| io::ErrorKind::OutOfMemory)?;
                bytes.resize(self.len as usize, 0);
                self.reader().read_exact(&mut bytes)?;
            }
            _ => {
                // `len` is checked against the size on disk, so it may be reserved.
                bytes.try_reserve_exact(self.len as usize).map_err(|_| io::ErrorKind::OutOfMemory)?;
                self.reader().read_to_end(&mut bytes)?;
            }
        }
        if bytes.len() as u64 != self.len {
            let problem =
                format!("expected {} bytes, found {}; the file changed while in use", self.len, bytes.len());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
        }
        Ok(bytes)
    }
}

/// A reader of an [`Extent`].
pub(crate) struct Cursor {
    extent: Extent,
    position: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.extent.read_at(buffer, self.position)?;
        self.position += n as u64;
        Ok(n)
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
            SeekFrom::End(offset) => self.extent.len.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
