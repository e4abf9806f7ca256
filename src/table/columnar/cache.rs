//! Decoded parts of shards, bounded in bytes.

use super::shard::Decoded;
use arrow_array::ArrayRef;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// The most bytes of decoded parts that a table keeps. A single part may be larger; it is then kept alone.
const KEPT: usize = 256 << 20;

/// The parts that were used last.
pub struct Cache<K> {
    parts: Mutex<Parts<K>>,
}

struct Parts<K> {
    by_key: HashMap<K, Entry>,
    bytes: usize,
    /// The number of uses so far.
    uses: u64,
}

struct Entry {
    slot: Slot,
    bytes: usize,
    /// The number of the last use.
    used: u64,
}

/// The arrays of a part, once decoded; its lock makes other threads wait for the one that decodes.
type Slot = Arc<Mutex<Option<Vec<ArrayRef>>>>;

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Self { parts: Mutex::new(Parts { by_key: HashMap::new(), bytes: 0, uses: 0 }) }
    }
}

impl<K: Copy + Eq + Hash> Cache<K> {
    /// Array `number` of a part, which is decoded unless it is kept.
    ///
    /// # Errors
    /// The error of `decode`; also nothing is kept then.
    pub fn get<E>(
        &self,
        key: K,
        number: usize,
        decode: impl FnOnce() -> Result<Decoded, E>,
    ) -> Result<Option<ArrayRef>, E> {
        let slot = self.slot(key);
        let mut arrays = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(arrays) = arrays.as_ref() {
            return Ok(arrays.get(number).cloned());
        }
        match decode() {
            Ok(Decoded { arrays: decoded, bytes }) => {
                let found = decoded.get(number).cloned();
                self.keep(key, &slot, bytes);
                *arrays = Some(decoded);
                Ok(found)
            }
            Err(error) => {
                self.parts.lock().unwrap_or_else(PoisonError::into_inner).by_key.remove(&key);
                Err(error)
            }
        }
    }

    fn slot(&self, key: K) -> Slot {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.uses += 1;
        let used = parts.uses;
        let entry =
            parts.by_key.entry(key).or_insert_with(|| Entry { slot: Slot::default(), bytes: 0, used });
        entry.used = used;
        entry.slot.clone()
    }

    /// Counts the bytes of a decoded part, and drops the parts whose last use is the longest ago.
    fn keep(&self, key: K, slot: &Slot, bytes: usize) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let used = parts.uses;
        let entry = Entry { slot: slot.clone(), bytes, used };
        let replaced = parts.by_key.insert(key, entry).map_or(0, |entry| entry.bytes);
        parts.bytes = parts.bytes + bytes - replaced;
        while parts.bytes > KEPT {
            let others = parts.by_key.iter().filter(|(other, entry)| **other != key && entry.bytes > 0);
            let Some(oldest) = others.min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key) else { break };
            parts.bytes -= parts.by_key.remove(&oldest).map_or(0, |entry| entry.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Array, UInt8Array};

    fn array(bytes: usize) -> Decoded {
        Decoded { arrays: vec![Arc::new(UInt8Array::from(vec![0; 2]))], bytes }
    }

    #[test]
    fn the_parts_that_were_used_last_are_kept() {
        let cache = Cache::default();
        let decoded = |key: usize| {
            let mut fresh = false;
            let decode = || {
                fresh = true;
                Ok::<_, ()>(array(100 << 20))
            };
            cache.get(key, 0, decode).unwrap().unwrap();
            fresh
        };
        assert_eq!([0, 1, 0, 2].map(decoded), [true, true, false, true]);
        assert!(!decoded(0) && decoded(1), "the part 1 was used the longest ago");
    }

    #[test]
    fn a_part_that_cannot_be_decoded_is_tried_again() {
        let cache = Cache::default();
        assert_eq!(cache.get(0, 0, || Err("corrupt")), Err("corrupt"));
        assert_eq!(cache.get(0, 0, || Ok::<_, ()>(array(2))).unwrap().unwrap().len(), 2);
        assert_eq!(cache.get(0, 1, || Err("never called")), Ok(None));
    }
}
