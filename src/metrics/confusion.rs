//! The confusion matrix of a classifier, and its scores.

use std::io;

/// A confusion matrix, `[n_classes, n_classes]`: counts of predictions for targets of each class.
///
/// Scores are those of scikit-learn; one that divides by zero is 0, as with scikit-learn's `zero_division=0`.
#[derive(Clone, Debug, PartialEq)]
pub struct Confusion {
    labels: Vec<String>,
    counts: Vec<Vec<u64>>,
}

/// Scores of one class.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct ClassScores {
    /// Share of the predictions of this class that are correct.
    pub precision: f64,
    /// Share of the targets of this class that are predicted.
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
    /// Number of targets of this class.
    pub support: u64,
}

impl Confusion {
    /// An empty matrix over classes with these labels.
    pub fn new(labels: Vec<String>) -> Self {
        let counts = vec![vec![0; labels.len()]; labels.len()];
        Self { labels, counts }
    }

    /// Count a prediction. Both classes are indices into [`Confusion::labels`].
    ///
    /// # Panics
    /// If an index is not below the number of classes.
    pub fn add(&mut self, target: usize, prediction: usize) {
        self.counts[target][prediction] += 1;
    }

    /// The class names.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The counts, `[target][prediction]`.
    pub fn counts(&self) -> &[Vec<u64>] {
        &self.counts
    }

    /// The number of predictions.
    pub fn total(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// Share of correct predictions; `None` before the first.
    pub fn accuracy(&self) -> Option<f64> {
        let correct: u64 = (0..self.labels.len()).map(|class| self.counts[class][class]).sum();
        (self.total() > 0).then(|| correct as f64 / self.total() as f64)
    }

    /// The scores of each class, in the order of the labels.
    pub fn classes(&self) -> Vec<ClassScores> {
        let ratio = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let scores = |class: usize| {
            let (correct, support) = (self.counts[class][class], self.support(class));
            let predictions = self.predictions(class);
            ClassScores {
                precision: ratio(correct, predictions),
                recall: ratio(correct, support),
                f1: ratio(2 * correct, predictions + support),
                support,
            }
        };
        (0..self.labels.len()).map(scores).collect()
    }

    /// Mean F1 of the classes that occur as a target or a prediction; `None` before the first prediction.
    pub fn macro_f1(&self) -> Option<f64> {
        let occurs = |class: &usize| self.support(*class) + self.predictions(*class) > 0;
        let classes = self.classes();
        let f1: Vec<f64> = (0..classes.len()).filter(occurs).map(|class| classes[class].f1).collect();
        (!f1.is_empty()).then(|| f1.iter().sum::<f64>() / f1.len() as f64)
    }

    /// Write the counts as CSV: a header of `target` and each label, then a line for each target class with its label
    /// and the count of each prediction.
    ///
    /// # Errors
    /// If the writer fails.
    pub fn write_csv(&self, writer: impl io::Write) -> io::Result<()> {
        let mut csv = csv::Writer::from_writer(writer);
        csv.write_record(std::iter::once("target").chain(self.labels.iter().map(String::as_str)))?;
        for (label, counts) in self.labels.iter().zip(&self.counts) {
            csv.write_record(std::iter::once(label.clone()).chain(counts.iter().map(u64::to_string)))?;
        }
        csv.flush()
    }

    fn support(&self, class: usize) -> u64 {
        self.counts[class].iter().sum()
    }

    fn predictions(&self, class: usize) -> u64 {
        self.counts.iter().map(|counts| counts[class]).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(labels: &[&str], targets: &[usize], predictions: &[usize]) -> Confusion {
        let mut confusion = Confusion::new(labels.iter().map(ToString::to_string).collect());
        targets.iter().zip(predictions).for_each(|(&target, &prediction)| confusion.add(target, prediction));
        confusion
    }

    /// Expected, of scikit-learn 1.9.1 with `t` and `p` as below: `accuracy_score(t, p)`, `f1_score(t, p,
    /// average="macro")`, `confusion_matrix(t, p, labels=range(6))` and `precision_recall_fscore_support(t, p,
    /// labels=range(6))`. Class 3 is never predicted, 4 never a target, and 5 neither.
    #[test]
    fn scores_are_those_of_scikit_learn() {
        let (t, p) = ([0, 0, 0, 1, 1, 2, 2, 2, 2, 3], [0, 1, 0, 1, 1, 2, 0, 2, 4, 1]);
        let confusion = of(&["a", "b", "c", "d", "e", "f"], &t, &p);
        assert_eq!(
            confusion.counts(),
            [[2, 1, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0], [1, 0, 2, 0, 1, 0], [0, 1, 0, 0, 0, 0], [0; 6], [0; 6]]
        );
        assert_eq!(confusion.accuracy(), Some(0.6));
        assert!((confusion.macro_f1().unwrap() - 0.4).abs() < 1e-12);
        let two_thirds = 0.6666666666666666;
        let scores: Vec<_> =
            confusion.classes().iter().map(|s| (s.precision, s.recall, s.f1, s.support)).collect();
        assert_eq!(
            scores,
            [
                (two_thirds, two_thirds, two_thirds, 3),
                (0.5, 1.0, two_thirds, 2),
                (1.0, 0.5, two_thirds, 4),
                (0.0, 0.0, 0.0, 1),
                (0.0, 0.0, 0.0, 0),
                (0.0, 0.0, 0.0, 0)
            ]
        );
    }

    #[test]
    fn an_empty_matrix_has_no_scores() {
        let confusion = of(&["a", "b"], &[], &[]);
        assert_eq!((confusion.accuracy(), confusion.macro_f1(), confusion.total()), (None, None, 0));
    }

    #[test]
    fn the_matrix_is_written_as_csv() {
        let mut written = Vec::new();
        of(&["left, slow", "größer", "\"x\""], &[0, 0, 2], &[0, 1, 2]).write_csv(&mut written).unwrap();
        let expected = "target,\"left, slow\",größer,\"\"\"x\"\"\"\n\
                        \"left, slow\",1,1,0\ngrößer,0,0,0\n\"\"\"x\"\"\",0,0,1\n";
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }
}
