//! Counts over one or many values.

use std::collections::BTreeMap;

/// The type of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ValueType {
    /// No value.
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
    /// Another file.
    File,
}

impl ValueType {
    pub fn name(self) -> &'static str {
        match self {
            ValueType::Missing => "missing",
            ValueType::Text => "text",
            ValueType::Number => "number",
            ValueType::Array => "array",
            #[cfg(any(feature = "image", feature = "trajectory"))]
            ValueType::Image => "image",
            #[cfg(feature = "audio")]
            ValueType::Audio => "audio",
            ValueType::File => "file",
        }
    }
}

/// The counts.
#[derive(Default)]
pub(super) struct Counts {
    pub holds: ValueType,
    /// Whether values are series.
    pub series: bool,
    pub values: usize,
    pub missing: usize,
    /// Counts by name, such as `8×8` of `height_x_width`.
    pub names: BTreeMap<&'static str, BTreeMap<String, usize>>,
    /// Numbers whose spread is reported.
    pub measures: BTreeMap<&'static str, Vec<f64>>,
    pub characters: BTreeMap<char, usize>,
    /// The lines of texts by their number of characters.
    pub lines: BTreeMap<usize, usize>,
    /// The count of each text or number.
    pub labels: BTreeMap<String, usize>,
    /// Whether there are too many different values to be labels.
    too_many: bool,
    pub range: Range,
    /// `[height, width]` of the first image.
    pub size: Option<[usize; 2]>,
}

/// Most different labels to count.
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
    /// Adds 1 to the count of a name.
    pub fn count(&mut self, what: &'static str, name: String) {
        *self.names.entry(what).or_default().entry(name).or_default() += 1;
    }

    /// Adds a number to a measure.
    pub fn measure(&mut self, what: &'static str, number: f64) {
        self.measures.entry(what).or_default().push(number);
    }

    /// Counts a value that may be a label.
    pub fn label(&mut self, label: String) {
        *self.labels.entry(label).or_default() += 1;
    }

    /// Adds the counts of another value.
    ///
    /// # Errors
    /// If the frames of two series differ in size.
    pub fn merge(&mut self, other: Self) -> Result<(), String> {
        if let (true, Some(size), Some(first)) = (other.series, other.size, self.size) {
            same_size(size, first)?;
        }
        if self.holds == ValueType::Missing {
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
        add_all(&mut self.lines, other.lines);
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

/// Fails if the size of a frame, `[height, width]`, differs from that of the first.
pub(super) fn same_size(size: [usize; 2], first: [usize; 2]) -> Result<(), String> {
    let [[height, width], [rows, columns]] = [size, first];
    match size == first {
        true => Ok(()),
        false => {
            Err(format!("expected {rows}×{columns} pixels, as in the other frames; found {height}×{width}"))
        }
    }
}

fn add_all<K: Ord, N: Default + std::ops::AddAssign>(sums: &mut BTreeMap<K, N>, more: BTreeMap<K, N>) {
    more.into_iter().for_each(|(name, n)| *sums.entry(name).or_default() += n);
}
