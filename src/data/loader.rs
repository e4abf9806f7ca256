//! Threads that prepare the batches of coming steps.
//!
//! Some threads read and tokenize samples, each the draws whose chunk falls to it; one puts them, in the order of their
//! draws, into batches. So the batches are the same however many threads there are.

use super::{Bad, Batch, DataError, Dataset, Draw, Layout, Sample, Sampler, collate};
use crate::random::mix;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{
    Arc,
    mpsc::{Receiver, SyncSender, sync_channel},
};

/// What a loader prepares.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The steps to come.
    pub steps: Range<u64>,
    /// The first draw of the first of them.
    pub draw: u64,
    /// Micro-batches in a step.
    pub accumulate: usize,
    /// The most tokens in a micro-batch, which then holds as many samples as fit. Without, it holds a cycle of the
    /// sampler's.
    pub tokens: Option<usize>,
    /// Threads that read and tokenize samples, one at least.
    pub workers: usize,
}

/// What one step of training reads.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// The micro-batches.
    pub micro: Vec<Batch>,
    /// The first draw of the step behind.
    pub draw: u64,
    /// What was wrong with samples that were drawn and could not be used, with their locations.
    pub bad: Vec<String>,
}

/// Prepares the batches of coming steps, in order, on threads of its own, which end when it is dropped.
pub struct Loader {
    steps: Receiver<Result<Prepared, DataError>>,
    /// Steps to come.
    left: u64,
}

/// Draws that a thread takes at once.
const CHUNK: u64 = 8;
/// Chunks that each thread prepares ahead, and steps that are prepared ahead.
const AHEAD: usize = 2;
/// How many samples that cannot be used may follow one another.
const ATTEMPTS: u64 = 100;

impl Loader {
    /// The batches of a plan. The data sets are those that the sampler's draws are of, and none is empty.
    pub fn new(layouts: Vec<Layout>, datasets: Vec<Arc<dyn Dataset>>, sampler: Sampler, plan: Plan) -> Self {
        let left = plan.steps.end.saturating_sub(plan.steps.start);
        // How many samples fill a budget is seen only when they are there.
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
                // A closed channel means that training has stopped.
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
        // The thread leaves early only by a panic, which has printed its reason.
        Some(self.steps.recv().unwrap_or(Err(DataError::Worker)))
    }
}

/// Where samples come from.
struct Source {
    layouts: Vec<Layout>,
    datasets: Vec<Arc<dyn Dataset>>,
    sampler: Sampler,
    tokens: Option<usize>,
}

/// A sample that was drawn.
struct Drawn {
    task: usize,
    sample: Sample,
    /// What was wrong with those that should have been in its place.
    bad: Vec<String>,
}

type Chunk = VecDeque<Result<Drawn, DataError>>;

impl Source {
    /// Sends the first chunk of some draws, and those that begin `every` draws apart behind it.
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

    /// The sample of draw `number`, or the first in its place that can be used.
    fn draw(&self, number: u64) -> Result<Drawn, DataError> {
        let mut bad = Vec::new();
        loop {
            let draw = self.sampler.draw(number, bad.len() as u64);
            match self.sample(&draw) {
                Ok(sample) => return Ok(Drawn { task: draw.task, sample, bad }),
                Err(error) if self.datasets[draw.task].bad() == Bad::Fail => return Err(error),
                Err(error) => bad.push(error.to_string()),
            }
            if bad.len() as u64 == ATTEMPTS {
                return Err(DataError::AllBad { tried: bad.len(), last: bad.pop().unwrap_or_default() });
            }
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

/// Tokens over all streams.
fn n_tokens(sample: &Sample) -> usize {
    sample.inputs.iter().map(|(_, tokens)| tokens.len()).sum()
}

/// Puts samples into batches, in the order of their draws.
struct Packer {
    /// Worker `w` sends the chunks whose number, counted from the first draw, leaves rest `w`.
    workers: Vec<Receiver<Chunk>>,
    /// Whose chunk is next.
    next: usize,
    /// What is left of the last chunk.
    chunk: Chunk,
    /// The draw that the next sample is of.
    draw: u64,
    cycle: usize,
    source: Arc<Source>,
}

impl Packer {
    fn step(&mut self, accumulate: usize) -> Result<Prepared, DataError> {
        let mut step = Prepared::default();
        for _ in 0..accumulate {
            let samples = match self.source.tokens {
                None => (0..self.cycle).map(|_| self.take(&mut step.bad)).collect::<Result<Vec<_>, _>>()?,
                Some(most) => self.fill(most, &mut step.bad)?,
            };
            step.micro.push(collate(&self.source.layouts, &samples)?);
        }
        step.draw = self.draw;
        Ok(step)
    }

    /// The next sample, with the number of its task.
    fn take(&mut self, bad: &mut Vec<String>) -> Result<(usize, Sample), DataError> {
        self.peek()?;
        let drawn = self.chunk.pop_front().unwrap_or(Err(DataError::Worker))?;
        self.draw += 1;
        bad.extend(drawn.bad);
        Ok((drawn.task, drawn.sample))
    }

    /// The samples that come next, as many as have `most` tokens together. Each of them has no more.
    fn fill(&mut self, most: usize, bad: &mut Vec<String>) -> Result<Vec<(usize, Sample)>, DataError> {
        let (mut samples, mut left) = (Vec::new(), most);
        loop {
            // An error is of the batch that its sample would be part of.
            let tokens = self.peek()?.as_ref().map_or(1, |drawn| n_tokens(&drawn.sample).max(1));
            if tokens > left {
                return Ok(samples);
            }
            left -= tokens;
            samples.push(self.take(bad)?);
        }
    }

    /// What comes next.
    fn peek(&mut self) -> Result<&Result<Drawn, DataError>, DataError> {
        if self.chunk.is_empty() {
            // A thread leaves early only by a panic, which has printed its reason.
            self.chunk = self.workers[self.next].recv().map_err(|_| DataError::Worker)?;
            self.next = (self.next + 1) % self.workers.len();
        }
        self.chunk.front().ok_or(DataError::Worker)
    }
}

#[cfg(test)]
mod tests;
