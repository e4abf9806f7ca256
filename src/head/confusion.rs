//! The confusion matrix, and the scores of each class.

use serde::Serialize;
use std::collections::BTreeMap;

/// How often each class was predicted as each.
#[derive(Clone, Debug, PartialEq)]
pub struct Confusion {
    /// The names of the classes, by number.
    pub labels: Vec<String>,
    /// Rows by (class, predicted class); pairs that never occurred are left out.
    counts: BTreeMap<(u32, u32), u64>,
}

/// How well one class is predicted; each score is in 0..=1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassScore {
    /// The class's name.
    pub label: String,
    /// Of the rows that were predicted as this class, the share that are of it; 0 if there are none.
    pub precision: f64,
    /// Of the rows of this class, the share that were predicted as it; 0 if there are none.
    pub recall: f64,
    /// The harmonic mean of both.
    pub f1: f64,
    /// The number of rows of this class.
    pub support: u64,
}

impl Confusion {
    /// An empty matrix.
    pub fn new(labels: &[String]) -> Self {
        Self { labels: labels.to_vec(), counts: BTreeMap::new() }
    }

    /// Counts one row.
    pub fn count(&mut self, class: u32, predicted: u32) {
        *self.counts.entry((class, predicted)).or_default() += 1;
    }

    /// The matrix, `[classes, predicted classes]`.
    pub fn matrix(&self) -> Vec<Vec<u64>> {
        let mut matrix = vec![vec![0; self.labels.len()]; self.labels.len()];
        for (&(class, predicted), &n) in &self.counts {
            matrix[class as usize][predicted as usize] = n;
        }
        matrix
    }

    /// The scores of each class that occurs, as a target or as a prediction, by number.
    pub fn classes(&self) -> Vec<ClassScore> {
        let mut sums: BTreeMap<u32, [u64; 3]> = BTreeMap::new(); // right, rows of it, rows predicted as it
        for (&(class, predicted), &n) in &self.counts {
            sums.entry(class).or_default()[1] += n;
            sums.entry(predicted).or_default()[2] += n;
            if class == predicted {
                sums.entry(class).or_default()[0] += n;
            }
        }
        let score = |(class, [right, support, predicted]): (u32, [u64; 3])| {
            let share = |of: u64| if of == 0 { 0.0 } else { right as f64 / of as f64 };
            ClassScore {
                label: self.labels.get(class as usize).cloned().unwrap_or_default(),
                precision: share(predicted),
                recall: share(support),
                f1: 2.0 * right as f64 / (support + predicted) as f64,
                support,
            }
        };
        sums.into_iter().map(score).collect()
    }

    /// The mean F1 over the classes that occur, as scikit-learn's `f1_score(average="macro")`; `None` if nothing was
    /// counted.
    pub fn macro_f1(&self) -> Option<f64> {
        let classes = self.classes();
        let n = classes.len();
        (n > 0).then(|| classes.into_iter().map(|class| class.f1).sum::<f64>() / n as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_of_scikit_learn() {
        // y_true = [0, 0, 1, 1, 2], y_pred = [0, 1, 1, 1, 0]
        let mut confusion = Confusion::new(&["a", "b", "c", "d"].map(String::from));
        for (class, predicted) in [(0, 0), (0, 1), (1, 1), (1, 1), (2, 0)] {
            confusion.count(class, predicted);
        }
        let of = |score: &ClassScore| (score.label.clone(), score.precision, score.recall, score.support);
        let expected = [
            ("a".to_string(), 0.5, 0.5, 2),
            ("b".to_string(), 2.0 / 3.0, 1.0, 2),
            ("c".to_string(), 0.0, 0.0, 1),
        ];
        assert_eq!(confusion.classes().iter().map(of).collect::<Vec<_>>(), expected, "d does not occur");
        assert!((confusion.macro_f1().unwrap() - (0.5 + 0.8 + 0.0) / 3.0).abs() < 1e-12);
        assert_eq!(confusion.matrix()[..2], [[1, 1, 0, 0], [0, 2, 0, 0]]);
        assert_eq!(Confusion::new(&[]).macro_f1(), None);
    }
}
