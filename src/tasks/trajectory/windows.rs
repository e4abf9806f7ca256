//! The samples of a trajectory task.

use super::{Logged, Pictured, TrajectoryTask, TrajectoryTaskConfig, read_picture};
use crate::data::{DataError, Dataset, Files, Sample};
use crate::random;
use crate::tasks::TaskError;
use smalti_trajectory::{Episode, Picture};
use std::sync::Arc;

/// Windows of up to `context` steps of logged episodes.
pub(super) struct Windows {
    /// Each with its returns-to-go.
    episodes: Vec<(Logged, Vec<f32>)>,
    /// Where pictures lie that have files of their own.
    files: Option<Arc<Files>>,
    /// For each episode, the number of steps before it.
    starts: Vec<usize>,
    steps: usize,
    /// The first steps of the windows that are measured: one window behind another, each within its episode.
    measured: Vec<usize>,
    context: usize,
    task: Arc<TrajectoryTask>,
}

impl Windows {
    pub(super) fn new(
        episodes: Vec<Logged>,
        files: Option<Arc<Files>>,
        config: &TrajectoryTaskConfig,
        task: Arc<TrajectoryTask>,
    ) -> Self {
        let mut steps = 0;
        let (mut starts, mut measured) = (Vec::with_capacity(episodes.len()), Vec::new());
        let told = episodes.into_iter().map(|logged| {
            let episode = &logged.episode;
            starts.push(steps);
            measured.extend(episode.window_starts(config.context).map(|start| steps + start));
            steps += episode.len();
            let returns_to_go = episode.returns_to_go(config.discount);
            (logged, returns_to_go)
        });
        let episodes = told.collect();
        Self { episodes, files, starts, steps, measured, context: config.context, task }
    }

    /// A window that begins at a step of an episode, with what was seen in it.
    fn window(&self, episode: &Episode, start: usize, returns_to_go: &[f32]) -> Result<Pictured, TaskError> {
        let window = episode.window(start, self.context, returns_to_go);
        let steps = start..start + window.returns_to_go.len();
        let read = |picture: Picture| read_picture(picture, self.files.as_deref());
        let pictures = self.task.tokenizer.seen(episode, steps, &read)?;
        Ok(Pictured { window, pictures })
    }
}

impl Dataset for Windows {
    fn len(&self) -> usize {
        self.measured.len()
    }

    /// In training a window that begins at any step; otherwise those that cover each episode one after another.
    fn sample(&self, index: usize, seed: Option<u64>) -> Result<Sample, DataError> {
        let step = match seed {
            Some(seed) => random::below(&mut random::generator(seed), self.steps),
            None => self.measured[index],
        };
        let number = self.starts.partition_point(|&start| start <= step) - 1;
        let (Logged { file, number: logged, episode }, returns_to_go) = &self.episodes[number];
        let refuse = |e: TaskError| DataError::Sample {
            task: self.task.spec.name.clone(),
            id: step as u64,
            problem: format!("(episode {logged} of {file}): {e}"),
        };
        let seen = self.window(episode, step - self.starts[number], returns_to_go).map_err(refuse)?;
        let outputs = self.task.outputs(&seen.window.actions);
        let inputs = self.task.inputs(seen).map_err(refuse)?;
        Ok(Sample { inputs, outputs, id: step as u64 })
    }
}
