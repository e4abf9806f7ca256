//! Values that were read last, because the fields and the windows of a row are often read one after another.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most bytes of values that are kept, beside the last one.
const KEPT: usize = 256 << 20;

/// The values that were read last, by their keys.
pub(super) struct Recent<K, V>(Mutex<Kept<K, V>>);

struct Kept<K, V> {
    /// With their sizes in bytes.
    values: VecDeque<(K, V, usize)>,
    bytes: usize,
}

impl<K: Clone, V: Clone> Recent<K, V> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Kept { values: VecDeque::new(), bytes: 0 }))
    }

    /// The newest value with a wanted key.
    pub(super) fn find(&self, wanted: impl Fn(&K) -> bool) -> Option<(K, V)> {
        let kept = self.lock();
        let found = kept.values.iter().rev().find(|(key, ..)| wanted(key));
        found.map(|(key, value, _)| (key.clone(), value.clone()))
    }

    /// Keeps a value of `bytes` bytes and drops the oldest ones.
    pub(super) fn keep(&self, key: K, value: V, bytes: usize) {
        let mut kept = self.lock();
        kept.bytes += bytes;
        kept.values.push_back((key, value, bytes));
        while kept.bytes > KEPT && kept.values.len() > 1 {
            let oldest = kept.values.pop_front();
            kept.bytes -= oldest.map_or(0, |(_, _, bytes)| bytes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_values_are_dropped() {
        let recent = Recent::new();
        let has = |wanted: u32| recent.find(|key| *key == wanted).is_some();
        (0..3_u32).for_each(|key| recent.keep(key, 'a', KEPT / 2));
        assert_eq!([0, 1, 2].map(has), [false, true, true]);
        recent.keep(3, 'b', 2 * KEPT);
        assert_eq!([1, 2, 3].map(has), [false, false, true]);
    }
}
