//! What a PyTorch checkpoint declares, checked before candle reads it: candle copies an object each time that a pickle refers to
//! it, recurses into nested ones, takes arguments by their place, and allocates the sizes of tensors.

use candle_core::Tensor;
use candle_core::pickle::{OpCode, TensorInfo, read_all, read_pth_tensor_info};
use smalti_contract::memory::{self, Limited};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use zip::ZipArchive;

/// The most objects inside one another; a checkpoint has about ten.
const MAX_DEPTH: usize = 64;
/// The most objects, counted as often as they are copied; a checkpoint has about forty for each tensor.
const MAX_OBJECTS: usize = 10_000_000;
/// The ending of the names of pickles in a checkpoint.
const PICKLE: &str = "data.pkl";

/// Read the tensors of a checkpoint.
///
/// # Errors
/// As of [`check`], and for a tensor that is not contiguous or of another type.
pub(super) fn read(path: &Path) -> Result<Vec<(String, Tensor)>, String> {
    check(path)?;
    let tensors = catch_unwind(AssertUnwindSafe(|| read_all(path)));
    tensors.map_err(|_| "a tensor is corrupt".to_string())?.map_err(|e| e.to_string())
}

/// Check the pickles of a checkpoint, and that the elements of each tensor are in it.
///
/// # Errors
/// The problem of a pickle that is nested too deeply, has too many objects or tensors without their arguments, of a tensor
/// without its elements, and of a packed archive that unpacks to too much.
fn check(path: &Path) -> Result<(), String> {
    let mut archive = archive(path)?;
    let names: Vec<String> = archive.file_names().flatten().map(|name| name.into_owned()).collect();
    for name in names.iter().filter(|name| name.ends_with(PICKLE)) {
        let mut bytes = vec![];
        let file = archive.by_name(name).map_err(|e| e.to_string())?;
        Limited::new(file).read_to_end(&mut bytes).map_err(|e| format!("{name}: {e}"))?;
        Objects::default().read(&mut &bytes[..]).map_err(|problem| format!("{name}: {problem}"))?;
    }
    // candle removes arguments from their list without looking at its length.
    let tensors = catch_unwind(AssertUnwindSafe(|| read_pth_tensor_info(path, false, None)));
    let tensors = tensors.map_err(|_| "a tensor lacks arguments: the pickle is corrupt")?;
    let mut unpacked = 0;
    for tensor in tensors.map_err(|e| e.to_string())? {
        unpacked +=
            elements(&mut archive, &tensor).map_err(|problem| format!("{}: {problem}", tensor.name))?;
    }
    let packed = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    // Tied weights are two tensors of one file.
    match unpacked > packed.saturating_mul(2) {
        true => memory::check(unpacked).map_err(|e| format!("its tensors take {unpacked} bytes: {e}")),
        false => Ok(()),
    }
}

fn archive(path: &Path) -> Result<ZipArchive<BufReader<File>>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    ZipArchive::new(BufReader::new(file)).map_err(|e| e.to_string())
}

/// The number of bytes of a tensor, which its file in the archive must have.
fn elements(archive: &mut ZipArchive<BufReader<File>>, tensor: &TensorInfo) -> Result<u64, String> {
    let file = archive.by_name(&tensor.path).map_err(|e| format!("{}: {e}", tensor.path))?;
    let dims = tensor.layout.dims();
    let size = tensor.dtype.size_in_bytes() as u64;
    let bytes = dims.iter().try_fold(size, |bytes, &dim| bytes.checked_mul(dim as u64));
    let end = bytes.and_then(|bytes| bytes.checked_add(tensor.layout.start_offset() as u64));
    match end.filter(|&end| end <= file.size()) {
        Some(_) => Ok(bytes.unwrap_or_default()),
        None => Err(format!(
            "its shape {dims:?} needs more bytes than {}, which has {}",
            tensor.path,
            file.size()
        )),
    }
}

/// The size of an object on the stack of a pickle.
#[derive(Clone, Copy)]
struct Size {
    objects: usize,
    depth: usize,
    is_mark: bool,
}

impl Size {
    const ONE: Self = Self { objects: 1, depth: 1, is_mark: false };

    /// The size of an object around others.
    fn around(inner: &[Self]) -> Result<Self, String> {
        let objects = inner.iter().fold(1_usize, |sum, size| sum.saturating_add(size.objects));
        let depth = 1 + inner.iter().map(|size| size.depth).max().unwrap_or(0);
        match depth > MAX_DEPTH {
            true => Err(format!("its objects are nested in more than {MAX_DEPTH} levels")),
            false => Ok(Self { objects, depth, is_mark: false }),
        }
    }
}

/// The stack and the memo of a pickle, with the sizes of the objects in place of the objects.
#[derive(Default)]
struct Objects {
    stack: Vec<Size>,
    memo: HashMap<u32, Size>,
    /// The objects that were made or copied.
    made: usize,
}

impl Objects {
    fn read(&mut self, bytes: &mut &[u8]) -> Result<(), String> {
        loop {
            let [code] = take(bytes)?;
            let code = OpCode::try_from(code).map_err(|code| format!("unknown operation {code:#04x}"))?;
            match code {
                OpCode::Stop => return Ok(()),
                code => self.step(code, bytes)?,
            }
        }
    }

    fn step(&mut self, code: OpCode, bytes: &mut &[u8]) -> Result<(), String> {
        use OpCode as Op;
        match code {
            Op::Stop => Ok(()),
            Op::Proto => pass(bytes, 1),
            Op::Global => {
                line(bytes)?;
                line(bytes)?;
                self.push(Size::ONE)
            }
            Op::BinInt1 => self.plain(bytes, 1),
            Op::BinInt2 => self.plain(bytes, 2),
            Op::BinInt => self.plain(bytes, 4),
            Op::BinFloat => self.plain(bytes, 8),
            Op::BinUnicode => {
                let length = u32::from_le_bytes(take(bytes)?) as usize;
                pass(bytes, length)?;
                // A text is copied with its bytes.
                self.push(Size { objects: 1 + length / 32, ..Size::ONE })
            }
            Op::Long1 => {
                let [length] = take(bytes)?;
                match length {
                    ..=8 => self.plain(bytes, length.into()),
                    _ => Err(format!("an integer of {length} bytes; expected at most 8")),
                }
            }
            Op::Mark => self.push(Size { is_mark: true, ..Size::ONE }),
            Op::NewTrue | Op::NewFalse | Op::None | Op::EmptyDict | Op::EmptyTuple | Op::EmptyList => {
                self.push(Size::ONE)
            }
            Op::BinPersId | Op::Tuple1 => self.join(1),
            Op::Tuple2 | Op::Build | Op::Reduce | Op::NewObj => self.join(2),
            Op::Tuple3 => self.join(3),
            Op::Append => self.extend(1),
            Op::SetItem => self.extend(2),
            Op::Tuple | Op::Dict => {
                let inner = self.remove_mark()?;
                self.join(inner)
            }
            Op::Appends | Op::SetItems => {
                let inner = self.remove_mark()?;
                self.extend(inner)
            }
            Op::BinGet => {
                let [id] = take(bytes)?;
                self.get(id.into())
            }
            Op::LongBinGet => self.get(u32::from_le_bytes(take(bytes)?)),
            Op::BinPut => {
                let [id] = take(bytes)?;
                self.put(id.into())
            }
            Op::LongBinPut => self.put(u32::from_le_bytes(take(bytes)?)),
        }
    }

    fn push(&mut self, size: Size) -> Result<(), String> {
        self.stack.push(size);
        self.count(size.objects)
    }

    /// Count objects that are made or copied.
    fn count(&mut self, objects: usize) -> Result<(), String> {
        self.made = self.made.saturating_add(objects);
        match self.made > MAX_OBJECTS {
            true => Err(format!("it has more than {MAX_OBJECTS} objects, with those that it repeats")),
            false => Ok(()),
        }
    }

    /// Push a number of so many bytes.
    fn plain(&mut self, bytes: &mut &[u8], length: usize) -> Result<(), String> {
        pass(bytes, length)?;
        self.push(Size::ONE)
    }

    /// Move the last objects into the list or dictionary before them.
    fn extend(&mut self, objects: usize) -> Result<(), String> {
        let start = self.stack.len().checked_sub(objects).ok_or("an operation lacks its objects")?;
        let inner = Size::around(&self.stack[start..])?;
        self.stack.truncate(start);
        let outer = self.stack.last_mut().ok_or("an operation lacks its objects")?;
        outer.objects = outer.objects.saturating_add(inner.objects);
        outer.depth = outer.depth.max(inner.depth);
        Ok(())
    }

    /// Replace the last objects by one around them.
    fn join(&mut self, objects: usize) -> Result<(), String> {
        let start = self.stack.len().checked_sub(objects).ok_or("an operation lacks its objects")?;
        let joined = Size::around(&self.stack[start..])?;
        self.stack.truncate(start);
        self.stack.push(joined);
        self.count(1)
    }

    /// Remove the last mark; returns the number of objects after it.
    fn remove_mark(&mut self) -> Result<usize, String> {
        let mark = self.stack.iter().rposition(|size| size.is_mark).ok_or("an operation lacks its mark")?;
        self.stack.remove(mark);
        Ok(self.stack.len() - mark)
    }

    fn get(&mut self, id: u32) -> Result<(), String> {
        let size =
            *self.memo.get(&id).ok_or_else(|| format!("it refers to the object {id}, which it lacks"))?;
        self.push(size)
    }

    fn put(&mut self, id: u32) -> Result<(), String> {
        let last = *self.stack.last().ok_or("an operation lacks its objects")?;
        self.memo.insert(id, last);
        self.count(last.objects)
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], String> {
    let (taken, rest) = bytes.split_first_chunk().ok_or("the pickle is truncated")?;
    *bytes = rest;
    Ok(*taken)
}

fn pass(bytes: &mut &[u8], length: usize) -> Result<(), String> {
    *bytes = bytes.get(length..).ok_or("the pickle is truncated")?;
    Ok(())
}

fn line(bytes: &mut &[u8]) -> Result<(), String> {
    let end = bytes.iter().position(|&byte| byte == b'\n').ok_or("the pickle is truncated")?;
    pass(bytes, end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn sized(bytes: &[u8]) -> Result<(), String> {
        Objects::default().read(&mut &bytes[..])
    }

    /// A checkpoint with one tensor of this size along one axis; 4 numbers are in it.
    fn checkpoint(size: i32, arguments: bool) -> Vec<u8> {
        let mut pickle = b"\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n((".to_vec();
        pickle.extend(b"X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ");
        if arguments {
            pickle.extend(b"K\0J");
            pickle.extend(size.to_le_bytes());
            pickle.extend(b"\x85K\x01\x85\x89ccollections\nOrderedDict\n)R");
        }
        pickle.extend(b"tRs.");
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(vec![]));
        let options =
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for (name, bytes) in [("archive/data.pkl", &pickle[..]), ("archive/data/0", &[0; 16])] {
            zip.start_file(name, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn checked(bytes: &[u8]) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pytorch_model.bin");
        std::fs::write(&path, bytes).unwrap();
        check(&path)
    }

    #[test]
    fn objects_that_double_are_counted_as_often_as_they_are_copied() {
        let mut laughs = b"\x80\x02K\x01q\x00".to_vec();
        for id in 0..40 {
            laughs.extend([b'h', id, b'h', id, 0x86, b'q', id + 1]);
        }
        laughs.push(b'.');
        assert!(sized(&laughs).unwrap_err().starts_with("it has more than 10000000 objects"));
        assert_eq!(sized(b"\x80\x02K\x01q\x00h\x00\x86."), Ok(()));
    }

    #[test]
    fn the_nesting_is_limited() {
        let nested = |levels: usize| [b"\x80\x02)", &vec![0x85; levels][..], b"."].concat();
        assert_eq!(sized(&nested(60)), Ok(()));
        assert_eq!(sized(&nested(100_000)), Err("its objects are nested in more than 64 levels".into()));
        let lists = [b"\x80\x02", &vec![b']'; 1000][..], &vec![b'a'; 999], b"."].concat();
        assert!(sized(&lists).is_err());
        let long = [b"\x80\x02]", &b"K\x01a".repeat(1000)[..], b"."].concat();
        assert_eq!(sized(&long), Ok(()), "a list may have any number of items");
    }

    #[test]
    fn corrupt_pickles_are_errors() {
        for bytes in
            [&b""[..], b"\x80", b"X\xff\xff\xff\xff", b"t.", b"(", b"h\x07.", b"\x85.", b"\xff.", b"cos"]
        {
            assert!(sized(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn the_elements_of_a_tensor_must_be_there() {
        assert_eq!(checked(&checkpoint(4, true)), Ok(()));
        let error = checked(&checkpoint(1 << 30, true)).unwrap_err();
        assert!(
            error.starts_with("a: its shape [1073741824] needs more bytes than archive/data/0"),
            "{error}"
        );
        assert_eq!(
            checked(&checkpoint(4, false)),
            Err("a tensor lacks arguments: the pickle is corrupt".into())
        );
    }
}
