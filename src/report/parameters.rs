//! The number of parameters of each part of a model.

use std::collections::BTreeMap;

/// The parts of a model, in the order of the forward pass.
const PARTS: [&str; 4] = ["embed", "encoder", "stack", "head"];

/// The number of parameters of each part of the model, in the order of the forward pass, and their `total`, from the number of
/// elements of each parameter.
pub fn parameters(counts: &BTreeMap<String, usize>) -> Vec<(String, usize)> {
    let mut parts: BTreeMap<(usize, &str), usize> = BTreeMap::new();
    for (name, count) in counts {
        let part = name.split('.').next().unwrap_or(name);
        let place = PARTS.iter().position(|known| *known == part).unwrap_or(PARTS.len());
        *parts.entry((place, part)).or_default() += count;
    }
    let parts = parts.into_iter().map(|((_, part), count)| (part.to_string(), count));
    parts.chain([("total".to_string(), counts.values().sum())]).collect()
}
