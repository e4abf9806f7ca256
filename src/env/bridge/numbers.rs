//! The numbers of an observation, however they are nested.

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt::{Formatter, Result as Written};

/// All numbers of a JSON value, in order; those of an object in the order of its names.
#[derive(Default)]
pub(super) struct Numbers(pub(super) Vec<f32>);

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut numbers = Numbers::default();
        Gather(&mut numbers.0).deserialize(deserializer)?;
        Ok(numbers)
    }
}

/// Appends the numbers of a JSON value.
struct Gather<'n>(&'n mut Vec<f32>);

impl<'de> DeserializeSeed<'de> for Gather<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Gather<'_> {
    type Value = ();

    fn expecting(&self, f: &mut Formatter<'_>) -> Written {
        f.write_str("a number, or a list or an object of numbers")
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.0.push(number as f32);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.0.push(number as f32);
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.0.push(number as f32);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Gather(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut parts = BTreeMap::<String, Vec<f32>>::new();
        while let Some((name, Numbers(numbers))) = object.next_entry()? {
            if parts.insert(name, numbers).is_some() {
                return Err(A::Error::custom("an observation has two parts of one name"));
            }
        }
        parts.into_values().for_each(|part| self.0.extend(part));
        Ok(())
    }
}
