//! Progress of reading: a bar on a terminal, plain lines elsewhere.

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Progress on standard error.
pub struct Bar {
    bar: Option<ProgressBar>,
    /// 0 if it is unknown.
    total: u64,
    shown: fn(u64) -> String,
    started: Instant,
    last_line: Instant,
}

/// Time between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

impl Bar {
    /// Progress in bytes.
    pub fn of_bytes(total: u64) -> Self {
        let template = "{bar:24} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
        Self::new(total, template, |bytes| HumanBytes(bytes).to_string())
    }

    /// Progress in rows.
    pub fn of_rows(total: usize) -> Self {
        Self::new(total as u64, "{bar:24} {pos}/{len} {per_sec} {eta} left", |rows| rows.to_string())
    }

    fn new(total: u64, template: &str, shown: fn(u64) -> String) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(template);
            ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, total, shown, started: Instant::now(), last_line: Instant::now() }
    }

    /// Sets the number of bytes or rows that are done.
    pub fn set(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if self.last_line.elapsed() >= LINE_EVERY && done > 0 {
            self.last_line = Instant::now();
            let rate = done as f64 / self.started.elapsed().as_secs_f64();
            let (shown, left) = (self.shown, self.total.saturating_sub(done) as f64 / rate);
            match self.total {
                0 => eprintln!("{}  {}/s", shown(done), shown(rate as u64)),
                total => {
                    eprintln!("{}/{}  {}/s  {left:.0} s left", shown(done), shown(total), shown(rate as u64))
                }
            }
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
