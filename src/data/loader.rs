//! Threads that prepare the batches of the next steps.
//!
//! Worker threads read and tokenize samples in chunks of draws; one thread collates them in the order of their draws. So the
//! batches do not depend on the number of threads.

use super::{Batch, DataError, Dataset, Draw, Layout, OnCorruptSample, Sample, Sampler, collate};
use crate::random::mix;
use smalti_contract::caught;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{
    Arc,
    mpsc::{Receiver, SyncSender, sync_channel},
};

/// The steps that a loader prepares.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The numbers of the steps.
    pub steps: Range<u64>,
    /// The first draw of the first step.
    pub draw: u64,
    /// Micro-batches in a step.
    pub accumulate: usize,
    /// The most tokens in a micro-batch, which then holds as many samples as fit; `None` for a cycle of the sampler.
    pub tokens: Option<usize>,
    /// Threads that read and tokenize samples; at least one is used.
    pub workers: usize,
}

/// The batches of one training step.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// The micro-batches.
    pub micro: Vec<Batch>,
    /// The first draw of the next step.
    pub draw: u64,
    /// The problems of corrupt samples that were drawn, with their locations.
    pub corrupt: Vec<String>,
}

/// Prepares the batches of the next steps, in order, on its own threads, which end when it is dropped.
pub struct Loader {
    steps: Receiver<Result<Prepared, DataError>>,
    /// Steps that are left.
    left: u64,
}

/// Draws that a thread takes at once.
const CHUNK: u64 = 8;
/// Chunks that each thread prepares ahead, and steps that are prepared ahead.
const AHEAD: usize = 2;
/// Corrupt samples in a row after which the loader fails.
const ATTEMPTS: u64 = 100;

impl Loader {
    /// The batches of a plan. The sampler draws from these data sets, none of which is empty.
    pub fn new(layouts: Vec<Layout>, datasets: Vec<Arc<dyn Dataset>>, sampler: Sampler, plan: Plan) -> Self {
        let left = plan.steps.end.saturating_sub(plan.steps.start);
        // The number of samples that fill a token budget is known only when they are tokenized.
        let draws = match plan.tokens {
            None => left.saturating_mul((sampler.cycle() * plan.accumulate) as u64),
            Some(_) => u64::MAX,
        };
        let end = plan.draw.saturating_add(draws);
        let (cycle, source) =
            (sampler.cycle(), Arc::new(Source { layouts, datasets, sampler, tokens: plan.tokens }));
        let workers = plan.workers.max(1);
        let worker = |w: usize| {
            let (sender, receiver) = sync_channel(AHEAD);
            let (source, first) = (source.clone(), plan.draw + w as u64 * CHUNK);
            std::thread::spawn(move || source.draw_all(first..end, workers as u64 * CHUNK, &sender));
            receiver
        };
        let mut packer = Packer {
            workers: (0..workers).map(worker).collect(),
            next: 0,
            chunk: VecDeque::new(),
            draw: plan.draw,
            cycle,
            source,
        };
        let (sender, steps) = sync_channel(AHEAD);
        std::thread::spawn(move || {
            for _ in 0..left {
                let step = packer.step(plan.accumulate);
                let failed = step.is_err();
                // The channel is closed if training has stopped.
                if sender.send(step).is_err() || failed {
                    return;
                }
            }
        });
        Self { steps, left }
    }
}

impl Iterator for Loader {
    type Item = Result<Prepared, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        // The thread ends early only by a panic, which has printed its message.
        Some(self.steps.recv().unwrap_or(Err(DataError::Worker)))
    }
}

/// The data sets and the order of their samples.
struct Source {
    layouts: Vec<Layout>,
    datasets: Vec<Arc<dyn Dataset>>,
    sampler: Sampler,
    tokens: Option<usize>,
}

/// A drawn sample.
struct Drawn {
    task: usize,
    sample: Sample,
    /// The problems of the corrupt samples that it replaces.
    corrupt: Vec<String>,
}

type Chunk = VecDeque<Result<Drawn, DataError>>;

impl Source {
    /// Sends one chunk of draws of every `every` draws.
    fn draw_all(&self, draws: Range<u64>, every: u64, sender: &SyncSender<Chunk>) {
        let mut first = draws.start;
        while first < draws.end {
            let chunk = (first..first.saturating_add(CHUNK).min(draws.end)).map(|number| self.draw(number));
            if sender.send(chunk.collect()).is_err() {
                return;
            }
            first = first.saturating_add(every);
        }
    }

    /// The sample of draw `number`, or of the first replacement that is not corrupt.
    fn draw(&self, number: u64) -> Result<Drawn, DataError> {
        let mut corrupt = Vec::new();
        loop {
            let draw = self.sampler.draw(number, corrupt.len() as u64);
            match caught(|| self.sample(&draw)).unwrap_or_else(|panic| Err(self.panicked(&draw, &panic))) {
                Ok(sample) => return Ok(Drawn { task: draw.task, sample, corrupt }),
                Err(error) if self.datasets[draw.task].on_corrupt() == OnCorruptSample::Fail => {
                    return Err(error);
                }
                Err(error) => corrupt.push(error.to_string()),
            }
            if corrupt.len() as u64 == ATTEMPTS {
                let (tried, last) = (corrupt.len(), corrupt.pop().unwrap_or_default());
                return Err(DataError::AllCorrupt { tried, last });
            }
        }
    }

    /// The error of a sample whose data set panics.
    fn panicked(&self, draw: &Draw, panic: &str) -> DataError {
        DataError::Sample {
            task: self.layouts[draw.task].task.clone(),
            id: draw.index as u64,
            problem: format!("panicked while it was read: {panic}"),
        }
    }

    fn sample(&self, draw: &Draw) -> Result<Sample, DataError> {
        let mut sample = self.datasets[draw.task].sample(draw.index, Some(draw.seed))?;
        let tokens = n_tokens(&sample);
        if let Some(most) = self.tokens.filter(|most| tokens > *most) {
            let problem = format!("has {tokens} tokens; train.batch_tokens is {most}");
            return Err(DataError::Sample {
                task: self.layouts[draw.task].task.clone(),
                id: draw.index as u64,
                problem,
            });
        }
        sample.id = mix(sample.id, draw.task as u64);
        Ok(sample)
    }
}

/// Tokens in all streams.
fn n_tokens(sample: &Sample) -> usize {
    sample.inputs.iter().map(|(_, tokens)| tokens.len()).sum()
}

/// Collates samples in the order of their draws.
struct Packer {
    /// Worker `w` of `n` sends the chunks `w`, `w + n`, `w + 2·n`, …
    workers: Vec<Receiver<Chunk>>,
    /// The worker of the next chunk.
    next: usize,
    /// The rest of the last chunk.
    chunk: Chunk,
    /// The draw of the next sample.
    draw: u64,
    cycle: usize,
    source: Arc<Source>,
}

impl Packer {
    fn step(&mut self, accumulate: usize) -> Result<Prepared, DataError> {
        let mut step = Prepared::default();
        for _ in 0..accumulate {
            let samples = match self.source.tokens {
                None => {
                    (0..self.cycle).map(|_| self.take(&mut step.corrupt)).collect::<Result<Vec<_>, _>>()?
                }
                Some(most) => self.fill(most, &mut step.corrupt)?,
            };
            step.micro.push(collate(&self.source.layouts, &samples)?);
        }
        step.draw = self.draw;
        Ok(step)
    }

    /// The next sample, after the number of its task.
    fn take(&mut self, corrupt: &mut Vec<String>) -> Result<(usize, Sample), DataError> {
        self.peek()?;
        let drawn = self.chunk.pop_front().unwrap_or(Err(DataError::Worker))?;
        self.draw += 1;
        corrupt.extend(drawn.corrupt);
        Ok((drawn.task, drawn.sample))
    }

    /// As many next samples as have at most `most` tokens together; a single one never has more.
    fn fill(&mut self, most: usize, corrupt: &mut Vec<String>) -> Result<Vec<(usize, Sample)>, DataError> {
        let (mut samples, mut left) = (Vec::new(), most);
        loop {
            // An error counts as one token, so that it is raised for the batch of its sample.
            let tokens = self.peek()?.as_ref().map_or(1, |drawn| n_tokens(&drawn.sample).max(1));
            if tokens > left {
                return Ok(samples);
            }
            left -= tokens;
            samples.push(self.take(corrupt)?);
        }
    }

    /// The next sample, not taken.
    fn peek(&mut self) -> Result<&Result<Drawn, DataError>, DataError> {
        if self.chunk.is_empty() {
            // A thread ends early only by a panic, which has printed its message.
            self.chunk = self.workers[self.next].recv().map_err(|_| DataError::Worker)?;
            self.next = (self.next + 1) % self.workers.len();
        }
        self.chunk.front().ok_or(DataError::Worker)
    }
}

#[cfg(test)]
mod tests;
