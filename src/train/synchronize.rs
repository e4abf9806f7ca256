//! What ranks exchange before a step, so that all make the same steps.

use super::{Ranks, RanksError, TrainConfig, TrainError, TrainTask};
use crate::data::{Batch, DataError, Prepared};
use crate::model::Model;
use crate::task::joined;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A step for which all ranks are ready.
pub(super) struct SynchronizedStep {
    /// This rank's micro-batches.
    pub micro: Vec<Batch>,
    /// The first draw of the step after this one, by rank.
    pub draws: Vec<u64>,
    /// The problems of corrupt samples, of all ranks.
    pub corrupt: Vec<String>,
}

/// The state of one rank before a step.
#[derive(Default, Serialize, Deserialize)]
struct RankState {
    /// The rank received a stop signal, or has no more steps.
    stops: bool,
    error: Option<String>,
    draw: u64,
    corrupt: Vec<String>,
}

/// The next step if all ranks are ready for it; `None` if any rank stops, so that all stop before the same step.
///
/// # Errors
/// If a rank cannot read a sample: its own error on that rank, and [`TrainError::OtherRank`] on the others.
/// [`TrainError::Ranks`] if a rank has ended.
pub(super) fn synchronize(
    ranks: &dyn Ranks,
    prepared: Option<Result<Prepared, DataError>>,
) -> Result<Option<SynchronizedStep>, TrainError> {
    let mut state = RankState { stops: prepared.is_none(), ..RankState::default() };
    let own = match prepared.transpose() {
        Ok(prepared) => {
            let Prepared { micro, draw, corrupt } = prepared.unwrap_or_default();
            (state.draw, state.corrupt) = (draw, corrupt);
            Ok(micro)
        }
        Err(error) => {
            state.error = Some(error.to_string());
            Err(error)
        }
    };
    let all = exchange(ranks, &state)?;
    let micro = own?;
    if let Some((rank, problem)) =
        all.iter().enumerate().find_map(|(rank, state)| Some((rank, state.error.clone()?)))
    {
        return Err(TrainError::OtherRank { rank, problem });
    }
    if all.iter().any(|state| state.stops) {
        return Ok(None);
    }
    let draws = all.iter().map(|state| state.draw).collect();
    let corrupt = all.into_iter().flat_map(|state| state.corrupt).collect();
    Ok(Some(SynchronizedStep { micro, draws, corrupt }))
}

fn exchange(ranks: &dyn Ranks, state: &RankState) -> Result<Vec<RankState>, TrainError> {
    let unreadable = |e: serde_json::Error| TrainError::State(format!("a message between ranks: {e}"));
    let text = serde_json::to_string(state).map_err(unreadable)?;
    ranks.all_gather(&text)?.iter().map(|text| serde_json::from_str(text).map_err(unreadable)).collect()
}

/// Checks that all ranks start from the same settings, weights, step, numbers of samples and number of threads: the sums of
/// kernels depend on the last.
///
/// # Errors
/// On every rank: [`RanksError::DifferentStart`], or an operation that fails.
pub(super) fn check_same_start(
    ranks: &dyn Ranks,
    config: &TrainConfig,
    model: &Model,
    tasks: &[TrainTask],
    step: u64,
) -> Result<(), TrainError> {
    if ranks.world_size() == 1 {
        return Ok(());
    }
    check_same_settings(ranks, &json!({ "train": config, "model": model.config() }))?;
    let mut weights = crc32fast::Hasher::new();
    for (_, parameter) in model.params().iter() {
        let values = parameter.as_detached_tensor().flatten_all()?.to_vec1::<f32>()?;
        values.iter().for_each(|value| weights.update(&value.to_le_bytes()));
    }
    let samples: Vec<[usize; 2]> =
        tasks.iter().map(|task| [task.train.len(), task.validation.len()]).collect();
    let own = format!(
        "step {step}, weights {:08x}, {samples:?} samples, {} threads",
        weights.finalize(),
        rayon::current_num_threads()
    );
    let all = ranks.all_gather(&own)?;
    match all.iter().position(|start| *start != all[0]) {
        None => Ok(()),
        Some(rank) => {
            let (expected, found) = (all[0].clone(), all[rank].clone());
            Err(RanksError::DifferentStart { rank, expected, found }.into())
        }
    }
}

/// Check that all ranks have the same settings. Only [`LOCAL`] ones may differ, which change no batch.
///
/// # Errors
/// On every rank: [`RanksError::DifferentStart`] with the first ten settings that differ.
pub(crate) fn check_same_settings(ranks: &dyn Ranks, settings: &impl Serialize) -> Result<(), TrainError> {
    if ranks.world_size() == 1 {
        return Ok(());
    }
    let unreadable = |e: serde_json::Error| TrainError::State(format!("the settings of a rank: {e}"));
    let mut own = BTreeMap::new();
    flatten("", &serde_json::to_value(settings).map_err(unreadable)?, &mut own);
    let own = serde_json::to_string(&own).map_err(unreadable)?;
    let all = ranks.all_gather(&own)?;
    let Some(rank) = all.iter().position(|text| *text != all[0]) else { return Ok(()) };
    let settings = |text: &str| serde_json::from_str::<BTreeMap<String, Value>>(text).map_err(unreadable);
    let (first, others) = (settings(&all[0])?, settings(&all[rank])?);
    let names: BTreeSet<&String> =
        first.keys().chain(others.keys()).filter(|name| first.get(*name) != others.get(*name)).collect();
    let named = |of: &BTreeMap<String, Value>| {
        let one = |name: &&String| {
            let value = of.get(*name).map_or("left out".into(), ToString::to_string);
            format!("{name}={value}")
        };
        names.iter().take(10).map(one).collect::<Vec<_>>().join(" ")
    };
    let (expected, found) = (named(&first), named(&others));
    Err(RanksError::DifferentStart { rank, expected, found }.into())
}

/// Settings of one process or host: threads that load data, and the place of data.
const LOCAL: [&str; 2] = ["workers", "source"];

/// Collect settings by their dotted names.
fn flatten(name: &str, value: &Value, all: &mut BTreeMap<String, Value>) {
    let Value::Object(fields) = value else {
        all.insert(name.into(), value.clone());
        return;
    };
    for (field, value) in fields.iter().filter(|(field, _)| !LOCAL.contains(&field.as_str())) {
        flatten(&joined(&[name, field]), value, all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::ranks::testing::on_ranks;

    fn ready(draw: u64) -> Option<Result<Prepared, DataError>> {
        Some(Ok(Prepared { draw, corrupt: vec![format!("sample {draw}")], ..Prepared::default() }))
    }

    #[test]
    fn every_rank_gets_the_draws_of_all_ranks() {
        for step in on_ranks(2, |ranks| synchronize(ranks.as_ref(), ready(7 + ranks.rank() as u64))) {
            let step = step.unwrap().unwrap();
            assert_eq!((step.draws, step.corrupt), (vec![7, 8], vec!["sample 7".into(), "sample 8".into()]));
        }
    }

    #[test]
    fn ranks_with_different_settings_are_rejected() {
        let messages = on_ranks(3, |ranks| {
            let rank = ranks.rank();
            let train = TrainConfig { batch_size: 4 + rank / 2, workers: rank, ..TrainConfig::default() };
            let model = json!({ "dropout": 0.1 * (rank / 2) as f64 });
            let data = json!({ "source": format!("/data/{rank}") });
            let settings = json!({ "train": train, "model": model, "data": data });
            check_same_settings(ranks.as_ref(), &settings).unwrap_err().to_string()
        });
        let expected = "rank 2 differs from rank 0: expected model.dropout=0.0 train.batch_size=4; found \
                        model.dropout=0.1 train.batch_size=5.";
        assert!(messages.iter().all(|message| message.starts_with(expected)), "{messages:?}");
    }

    #[test]
    fn all_ranks_stop_if_one_stops_or_fails() {
        let stopped =
            on_ranks(2, |ranks| synchronize(ranks.as_ref(), ready(1).filter(|_| ranks.rank() == 0)));
        assert!(stopped.iter().all(|step| matches!(step, Ok(None))));
        let failed = on_ranks(2, |ranks| match ranks.rank() {
            0 => synchronize(ranks.as_ref(), ready(1)),
            _ => synchronize(ranks.as_ref(), Some(Err(DataError::Worker))),
        });
        assert!(matches!(failed[0], Err(TrainError::OtherRank { rank: 1, .. })));
        assert!(matches!(failed[1], Err(TrainError::Data(DataError::Worker))));
    }
}
