//! A curve in one line of text: `4.17 █▆▅▃▂▁ 1.02`.

/// The means of a series of numbers over equally many of them, in a fixed number of cells.
#[derive(Clone, Debug)]
pub struct Sparkline {
    /// The means of the full cells.
    means: Vec<f64>,
    /// Numbers in a full cell.
    per_cell: usize,
    /// Sum and number of those since then.
    sum: f64,
    n: usize,
}

/// The most cells; then two neighbours become one.
const MOST_CELLS: usize = 128;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

impl Default for Sparkline {
    fn default() -> Self {
        Self { means: vec![], per_cell: 1, sum: 0.0, n: 0 }
    }
}

impl Sparkline {
    /// Adds a number; one that is not finite is left out.
    pub fn add(&mut self, number: f64) {
        if !number.is_finite() {
            return;
        }
        self.sum += number;
        self.n += 1;
        if self.n == self.per_cell {
            self.means.push(self.sum / self.n as f64);
            (self.sum, self.n) = (0.0, 0);
        }
        if self.means.len() == MOST_CELLS {
            self.means = self.means.chunks(2).map(mean).collect();
            self.per_cell *= 2;
        }
    }

    /// The first and the last mean with the curve between them, in at most `columns` characters; empty without numbers, and
    /// if there is no room.
    pub fn line(&self, columns: usize) -> String {
        let (Some(first), Some(last)) = (self.means.first(), self.means.last()) else { return String::new() };
        let (first, last) = (shown(*first), shown(*last));
        let Some(room @ 1..) = columns.checked_sub(first.len() + last.len() + 2) else {
            return String::new();
        };
        let cells = if self.means.len() <= room { self.means.clone() } else { resampled(&self.means, room) };
        format!("{first} {} {last}", bars(&cells))
    }
}

/// The means of `cells` stretches of these numbers, which are more.
fn resampled(numbers: &[f64], cells: usize) -> Vec<f64> {
    let place = |cell: usize| cell * numbers.len() / cells;
    (0..cells).map(|cell| mean(&numbers[place(cell)..place(cell + 1)])).collect()
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

/// A bar for each number, from the least to the largest of them.
fn bars(numbers: &[f64]) -> String {
    let none = (f64::INFINITY, f64::NEG_INFINITY);
    let (low, high) = numbers.iter().fold(none, |(low, high), x| (low.min(*x), high.max(*x)));
    let bar = |number: &f64| {
        let share = if low < high { (number - low) / (high - low) } else { 0.0 };
        BARS[(share * (BARS.len() - 1) as f64).round() as usize]
    };
    numbers.iter().map(bar).collect()
}

/// A number in few characters.
fn shown(number: f64) -> String {
    match number.abs() {
        a if a < 0.01 && a > 0.0 || a >= 10_000.0 => format!("{number:.1e}"),
        a if a < 100.0 => format!("{number:.3}"),
        _ => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: impl IntoIterator<Item = f64>) -> Sparkline {
        let mut line = Sparkline::default();
        numbers.into_iter().for_each(|number| line.add(number));
        line
    }

    #[test]
    fn a_falling_loss_falls() {
        assert_eq!(of((0..8).map(|i| 7.0 - f64::from(i))).line(80), "7.000 █▇▆▅▄▃▂▁ 0.000");
        assert_eq!(of([2.0, f64::NAN, 2.0]).line(80), "2.000 ▁▁ 2.000");
    }

    #[test]
    fn it_fits_into_its_columns() {
        let long = of((0..100_000).map(|i| 1.0 / f64::from(i + 1)));
        for columns in [20, 21, 40, 80, 200] {
            let width = long.line(columns).chars().count();
            assert!(width > 0 && width <= columns, "{width} in {columns}");
        }
        assert_eq!((long.line(5), Sparkline::default().line(80)), (String::new(), String::new()));
    }
}
