//! What training watches from step to step: steps in which nothing counts, and a loss that rises while it is finite.

use serde::{Deserialize, Serialize};

/// Steps over which the running mean of the loss goes.
const STEPS: f64 = 10.0;
/// A loss has risen if it is this many times its lowest running mean, and above its first value, …
const TIMES: f64 = 3.0;
/// … in this many steps, one after another.
const IN_A_ROW: u32 = 3;

/// The losses so far, in numbers that a state can hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Watch {
    /// Steps in which no target counted.
    pub empty_steps: u64,
    /// Steps with a loss.
    steps: u64,
    first: f64,
    /// The running mean of the loss.
    mean: f64,
    /// The lowest running mean.
    lowest: f64,
    in_a_row: u32,
    /// The warning, once there is one.
    pub warning: Option<String>,
}

impl Watch {
    /// Adds the loss of a step; a warning the first time that it has risen.
    pub fn add(&mut self, step: u64, loss: f64) -> Option<String> {
        self.steps += 1;
        if self.steps == 1 {
            (self.first, self.mean, self.lowest) = (loss, loss, loss);
        }
        let has_risen = loss > TIMES * self.lowest && loss > self.first && self.lowest > 0.0;
        self.in_a_row = if has_risen { self.in_a_row + 1 } else { 0 };
        self.mean += (loss - self.mean) / STEPS.min(self.steps as f64);
        self.lowest = self.lowest.min(self.mean);
        if self.in_a_row < IN_A_ROW || self.warning.is_some() {
            return None;
        }
        self.warning = Some(format!(
            "the loss has risen to {loss:.4} at step {step}: {IN_A_ROW} steps in a row are above its first value, {:.4}, and above \
             {TIMES} times its lowest mean of {STEPS} steps, {:.4}; a lower train.learning_rate, more train.warmup_steps or a lower \
             train.max_grad_norm prevents that",
            self.first, self.lowest
        ));
        self.warning.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps at which a warning is given.
    fn warned(losses: impl IntoIterator<Item = f64>) -> Vec<u64> {
        let mut watch = Watch::default();
        (1..).zip(losses).filter_map(|(step, loss)| watch.add(step, loss).map(|_| step)).collect()
    }

    #[test]
    fn a_loss_that_blows_up_is_warned_of_once() {
        assert_eq!(warned([4.0, 3.0, 2.0, 2.0, 90.0, 300.0, 517.0, 517.0, 517.0]), [7]);
        assert_eq!(warned([2.0, 60.0, 70.0, 80.0, 90.0]), [4], "from the second step on");
    }

    #[test]
    fn a_loss_that_falls_or_jumps_is_not() {
        assert_eq!(warned((1..500).map(|i| 4.0 / f64::from(i))), [0; 0]);
        assert_eq!(warned([4.0, 2.0, 2.0, 500.0, 2.0, 500.0, 2.0]), [0; 0], "single samples");
        assert_eq!(warned((1..50).map(|i| if i < 20 { 4.0 / f64::from(i).exp() } else { 0.5 })), [0; 0]);
        assert_eq!(warned([0.0; 9]), [0; 0]);
    }

    #[test]
    fn a_restored_watch_continues() {
        let mut watch = Watch::default();
        [2.3, 1.9, 400.0, 400.0].into_iter().zip(1..).for_each(|(loss, step)| drop(watch.add(step, loss)));
        let mut restored: Watch = serde_json::from_str(&serde_json::to_string(&watch).unwrap()).unwrap();
        assert_eq!(restored, watch);
        assert!(restored.add(5, 400.0).is_some() && restored.add(6, 400.0).is_none());
    }
}
