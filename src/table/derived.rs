//! Fields derived from a whole row before it is cut into windows: returns-to-go, the next state.

use super::{Table, unknown_field};
use crate::data::DataError;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use smalti_contract::Value;
use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// The computation of a derived field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Derivation {
    /// The return-to-go: the sum of the discounted rewards from each step on (Chen et al. 2021).
    ReturnToGo {
        /// The field of the rewards, a series of numbers.
        field: String,
        /// The discount factor per step.
        #[serde(default = "one")]
        discount: f64,
    },
    /// The value at the next step; missing at the last.
    Next {
        /// A series.
        field: String,
    },
    /// The value at the previous step; missing at the first.
    Previous {
        /// A series.
        field: String,
    },
    /// 1 at the first step, 0 at every other.
    First {
        /// A series with the row's number of steps.
        field: String,
    },
    /// 1 at the last step, 0 at every other.
    Last {
        /// A series with the row's number of steps.
        field: String,
    },
    /// 1 at one step, 0 at every other.
    At {
        /// A series with the row's number of steps.
        field: String,
        /// The number of the step; the first is 0.
        step: usize,
    },
    /// The number of each step; the first is 0.
    Step {
        /// A series with the row's number of steps.
        field: String,
    },
    /// The sum over all steps: one number for the row.
    Total {
        /// A series of numbers.
        field: String,
    },
}

fn one() -> f64 {
    1.0
}

/// The numbers of a series.
type Numbers = Arc<Vec<f64>>;

/// A table with derived fields.
struct Derived {
    table: Arc<dyn Table>,
    fields: Vec<String>,
    derived: IndexMap<String, Derivation>,
    /// Series that need the whole row, computed once, by row and field.
    cache: Mutex<HashMap<(usize, String), Numbers>>,
}

/// Adds derived fields to a table. A field may be derived from another derived field, in any order.
///
/// # Errors
/// [`DataError`] for a name that the table already has, and for a source field that it does not have.
pub fn derive(
    mut table: Arc<dyn Table>,
    derived: &IndexMap<String, Derivation>,
) -> Result<Arc<dyn Table>, DataError> {
    let mut left: Vec<(&String, &Derivation)> = derived.iter().collect();
    while let Some((name, first)) = left.first() {
        let is_there =
            |(_, of): &(&String, &Derivation)| table.fields().iter().any(|field| field == of.field());
        let Some(next) = left.iter().position(is_there) else {
            return Err(no_source(table.as_ref(), name, first));
        };
        let (name, derivation) = left.remove(next);
        if table.fields().contains(name) {
            let problem = format!("data.derived.{name}: the table already has a field of this name");
            return Err(DataError::layout(table.name(), problem));
        }
        let fields = table.fields().iter().chain([name]).cloned().collect();
        let derived = IndexMap::from([(name.clone(), derivation.clone())]);
        table = Arc::new(Derived { table, fields, derived, cache: Mutex::default() });
    }
    Ok(table)
}

/// The error of a derivation from a field that the table does not have.
fn no_source(table: &dyn Table, name: &str, derivation: &Derivation) -> DataError {
    let Derivation::ReturnToGo { field, .. } = derivation else {
        return unknown_field(table, derivation.field());
    };
    let problem = format!(
        "no field {field:?} for data.derived.{name}, the sum of later rewards; there is {}: name the rewards with --set \
         data.derived.{name}.field=FIELD, or train without returns (behaviour cloning) with --set data.derived= --set \
         inputs.{name}=",
        smalti_contract::listed(table.fields(), ", ")
    );
    DataError::layout(table.name(), problem)
}

impl Derivation {
    /// The field that the new one is derived from.
    pub fn field(&self) -> &str {
        match self {
            Derivation::ReturnToGo { field, .. }
            | Derivation::Next { field }
            | Derivation::Previous { field }
            | Derivation::First { field }
            | Derivation::Last { field }
            | Derivation::At { field, .. }
            | Derivation::Step { field }
            | Derivation::Total { field } => field,
        }
    }
}

impl Derived {
    /// The numbers of a series.
    fn numbers(&self, row: usize, field: &str) -> Result<Vec<f64>, DataError> {
        let refuse = |e: smalti_contract::TokenizeError| {
            DataError::tokenize(&self.table.location(row), format!("field {field}: {e}"))
        };
        match self.table.value(row, field)? {
            Value::Series(steps) => steps
                .into_iter()
                .map(|step| match step {
                    Value::Number(number) => Ok(number),
                    other => other.into_numbers().map(|numbers| f64::from(numbers.iter().sum::<f32>())),
                })
                .collect::<Result<_, _>>()
                .map_err(refuse),
            other => Err(refuse(other.unexpected("a series of numbers"))),
        }
    }

    /// The returns-to-go of a row, computed once.
    fn returns(
        &self,
        row: usize,
        name: &str,
        field: &str,
        discount: f64,
    ) -> Result<Arc<Vec<f64>>, DataError> {
        let key = (row, name.to_string());
        let poisoned = |_| DataError::Worker;
        if let Some(cached) = self.cache.lock().map_err(poisoned)?.get(&key) {
            return Ok(cached.clone());
        }
        let mut returns = self.numbers(row, field)?;
        let mut return_to_go = 0.0;
        for value in returns.iter_mut().rev() {
            return_to_go = *value + discount * return_to_go;
            *value = return_to_go;
        }
        let returns = Arc::new(returns);
        self.cache.lock().map_err(poisoned)?.insert(key, returns.clone());
        Ok(returns)
    }

    fn compute(&self, row: usize, name: &str, steps: Range<usize>) -> Result<Value, DataError> {
        let all = self.table.steps(row);
        let steps = steps.start.min(all)..steps.end.min(all);
        let flag = |at: Option<usize>| {
            Value::Series(steps.clone().map(|t| Value::Number(f64::from(u8::from(Some(t) == at)))).collect())
        };
        match &self.derived[name] {
            Derivation::ReturnToGo { field, discount } => {
                let returns = self.returns(row, name, field, *discount)?;
                let window = returns.get(steps).unwrap_or_default();
                Ok(Value::Series(window.iter().map(|&value| Value::Number(value)).collect()))
            }
            Derivation::Next { field } => {
                let Value::Series(mut values) =
                    self.table.window(row, field, steps.start + 1..steps.end + 1)?
                else {
                    return Err(self.no_series(row, field));
                };
                values.resize(steps.len(), Value::Missing);
                Ok(Value::Series(values))
            }
            Derivation::Previous { field } => {
                let from = steps.start.saturating_sub(1)..steps.end.saturating_sub(1);
                let Value::Series(mut values) = self.table.window(row, field, from)? else {
                    return Err(self.no_series(row, field));
                };
                if steps.start == 0 && !steps.is_empty() {
                    values.insert(0, Value::Missing);
                }
                Ok(Value::Series(values))
            }
            Derivation::First { .. } => Ok(flag(Some(0))),
            Derivation::Last { .. } => Ok(flag(all.checked_sub(1))),
            Derivation::At { step, .. } => Ok(flag(Some(*step))),
            Derivation::Step { .. } => Ok(Value::Series(steps.map(|t| Value::Number(t as f64)).collect())),
            Derivation::Total { field } => Ok(Value::Number(self.numbers(row, field)?.iter().sum())),
        }
    }

    fn no_series(&self, row: usize, field: &str) -> DataError {
        DataError::tokenize(&self.table.location(row), format!("field {field}: expected a series"))
    }
}

impl Table for Derived {
    fn name(&self) -> &str {
        self.table.name()
    }

    fn fields(&self) -> &[String] {
        &self.fields
    }

    fn len(&self) -> usize {
        self.table.len()
    }

    fn value(&self, row: usize, field: &str) -> Result<Value, DataError> {
        self.window(row, field, 0..usize::MAX - 1)
    }

    fn peek(&self, row: usize, field: &str) -> Result<Value, DataError> {
        match self.derived.contains_key(field) {
            true => self.value(row, field),
            false => self.table.peek(row, field),
        }
    }

    fn window(&self, row: usize, field: &str, steps: Range<usize>) -> Result<Value, DataError> {
        match self.derived.contains_key(field) {
            true => self.compute(row, field, steps),
            false => self.table.window(row, field, steps),
        }
    }

    fn stream(&self, row: usize, field: &str) -> Result<Box<dyn Read + Send>, DataError> {
        self.table.stream(row, field)
    }

    fn streams(&self, field: &str) -> bool {
        self.table.streams(field)
    }

    fn steps(&self, row: usize) -> usize {
        self.table.steps(row)
    }

    fn location(&self, row: usize) -> String {
        self.table.location(row)
    }

    fn origin(&self, row: usize) -> Option<String> {
        self.table.origin(row)
    }

    fn classes(&self, field: &str) -> Option<&[String]> {
        self.table.classes(field)
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        self.table.skipped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::MemoryTable;
    use smalti_contract::Row;

    fn series(numbers: &[f64]) -> Value {
        Value::Series(numbers.iter().map(|&number| Value::Number(number)).collect())
    }

    fn derived(kind: Derivation) -> Arc<dyn Table> {
        let row = Row { fields: [("rewards".to_string(), series(&[1.0, 2.0, 4.0]))].into() };
        derive(Arc::new(MemoryTable::new("log", vec![row])), &IndexMap::from([("new".to_string(), kind)]))
            .unwrap()
    }

    #[test]
    fn fields_are_derived_from_the_whole_row() {
        let field = || "rewards".to_string();
        let window = |kind, steps| derived(kind).window(0, "new", steps).unwrap();
        assert_eq!(
            window(Derivation::ReturnToGo { field: field(), discount: 1.0 }, 1..9),
            series(&[6.0, 4.0])
        );
        assert_eq!(window(Derivation::ReturnToGo { field: field(), discount: 0.5 }, 0..1), series(&[3.0]));
        let missing = |mut values: Value| {
            if let Value::Series(values) = &mut values {
                values.push(Value::Missing);
            }
            values
        };
        assert_eq!(window(Derivation::Next { field: field() }, 1..3), missing(series(&[4.0])));
        assert_eq!(window(Derivation::Previous { field: field() }, 1..3), series(&[1.0, 2.0]));
        assert_eq!(window(Derivation::First { field: field() }, 0..2), series(&[1.0, 0.0]));
        assert_eq!(window(Derivation::Last { field: field() }, 1..3), series(&[0.0, 1.0]));
        assert_eq!(window(Derivation::At { field: field(), step: 2 }, 1..9), series(&[0.0, 1.0]));
        assert_eq!(window(Derivation::At { field: field(), step: 3 }, 0..9), series(&[0.0; 3]));
        assert_eq!(window(Derivation::Total { field: field() }, 0..1), Value::Number(7.0));
    }

    #[test]
    fn a_field_is_derived_from_a_derived_field() {
        let row = Row { fields: [("rewards".to_string(), series(&[1.0, 2.0, 4.0]))].into() };
        let returns = Derivation::ReturnToGo { field: "rewards".into(), discount: 1.0 };
        let next = Derivation::Next { field: "returns".into() };
        let fields = IndexMap::from([("next".to_string(), next), ("returns".to_string(), returns)]);
        let table = derive(Arc::new(MemoryTable::new("log", vec![row])), &fields).unwrap();
        assert_eq!(table.window(0, "next", 0..2).unwrap(), series(&[6.0, 4.0]));
        assert_eq!(table.fields(), ["rewards", "returns", "next"]);
    }

    #[test]
    fn a_log_without_rewards_is_answered_with_settings() {
        let row = Row { fields: [("actions".to_string(), series(&[1.0]))].into() };
        let returns = Derivation::ReturnToGo { field: "rewards".into(), discount: 1.0 };
        let fields = IndexMap::from([("return_to_go".to_string(), returns)]);
        let error = derive(Arc::new(MemoryTable::new("log", vec![row])), &fields).err().unwrap().to_string();
        assert!(error.starts_with("log: no field \"rewards\" for data.derived.return_to_go"), "{error}");
        assert!(error.contains("there is actions"), "{error}");
        assert!(error.contains("--set data.derived.return_to_go.field=FIELD"), "{error}");
        assert!(error.ends_with("--set data.derived= --set inputs.return_to_go="), "{error}");
    }

    #[test]
    fn taken_names_and_unknown_fields_are_errors() {
        let table: Arc<dyn Table> = Arc::new(MemoryTable::new(
            "log",
            vec![Row { fields: [("a".to_string(), series(&[1.0]))].into() }],
        ));
        let refused = |name: &str, field: &str| {
            let derived = IndexMap::from([(name.to_string(), Derivation::Next { field: field.into() })]);
            derive(table.clone(), &derived).err().unwrap().to_string()
        };
        assert!(refused("a", "a").contains("data.derived.a"));
        assert!(refused("b", "c").contains("\"c\""));
    }
}
