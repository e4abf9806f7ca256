//! The value of one key of a line: a value for each step, as columns.

use crate::table::Column;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// A value for each step: a list whose elements are numbers, lists of numbers or objects, or an object of such lists.
/// Columns are named by the keys of objects, joined by points.
pub(super) struct Series {
    /// The line's key.
    key: &'static str,
    columns: BTreeMap<String, Column>,
    steps: usize,
}

impl Series {
    /// Read the value of `key`.
    pub(super) fn of<'de, D: Deserializer<'de>>(
        key: &'static str,
        deserializer: D,
    ) -> Result<Self, D::Error> {
        Key(key).deserialize(deserializer)
    }

    /// Observations without numbers, only images.
    pub(super) fn none() -> Self {
        Self::new("observations")
    }

    fn new(key: &'static str) -> Self {
        Self { key, columns: BTreeMap::new(), steps: 0 }
    }

    /// The columns, sorted by their names.
    pub(super) fn columns(self) -> Vec<Column> {
        let named = |(path, column): (String, Column)| Column { name: joined(self.key, &path), ..column };
        self.columns.into_iter().map(named).collect()
    }

    /// The name of a column, for messages.
    fn name(&self, path: &str) -> String {
        joined(self.key, path)
    }

    /// Begin a step's value in the column of this path; the first step creates the column.
    fn begin<E: Error>(&mut self, path: &str) -> Result<(), E> {
        let steps = self.steps;
        match self.columns.get(path) {
            None if steps == 0 => {
                self.columns.insert(path.to_string(), Column { whole: true, ..Column::default() });
                Ok(())
            }
            None => {
                Err(E::custom(format!("{} is present at step {steps}, but not at step 0", self.name(path))))
            }
            Some(column) if steps > 0 && column.values.len() == steps * column.dim => Ok(()),
            Some(_) => Err(E::custom(format!("{} occurs twice", self.name(path)))),
        }
    }

    fn put(&mut self, path: &str, value: f64, whole: bool) {
        if let Some(column) = self.columns.get_mut(path) {
            column.values.push(value);
            column.whole &= whole;
        }
    }

    /// Check at the end of a step that each column has as many numbers as at the first step.
    fn end_step<E: Error>(&mut self) -> Result<(), E> {
        for (path, column) in &mut self.columns {
            if self.steps == 0 {
                column.dim = column.values.len();
            }
            let found = column.values.len() - self.steps * column.dim;
            if found != column.dim {
                let (name, step, dim) = (joined(self.key, path), self.steps, column.dim);
                let problem =
                    format!("{name} at step {step}: expected {dim} numbers, as at step 0; found {found}");
                return Err(E::custom(problem));
            }
        }
        self.steps += 1;
        Ok(())
    }
}

/// A key of the line, whose value is a series.
struct Key(&'static str);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Series;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Series, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Series;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{} as a list of steps or an object of such lists", self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut steps: A) -> Result<Series, A::Error> {
        let mut series = Series::new(self.0);
        while steps.next_element_seed(Step { series: &mut series, path: "", listed: false })?.is_some() {
            series.end_step()?;
        }
        Ok(series)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut keys: A) -> Result<Series, A::Error> {
        let mut all = Series::new(self.0);
        while let Some(key) = keys.next_key::<String>()? {
            let part = keys.next_value_seed(Key(self.0))?;
            all.steps = part.steps;
            for (path, column) in part.columns {
                let path = joined(&key, &path);
                if all.columns.insert(path.clone(), column).is_some() {
                    return Err(A::Error::custom(format!("{} occurs twice", all.name(&path))));
                }
            }
        }
        Ok(all)
    }
}

/// The value of one step, which is appended to the columns.
struct Step<'s> {
    series: &'s mut Series,
    path: &'s str,
    /// Whether the value is in a list: then its numbers are a vector, not a discrete action.
    listed: bool,
}

impl<'de> DeserializeSeed<'de> for Step<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Step<'_> {
    fn put<E: Error>(self, value: f64, whole: bool) -> Result<(), E> {
        if !self.listed {
            self.series.begin(self.path)?;
        }
        self.series.put(self.path, value, whole && !self.listed);
        Ok(())
    }
}

impl<'de> Visitor<'de> for Step<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(
            formatter,
            "{} as a number, a list of numbers or an object of them",
            self.series.name(self.path)
        )
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.put(f64::from(u8::from(value)), true)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.put(value as f64, true)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.put(value as f64, true)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.put(value, false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Step { series, path, listed } = self;
        if !listed {
            series.begin(path)?;
        }
        while list.next_element_seed(Step { series: &mut *series, path, listed: true })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut keys: A) -> Result<(), A::Error> {
        let Step { series, path, listed } = self;
        if listed {
            return Err(A::Error::custom("an object in a list: its numbers would have no name"));
        }
        while let Some(key) = keys.next_key::<String>()? {
            keys.next_value_seed(Step { series: &mut *series, path: &joined(path, &key), listed })?;
        }
        Ok(())
    }
}

/// Join a name and the name of a part, either of which may be empty.
pub(super) fn joined(path: &str, key: &str) -> String {
    match (path, key) {
        ("", name) | (name, "") => name.to_string(),
        (path, key) => format!("{path}.{key}"),
    }
}
