//! What all ranks must know of one another before a step.

use super::{Part, Ranks, RanksError, TrainConfig, TrainError};
use crate::data::{Batch, DataError, Prepared};
use crate::model::Model;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A step that all ranks are ready for.
pub(super) struct Agreed {
    /// This rank's micro-batches.
    pub micro: Vec<Batch>,
    /// The first draw of the step behind, by rank.
    pub draws: Vec<u64>,
    /// What was wrong with samples of all ranks that could not be used.
    pub bad: Vec<String>,
}

/// What a rank says before a step.
#[derive(Default, Serialize, Deserialize)]
struct Ready {
    /// It is asked to stop, or has no more steps.
    stops: bool,
    failed: Option<String>,
    draw: u64,
    bad: Vec<String>,
}

/// What the ranks have prepared; `None` where any of them stops, so that all do so before the same step.
///
/// # Errors
/// What a rank could not read: its own error there, and [`TrainError::Elsewhere`] on the others.
pub(super) fn agree(
    ranks: &dyn Ranks,
    prepared: Option<Result<Prepared, DataError>>,
) -> Result<Option<Agreed>, TrainError> {
    let mut ready = Ready { stops: prepared.is_none(), ..Ready::default() };
    let own = match prepared.transpose() {
        Ok(prepared) => {
            let Prepared { micro, draw, bad } = prepared.unwrap_or_default();
            (ready.draw, ready.bad) = (draw, bad);
            Ok(micro)
        }
        Err(error) => {
            ready.failed = Some(error.to_string());
            Err(error)
        }
    };
    let all = exchange(ranks, &ready)?;
    let micro = own?;
    if let Some((rank, problem)) =
        all.iter().enumerate().find_map(|(r, ready)| Some((r, ready.failed.clone()?)))
    {
        return Err(TrainError::Elsewhere { rank, problem });
    }
    if all.iter().any(|ready| ready.stops) {
        return Ok(None);
    }
    let draws = all.iter().map(|ready| ready.draw).collect();
    Ok(Some(Agreed { micro, draws, bad: all.into_iter().flat_map(|ready| ready.bad).collect() }))
}

fn exchange(ranks: &dyn Ranks, ready: &Ready) -> Result<Vec<Ready>, TrainError> {
    let unreadable = |e: serde_json::Error| TrainError::State(format!("what ranks say to one another: {e}"));
    let text = serde_json::to_string(ready).map_err(unreadable)?;
    ranks.gather(&text).iter().map(|text| serde_json::from_str(text).map_err(unreadable)).collect()
}

/// Sees that all ranks have the same settings and start from the same weights, at the same step, with as many samples, and
/// as many threads: a kernel's sums depend on the last.
///
/// # Errors
/// [`RanksError::Differ`] on every rank, and where the tensor library refuses.
pub(super) fn same_start(
    ranks: &dyn Ranks,
    config: &TrainConfig,
    model: &Model,
    parts: &[Part],
    step: u64,
) -> Result<(), TrainError> {
    if ranks.size() == 1 {
        return Ok(());
    }
    same_settings(ranks, config)?;
    let mut weights = crc32fast::Hasher::new();
    for (_, parameter) in model.params().iter() {
        let values = parameter.as_detached_tensor().flatten_all()?.to_vec1::<f32>()?;
        values.iter().for_each(|value| weights.update(&value.to_le_bytes()));
    }
    let samples: Vec<[usize; 2]> = parts.iter().map(|part| [part.train.len(), part.valid.len()]).collect();
    let own = format!(
        "step {step}, weights {:08x}, {samples:?} samples, {} threads",
        weights.finalize(),
        rayon::current_num_threads()
    );
    let all = ranks.gather(&own);
    match all.iter().position(|start| *start != all[0]) {
        None => Ok(()),
        Some(rank) => {
            Err(RanksError::Differ { rank, expected: all[0].clone(), found: all[rank].clone() }.into())
        }
    }
}

/// Sees that all ranks train alike; by how many threads samples are read changes nothing.
fn same_settings(ranks: &dyn Ranks, config: &TrainConfig) -> Result<(), TrainError> {
    let unreadable = |e: serde_json::Error| TrainError::State(format!("the settings of ranks: {e}"));
    let own = TrainConfig { workers: 1, ..config.clone() };
    let own = serde_json::to_string(&own).map_err(unreadable)?;
    let all = ranks.gather(&own);
    let settings = |text: &str| serde_json::from_str::<serde_json::Map<_, _>>(text).map_err(unreadable);
    let first = settings(&all[0])?;
    let Some(rank) = all.iter().position(|text| *text != all[0]) else { return Ok(()) };
    let others = settings(&all[rank])?;
    let names: BTreeSet<&String> =
        first.keys().chain(others.keys()).filter(|name| first.get(*name) != others.get(*name)).collect();
    let named = |of: &serde_json::Map<String, serde_json::Value>| {
        let one = |name: &&String| {
            let value = of.get(*name).map_or("left out".into(), ToString::to_string);
            format!("train.{name}={value}")
        };
        names.iter().map(one).collect::<Vec<_>>().join(" ")
    };
    Err(RanksError::Differ { rank, expected: named(&first), found: named(&others) }.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::ranks::testing::on_ranks;

    fn ready(draw: u64) -> Option<Result<Prepared, DataError>> {
        Some(Ok(Prepared { draw, bad: vec![format!("sample {draw}")], ..Prepared::default() }))
    }

    #[test]
    fn every_rank_knows_where_the_others_are() {
        for agreed in on_ranks(2, |ranks| agree(ranks.as_ref(), ready(7 + ranks.rank() as u64))) {
            let agreed = agreed.unwrap().unwrap();
            assert_eq!((agreed.draws, agreed.bad), (vec![7, 8], vec!["sample 7".into(), "sample 8".into()]));
        }
    }

    #[test]
    fn ranks_that_would_train_otherwise_are_refused() {
        let said = on_ranks(3, |ranks| {
            let rank = ranks.rank();
            let config = TrainConfig { batch_size: 4 + rank / 2, workers: rank, ..TrainConfig::default() };
            same_settings(ranks.as_ref(), &config).unwrap_err().to_string()
        });
        let expected =
            "rank 2 does not start as rank 0 does: expected train.batch_size=4; found train.batch_size=5.";
        assert!(said.iter().all(|said| said.starts_with(expected)), "{said:?}");
    }

    #[test]
    fn where_one_stops_or_fails_all_do() {
        let stopped = on_ranks(2, |ranks| agree(ranks.as_ref(), ready(1).filter(|_| ranks.rank() == 0)));
        assert!(stopped.iter().all(|agreed| matches!(agreed, Ok(None))));
        let failed = on_ranks(2, |ranks| match ranks.rank() {
            0 => agree(ranks.as_ref(), ready(1)),
            _ => agree(ranks.as_ref(), Some(Err(DataError::Worker))),
        });
        assert!(matches!(failed[0], Err(TrainError::Elsewhere { rank: 1, .. })));
        assert!(matches!(failed[1], Err(TrainError::Data(DataError::Worker))));
    }
}
