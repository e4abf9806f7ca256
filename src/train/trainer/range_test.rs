//! The learning-rate range test (Smith 2017): a short training whose learning rate rises geometrically.

use super::{Observer, Trainer};
use crate::data::Prepared;
use crate::train::{TrainConfigError, TrainError};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The settings of a range test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RangeTestConfig {
    /// The learning rate of the first step.
    pub from: f64,
    /// The learning rate of the last step.
    pub to: f64,
    /// The number of steps.
    pub steps: u64,
}

impl Default for RangeTestConfig {
    fn default() -> Self {
        Self { from: 1e-7, to: 1.0, steps: 100 }
    }
}

/// One step of a range test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RangePoint {
    /// Its learning rate.
    pub learning_rate: f64,
    /// Its loss, before the weights change.
    pub loss: f64,
    /// The exponential moving average of the losses so far, without the bias of its start.
    pub smoothed: f64,
}

/// The result of a range test.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RangeTest {
    /// Its steps; those in which no target counts are left out.
    pub points: Vec<RangePoint>,
    /// Whether it ended before its last step, because the loss blew up.
    pub blew_up: bool,
    /// The learning rate at which the smoothed loss falls most steeply; `None` if it never falls.
    pub steepest: Option<f64>,
    /// A tenth of the learning rate at which the smoothed loss is lowest; `None` if it never falls.
    pub tenth_of_lowest: Option<f64>,
}

/// The weight of the losses before in the moving average.
const DECAY: f64 = 0.9;
/// The number of losses of which the moving average consists, nearly.
const SETTLED: usize = 10;
/// The loss has blown up if its average is this many times the lowest so far.
const TIMES: f64 = 4.0;
/// The fewest and the most steps.
const STEPS: std::ops::RangeInclusive<u64> = 10..=10_000;

impl RangeTestConfig {
    /// Checks that the learning rates rise, and the number of steps.
    ///
    /// # Errors
    /// [`TrainConfigError`] of `learning_rate` or `max_steps`.
    pub fn validate(&self) -> Result<(), TrainConfigError> {
        let fail = |setting, problem| Err(TrainConfigError { setting, problem });
        let Self { from, to, steps } = *self;
        if !(from > 0.0 && from < to && to.is_finite()) {
            let problem =
                format!("expected a range test from a number above 0 to a higher one; found {from} to {to}");
            return fail("learning_rate", problem);
        }
        if !STEPS.contains(&steps) {
            let (least, most) = (STEPS.start(), STEPS.end());
            return fail(
                "max_steps",
                format!("expected a range test of {least} to {most} steps; found {steps}"),
            );
        }
        Ok(())
    }

    /// The learning rate of step `step`, counted from 0.
    fn learning_rate_at(&self, step: u64) -> f64 {
        let share = step as f64 / (self.steps - 1) as f64;
        self.from * (self.to / self.from).powf(share)
    }
}

impl Trainer {
    /// Trains from the current weights while the learning rate rises, until the smoothed loss blows up or `stop` is set. Saves
    /// and evaluates nothing. The trainer is of no use afterwards. For one process.
    ///
    /// # Errors
    /// [`TrainError`] if the settings are out of their range, or a step fails for another reason than its loss.
    pub fn range_test(
        mut self,
        test: &RangeTestConfig,
        stop: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<RangeTest, TrainError> {
        test.validate()?;
        (self.step, self.steps, self.further) = (0, test.steps, None);
        (self.config.warmup_steps, self.async_launch) = (0, false);
        let (mut losses, mut tokens, started) = (Losses::default(), 0, Instant::now());
        let mut loader = self.loader()?;
        while self.step < self.steps && !losses.blew_up && !stop.load(Ordering::Relaxed) {
            let Some(prepared) = loader.next() else { break };
            let Prepared { micro, draw, .. } = prepared?;
            self.draws = vec![draw];
            let rate = test.learning_rate_at(self.step);
            // Of these two, every step has this learning rate.
            (self.config.learning_rate, self.config.min_learning_rate) = (rate, rate);
            match self.train_step(&micro, observer) {
                Ok(Some(mut report)) => {
                    tokens += report.tokens;
                    report.tokens_per_s = tokens as f64 / started.elapsed().as_secs_f64();
                    observer.step(&report);
                    losses.add(rate, report.loss);
                }
                Ok(None) => {}
                Err(TrainError::Diverged { .. }) => losses.blew_up = true,
                Err(error) => return Err(error),
            }
        }
        Ok(losses.finish())
    }
}

/// The losses of a range test so far.
#[derive(Default)]
struct Losses {
    points: Vec<RangePoint>,
    average: f64,
    lowest: Option<f64>,
    blew_up: bool,
}

impl Losses {
    /// Adds the loss of a step, which is not a number if no target counts in it.
    fn add(&mut self, learning_rate: f64, loss: f64) {
        if loss.is_nan() {
            return;
        }
        self.average = DECAY * self.average + (1.0 - DECAY) * loss;
        let steps = self.points.len() as f64 + 1.0;
        let smoothed = self.average / (1.0 - DECAY.powf(steps));
        self.points.push(RangePoint { learning_rate, loss, smoothed });
        let lowest = self.lowest.map_or(smoothed, |lowest| lowest.min(smoothed));
        self.lowest = Some(lowest);
        self.blew_up = lowest > 0.0 && smoothed > TIMES * lowest;
    }

    fn finish(self) -> RangeTest {
        let Self { points, blew_up, .. } = self;
        let by_loss = |a: &usize, b: &usize| points[*a].smoothed.total_cmp(&points[*b].smoothed);
        // The first averages are those of few losses.
        let settled = SETTLED.min(points.len() / 4);
        let lowest = (settled..points.len()).min_by(by_loss).unwrap_or(0);
        // The rates rise geometrically, so that a difference of neighbours is a slope over the logarithm of the rate.
        let slope = |place: &usize| points[place + 1].smoothed - points[place - 1].smoothed;
        let inner = settled.max(1)..lowest.min(points.len().saturating_sub(1)).max(1);
        let steepest = inner.min_by(|a, b| slope(a).total_cmp(&slope(b))).filter(|place| slope(place) < 0.0);
        let rate = |place: usize| points[place].learning_rate;
        let (steepest, tenth_of_lowest) = (steepest.map(rate), steepest.map(|_| rate(lowest) / 10.0));
        RangeTest { points, blew_up, steepest, tenth_of_lowest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_of(loss: impl Fn(f64) -> f64) -> RangeTest {
        let (test, mut losses) = (RangeTestConfig::default(), Losses::default());
        for step in 0..test.steps {
            let rate = test.learning_rate_at(step);
            if !losses.blew_up {
                losses.add(rate, loss(rate));
            }
        }
        losses.finish()
    }

    #[test]
    fn rates_rise_geometrically() {
        let test = RangeTestConfig { from: 1e-4, to: 1.0, steps: 5 };
        let rates = (0..5).map(|step| test.learning_rate_at(step));
        assert!(
            rates
                .zip([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
                .all(|(rate, expected)| (rate / expected - 1.0).abs() < 1e-9)
        );
    }

    /// A loss that falls around 1e-3 and blows up from 1e-1 on.
    #[test]
    fn the_steepest_descent_lies_before_the_lowest_loss() {
        let found = test_of(|rate| 4.0 - 3.0 / (1.0 + (1e-3 / rate).powi(2)) + (rate / 0.05).powi(4));
        let (steepest, tenth) = (found.steepest.unwrap(), found.tenth_of_lowest.unwrap());
        assert!(found.blew_up && found.points.len() < 100, "{} points", found.points.len());
        assert!((3e-4..1e-2).contains(&steepest), "{steepest}");
        assert!((2e-4..1e-2).contains(&tenth), "{tenth}");
    }

    #[test]
    fn a_loss_that_never_falls_suggests_nothing() {
        for found in [test_of(|rate| 1.0 + rate), test_of(|_| f64::NAN), Losses::default().finish()] {
            assert_eq!((found.steepest, found.tenth_of_lowest), (None, None));
        }
    }

    #[test]
    fn a_range_must_rise() {
        let default = RangeTestConfig::default();
        assert_eq!(default.validate(), Ok(()));
        for (wrong, setting) in [
            (RangeTestConfig { from: 0.0, ..default }, "learning_rate"),
            (RangeTestConfig { from: 2.0, ..default }, "learning_rate"),
            (RangeTestConfig { to: f64::INFINITY, ..default }, "learning_rate"),
            (RangeTestConfig { steps: 9, ..default }, "max_steps"),
        ] {
            assert_eq!(wrong.validate().unwrap_err().setting, setting);
        }
    }
}
