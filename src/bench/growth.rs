//! The cost of a training step by document length and number of threads.

use super::{
    BenchError, Load,
    loads::{Input, TEXT_NANO},
};
use crate::train::TrainConfig;
use candle_core::Device;
use serde::Serialize;

/// The time of a training step on one document.
#[derive(Clone, Debug, Serialize)]
pub struct Growth {
    /// Tokens in the document.
    pub length: usize,
    /// The attention rule.
    pub rule: String,
    /// Number of threads.
    pub threads: usize,
    /// Median time of a step, from data to optimizer, in milliseconds.
    pub step_ms: f64,
    /// The same for each token, in microseconds: constant if the cost is linear in the length.
    pub us_per_token: f64,
}

/// Radius of the local attention in the second half of the table, in tokens.
const NEAR: u32 = 64;

/// Measure text-nano's model on one document of 64 to 4,096 tokens, under `causal` and `causal & near(64, order)`, with 1,
/// 2, 4 and so on up to all threads; `steps` steps each. Calls `report` after each measurement.
///
/// # Errors
/// If an operation fails, or threads cannot be started.
pub fn growth(steps: u64, device: &Device, mut report: impl FnMut(Growth)) -> Result<(), BenchError> {
    let train = TrainConfig { max_steps: steps, ..TrainConfig::default() };
    let most = rayon::current_num_threads();
    let mut threads: Vec<usize> =
        std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|&n| n < most).collect();
    threads.push(most);
    for near in [None, Some(NEAR)] {
        for context in (6..=12).map(|power| 1 << power) {
            let load = Load { batch: 1, input: Input::Text { vocabulary: 65, context, near }, ..TEXT_NANO };
            for &threads in &threads {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
                let step_ms = pool.install(|| load.measure(&train, None, device))?.step_ms;
                let rule = near.map_or("causal".into(), |radius| format!("causal & near({radius}, order)"));
                report(Growth {
                    length: context,
                    rule,
                    threads,
                    step_ms,
                    us_per_token: 1e3 * step_ms / context as f64,
                });
            }
        }
    }
    Ok(())
}
