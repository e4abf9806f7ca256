//! The learning rate of each step, also of a run that trains on with another schedule.

use super::TrainConfig;
use serde::{Deserialize, Serialize};

/// How the learning rate continues when a run resumes with another schedule: more steps, another learning rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResumeSchedule {
    /// It follows the cosine of the whole training with the new settings, from the current step on.
    #[default]
    Cosine,
    /// The last learning rate is held.
    Constant,
    /// It warms up again, from the last learning rate to `learning_rate`, and follows a cosine to the new end.
    Rewarm,
}

/// The start of further training: where a run resumed with another schedule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FurtherTraining {
    /// The number of steps before it.
    pub start: u64,
    /// The learning rate of the last of these steps.
    pub learning_rate: f64,
}

impl TrainConfig {
    /// The learning rate of step `step` of `steps`, counted from 0: linear warm-up, then cosine decay.
    ///
    /// It depends on nothing else, so a resumed run with more steps continues on the longer cosine, unless `further` is the start
    /// of further training and `resume_schedule` is another one. `step` is none before that start.
    pub fn learning_rate_at(&self, step: u64, steps: u64, further: Option<FurtherTraining>) -> f64 {
        let start = match (self.resume_schedule, further) {
            (ResumeSchedule::Constant, Some(further)) => return further.learning_rate,
            (ResumeSchedule::Rewarm, Some(further)) => further,
            _ => FurtherTraining { start: 0, learning_rate: 0.0 },
        };
        let (step, steps) = (step.saturating_sub(start.start), steps.saturating_sub(start.start));
        if step < self.warmup_steps {
            let rise = self.learning_rate - start.learning_rate;
            return start.learning_rate + rise * (step + 1) as f64 / (self.warmup_steps + 1) as f64;
        }
        let progress =
            (step - self.warmup_steps) as f64 / (steps.saturating_sub(self.warmup_steps)).max(1) as f64;
        let share = 0.5 * (1.0 + libm::cos(std::f64::consts::PI * progress.min(1.0)));
        let min_learning_rate = self.min_learning_rate.min(self.learning_rate);
        min_learning_rate + share * (self.learning_rate - min_learning_rate)
    }
}

/// The schedule of a training, which its state keeps: a run that resumes with another one starts further training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SavedSchedule {
    steps: u64,
    learning_rate: f64,
    min_learning_rate: f64,
    warmup_steps: u64,
    resume_schedule: ResumeSchedule,
    further: Option<FurtherTraining>,
}

impl SavedSchedule {
    /// The schedule of these settings.
    pub fn new(config: &TrainConfig, steps: u64, further: Option<FurtherTraining>) -> Self {
        let TrainConfig { learning_rate, min_learning_rate, warmup_steps, resume_schedule, .. } = *config;
        Self { steps, learning_rate, min_learning_rate, warmup_steps, resume_schedule, further }
    }

    /// The learning rate of the last of `made` steps.
    fn last_learning_rate(&self, made: u64) -> f64 {
        let Self { learning_rate, min_learning_rate, warmup_steps, resume_schedule, .. } = *self;
        let config = TrainConfig {
            learning_rate,
            min_learning_rate,
            warmup_steps,
            resume_schedule,
            ..TrainConfig::default()
        };
        match self.further {
            Some(further) if made <= further.start => further.learning_rate,
            further => config.learning_rate_at(made.saturating_sub(1), self.steps, further),
        }
    }

    /// The start of further training if a run with this schedule resumes after `made` steps with the settings `config`, for
    /// `steps` steps; `None` on the cosine of the whole training.
    pub fn resumed(&self, config: &TrainConfig, steps: u64, made: u64) -> Option<FurtherTraining> {
        if config.resume_schedule == ResumeSchedule::Cosine || made == 0 {
            return None;
        }
        match *self == Self::new(config, steps, self.further) {
            true => self.further,
            false => Some(FurtherTraining { start: made, learning_rate: self.last_learning_rate(made) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(train: &TrainConfig, steps: std::ops::RangeInclusive<u64>, of: u64) -> Vec<f64> {
        steps.map(|step| train.learning_rate_at(step, of, None)).collect()
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn the_learning_rate_rises_and_falls() {
        let train = TrainConfig { warmup_steps: 10, ..TrainConfig::default() };
        let rates_of_100 = rates(&train, 0..=100, 100);
        assert!(rates_of_100[..=10].is_sorted() && rates_of_100[10..].is_sorted_by(|a, b| a >= b));
        assert!(near(rates_of_100[10], 1e-3) && near(rates_of_100[100], 1e-4));
        assert!(near(rates_of_100[55], 5.5e-4), "half way down the cosine: {}", rates_of_100[55]);
        let low = TrainConfig { learning_rate: 5e-5, ..train };
        assert!(rates(&low, 10..=100, 100).iter().all(|rate| *rate <= 5e-5), "it never rises after warm-up");
    }

    #[test]
    fn further_training_has_the_chosen_schedule() {
        let train = TrainConfig { warmup_steps: 10, ..TrainConfig::default() };
        let saved = SavedSchedule::new(&train, 100, None);
        assert_eq!(saved.resumed(&train, 200, 100), None, "the cosine has no start");
        let constant = TrainConfig { resume_schedule: ResumeSchedule::Constant, ..train.clone() };
        let further = saved.resumed(&constant, 200, 100);
        let last = train.learning_rate_at(99, 100, None);
        assert_eq!(further, Some(FurtherTraining { start: 100, learning_rate: last }));
        assert!((100..200).all(|step| constant.learning_rate_at(step, 200, further) == last));

        let rewarm = TrainConfig { resume_schedule: ResumeSchedule::Rewarm, ..train };
        let rate = |step| rewarm.learning_rate_at(step, 200, saved.resumed(&rewarm, 200, 100));
        assert!(near(rate(100), last + (1e-3 - last) / 11.0) && rate(100) > last, "{}", rate(100));
        assert!(near(rate(110), 1e-3) && near(rate(155), 5.5e-4) && near(rate(200), 1e-4));
    }

    #[test]
    fn an_interrupted_further_training_keeps_its_start() {
        let train = TrainConfig { resume_schedule: ResumeSchedule::Rewarm, ..TrainConfig::default() };
        let first = SavedSchedule::new(&train, 100, None);
        assert_eq!(first.resumed(&train, 100, 50), None, "the schedule is the same");
        let further = first.resumed(&train, 200, 100);
        let saved = SavedSchedule::new(&train, 200, further);
        let saved: SavedSchedule = serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap();
        assert_eq!(saved.resumed(&train, 200, 150), further);
        let again = saved.resumed(&train, 300, 150).unwrap();
        assert_eq!((again.start, again.learning_rate), (150, train.learning_rate_at(149, 200, further)));
        assert_eq!(saved.resumed(&train, 300, 100).unwrap(), further.unwrap(), "no step was made in between");
    }
}
