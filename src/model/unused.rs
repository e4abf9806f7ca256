//! The parameters that a batch does not use.

use super::Model;
use crate::data::Batch;
use std::collections::BTreeSet;

impl Model {
    /// The names of the parameters that the losses of a batch do not depend on. Training checks that all others get a
    /// gradient.
    pub fn unused_parameters(&self, batch: &Batch) -> BTreeSet<&str> {
        let names: Vec<&str> = self.params.iter().map(|(name, _)| name).collect();
        let trained: BTreeSet<(usize, usize)> =
            self.trained(batch).map(|read| (read.task, read.head)).collect();
        if trained.is_empty() {
            return names.into_iter().collect();
        }
        let mut used = vec![true; names.len()];
        let streams = std::iter::once(&batch.main).chain(&batch.encoder);
        let present: BTreeSet<usize> = streams.flat_map(|s| s.groups.iter().map(|g| g.kind)).collect();
        for kind in 0..self.kinds.len() {
            used[self.embedder.parameters(kind)].fill(false);
        }
        present.iter().for_each(|kind| used[self.embedder.parameters(*kind)].fill(true));
        if batch.encoder.is_none() {
            self.encoder.iter().for_each(|encoder| used[encoder.parameters()].fill(false));
            self.transformer.cross_parameters().for_each(|place| used[place] = false);
        }
        for (task, heads) in self.heads.iter().enumerate() {
            let idle = heads.iter().enumerate().filter(|(head, _)| !trained.contains(&(task, *head)));
            idle.for_each(|(_, head)| used[head.parameters()].fill(false));
        }
        names.into_iter().zip(used).filter(|(_, used)| !used).map(|(name, _)| name).collect()
    }
}
