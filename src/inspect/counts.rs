//! What is counted of values, of one or of many.

use std::collections::BTreeMap;

/// What a value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Holds {
    /// Nothing.
    #[default]
    Missing,
    /// A text.
    Text,
    /// A number.
    Number,
    /// An array of numbers.
    Array,
    /// An image: a file, or an array of bytes.
    #[cfg(any(feature = "image", feature = "trajectory"))]
    Image,
    /// An audio clip.
    #[cfg(feature = "audio")]
    Audio,
    /// A file of another sort.
    File,
}

impl Holds {
    pub fn name(self) -> &'static str {
        match self {
            Holds::Missing => "missing",
            Holds::Text => "text",
            Holds::Number => "number",
            Holds::Array => "array",
            #[cfg(any(feature = "image", feature = "trajectory"))]
            Holds::Image => "image",
            #[cfg(feature = "audio")]
            Holds::Audio => "audio",
            Holds::File => "file",
        }
    }
}

/// What is counted.
#[derive(Default)]
pub(super) struct Counts {
    pub holds: Holds,
    /// Whether values are series.
    pub series: bool,
    pub values: usize,
    pub missing: usize,
    /// How often each of some names comes, such as `8×8` of `height_x_width`.
    pub names: BTreeMap<&'static str, BTreeMap<String, usize>>,
    /// Numbers of which the spread is told.
    pub measures: BTreeMap<&'static str, Vec<f64>>,
    pub characters: BTreeMap<char, usize>,
    /// How often each text or number comes.
    pub labels: BTreeMap<String, usize>,
    /// Whether there are too many different ones to be labels.
    too_many: bool,
    pub range: Range,
    /// `[height, width]` of the first image.
    pub size: Option<[usize; 2]>,
}

/// The most different labels that are counted.
const MOST_LABELS: usize = 10_000;

/// The range of numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub count: usize,
    pub low: f64,
    pub high: f64,
    pub sum: f64,
    /// Whether all are whole and not negative: ids.
    pub whole: bool,
}

impl Default for Range {
    fn default() -> Self {
        Self { count: 0, low: f64::INFINITY, high: f64::NEG_INFINITY, sum: 0.0, whole: true }
    }
}

impl Range {
    /// Adds a number.
    pub fn add(&mut self, number: f64) {
        let whole = number >= 0.0 && number.fract() == 0.0;
        self.merge(Self { count: 1, low: number, high: number, sum: number, whole });
    }

    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.low = self.low.min(other.low);
        self.high = self.high.max(other.high);
        self.sum += other.sum;
        self.whole &= other.whole;
    }
}

impl Counts {
    /// Counts one of a name.
    pub fn count(&mut self, what: &'static str, name: String) {
        *self.names.entry(what).or_default().entry(name).or_default() += 1;
    }

    /// Notes a number.
    pub fn measure(&mut self, what: &'static str, number: f64) {
        self.measures.entry(what).or_default().push(number);
    }

    /// Notes what may be a label.
    pub fn label(&mut self, label: String) {
        *self.labels.entry(label).or_default() += 1;
    }

    /// Adds those of another value.
    ///
    /// # Errors
    /// If the frames of two series differ in size.
    pub fn merge(&mut self, other: Self) -> Result<(), String> {
        if let (true, Some(size), Some(first)) = (other.series, other.size, self.size) {
            same_size(size, first)?;
        }
        if self.holds == Holds::Missing {
            (self.holds, self.series) = (other.holds, other.series);
        }
        self.size = self.size.or(other.size);
        self.values += other.values;
        self.missing += other.missing;
        other.names.into_iter().for_each(|(what, names)| add_all(self.names.entry(what).or_default(), names));
        for (what, numbers) in other.measures {
            self.measures.entry(what).or_default().extend(numbers);
        }
        add_all(&mut self.characters, other.characters);
        if !self.too_many {
            add_all(&mut self.labels, other.labels);
            if self.labels.len() > MOST_LABELS {
                (self.too_many, self.labels) = (true, BTreeMap::new());
            }
        }
        self.range.merge(other.range);
        Ok(())
    }
}

/// Fails if a frame is of another size than the others, `[height, width]`.
pub(super) fn same_size(size: [usize; 2], first: [usize; 2]) -> Result<(), String> {
    let [[height, width], [rows, columns]] = [size, first];
    match size == first {
        true => Ok(()),
        false => Err(format!("{height}×{width} pixels; expected {rows}×{columns}, as the other frames have")),
    }
}

fn add_all<K: Ord, N: Default + std::ops::AddAssign>(sums: &mut BTreeMap<K, N>, more: BTreeMap<K, N>) {
    more.into_iter().for_each(|(name, n)| *sums.entry(name).or_default() += n);
}
