//! A cache of tokenized samples on disk.

use super::{DataError, Dataset, OnCorruptSample, Sample};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A data set whose samples are tokenized once and then read from a folder.
///
/// A sample is cached if it is [always the same](Dataset::varies) and its [origin](Dataset::origin) is known. Its file is
/// named by a hash of the origin and of the settings of the cache, so several runs may share a folder and a stale file is
/// never read. Files are written atomically; a corrupt one is found by its checksum and written again.
pub struct Cached {
    dataset: Arc<dyn Dataset>,
    folder: PathBuf,
    settings: Sha256,
}

/// The first bytes of a file, with the version of the format.
const MAGIC: &[u8] = b"smalti tokens 3\n";

#[derive(Serialize, Deserialize)]
struct Entry {
    inputs: Vec<(super::Stream, smalti_contract::Tokens)>,
    outputs: Vec<super::Output>,
    id: u64,
}

impl Cached {
    /// Caches samples of a data set in `folder`. `settings` is everything, besides their origins, that their tokens depend
    /// on.
    pub fn new(dataset: Arc<dyn Dataset>, folder: &Path, settings: &str) -> Self {
        Self { dataset, folder: folder.into(), settings: Sha256::new_with_prefix(settings) }
    }

    /// The file of the sample of this origin, in one of 256 subfolders.
    fn path(&self, origin: &str) -> PathBuf {
        let hash = self.settings.clone().chain_update([0]).chain_update(origin).finalize();
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let (folder, name) = hex.split_at(2);
        self.folder.join(folder).join(format!("{name}.tokens"))
    }
}

impl Dataset for Cached {
    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn sample(&self, index: usize, seed: Option<u64>) -> Result<Sample, DataError> {
        let constant = seed.is_none() || !self.dataset.varies();
        let Some(origin) = constant.then(|| self.dataset.origin(index)).flatten() else {
            return self.dataset.sample(index, seed);
        };
        let path = self.path(&origin);
        if let Some(sample) = load(&path) {
            return Ok(sample);
        }
        let sample = self.dataset.sample(index, seed)?;
        match store(&path, &sample) {
            Ok(()) => Ok(sample),
            Err(source) => Err(DataError::Io { location: path.display().to_string(), source }),
        }
    }

    fn versions(&self) -> usize {
        self.dataset.versions()
    }

    fn version(&self, index: usize, version: usize) -> Result<Sample, DataError> {
        match version {
            0 => self.sample(index, None),
            _ => self.dataset.version(index, version),
        }
    }

    fn on_corrupt(&self) -> OnCorruptSample {
        self.dataset.on_corrupt()
    }

    fn varies(&self) -> bool {
        self.dataset.varies()
    }

    fn origin(&self, index: usize) -> Option<String> {
        self.dataset.origin(index)
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        self.dataset.skipped()
    }

    fn lanes(&self) -> Vec<(usize, f64)> {
        self.dataset.lanes()
    }
}

/// The sample in this file; `None` if there is no file or it is corrupt.
fn load(path: &Path) -> Option<Sample> {
    let bytes = std::fs::read(path).ok()?;
    let (checksum, body) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let Entry { inputs, outputs, id } = postcard::from_bytes(body).ok()?;
    Some(Sample { inputs, outputs, id })
}

fn store(path: &Path, sample: &Sample) -> std::io::Result<()> {
    let Sample { inputs, outputs, id } = sample.clone();
    let body = postcard::to_stdvec(&Entry { inputs, outputs, id }).map_err(std::io::Error::other)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    // Threads and runs may write the same sample at once; each renames its own file, and all have the same content.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(MAGIC)?;
    file.write_all(&crc32fast::hash(&body).to_le_bytes())?;
    file.write_all(&body)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Stream, Target};
    use smalti_contract::{Content, Group, Tokens};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Counted {
        computed: AtomicUsize,
        varies: bool,
    }

    impl Dataset for Counted {
        fn len(&self) -> usize {
            3
        }

        fn sample(&self, index: usize, seed: Option<u64>) -> Result<Sample, DataError> {
            self.computed.fetch_add(1, Ordering::Relaxed);
            let values = vec![
                index as f32 + 0.1,
                f32::MIN_POSITIVE,
                seed.filter(|_| self.varies).map_or(0.0, |s| s as f32),
            ];
            let tokens = Tokens::new(vec![Group::sequence(Content::Features { values, dim: 3 })]);
            let inputs = vec![(Stream::Main, tokens)];
            Ok(Sample { inputs, outputs: vec![Target::class(index as u32).into()], id: 7 + index as u64 })
        }

        fn varies(&self) -> bool {
            self.varies
        }

        fn origin(&self, index: usize) -> Option<String> {
            (index < 2).then(|| format!("{index} of a file"))
        }
    }

    fn shown(dataset: &dyn Dataset, index: usize, seed: Option<u64>) -> String {
        format!("{:?}", dataset.sample(index, seed).unwrap())
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let folders = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        folders
            .flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()))
            .collect()
    }

    #[test]
    fn a_sample_is_computed_once_and_the_cached_one_is_equal() {
        let (folder, counted) = (tempfile::tempdir().unwrap(), Arc::new(Counted::default()));
        let computed = || counted.computed.load(Ordering::Relaxed);
        let plain: Vec<String> = (0..3).map(|index| shown(counted.as_ref(), index, None)).collect();
        for _ in 0..3 {
            // Opened again, as by another run.
            let cached = Cached::new(counted.clone(), folder.path(), "settings");
            assert!((0..3).all(|index| shown(&cached, index, None) == plain[index]));
            assert_eq!(shown(&cached, 0, Some(9)), plain[0], "a seed has no effect");
        }
        // Sample 2 has no origin.
        assert_eq!((computed(), files(folder.path()).len()), (3 + 2 + 3, 2));
        Cached::new(counted.clone(), folder.path(), "other settings").sample(0, None).unwrap();
        assert_eq!((computed(), files(folder.path()).len()), (9, 3));
    }

    #[test]
    fn augmented_samples_are_not_cached() {
        let folder = tempfile::tempdir().unwrap();
        let cached = Cached::new(Arc::new(Counted { varies: true, ..Counted::default() }), folder.path(), "");
        assert_ne!(shown(&cached, 0, Some(1)), shown(&cached, 0, Some(2)));
        assert_eq!(files(folder.path()).len(), 0);
        cached.sample(0, None).unwrap();
        assert_eq!(files(folder.path()).len(), 1);
    }

    #[test]
    fn a_corrupt_file_is_written_again() {
        let (folder, counted) = (tempfile::tempdir().unwrap(), Arc::new(Counted::default()));
        let cached = Cached::new(counted.clone(), folder.path(), "");
        let good = shown(&cached, 0, None);
        let file = files(folder.path()).remove(0);
        let whole = std::fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            // A flipped bit, and a truncated file.
            for corrupt in [&bytes[..], &whole[..at]] {
                std::fs::write(&file, corrupt).unwrap();
                let before = counted.computed.load(Ordering::Relaxed);
                assert_eq!(shown(&cached, 0, None), good);
                assert_eq!(counted.computed.load(Ordering::Relaxed), before + 1, "byte {at}");
                assert_eq!(std::fs::read(&file).unwrap(), whole);
            }
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "in the way").unwrap();
        let error = Cached::new(Arc::new(Counted::default()), &file, "").sample(0, None).unwrap_err();
        assert!(error.to_string().contains("file/"), "{error}");
    }
}
