//! The JSON schema of settings, read: types, choices and defaults.

use serde_json::Value;

/// The schema of a type, with the definitions that it refers to.
#[derive(Clone, Copy)]
pub(super) struct Schema<'a> {
    root: &'a Value,
    /// The schema itself; never a reference.
    pub at: &'a Value,
}

impl<'a> Schema<'a> {
    pub fn new(root: &'a Value) -> Self {
        Self { root, at: root }
    }

    /// A schema within this one, without references and without the alternative null.
    pub fn within(self, mut at: &'a Value) -> Self {
        loop {
            let named = at["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/"));
            let options = at["anyOf"].as_array().filter(|options| options.iter().any(is_null));
            at = match (named, options.and_then(|options| options.iter().find(|one| !is_null(one)))) {
                (Some(name), _) => &self.root["$defs"][name],
                (None, Some(one)) => one,
                (None, None) => return Self { at, ..self },
            };
        }
    }

    /// The schema of each key of a table, with the key's default.
    pub fn properties(self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.at["properties"].as_object().into_iter().flatten()
    }

    /// The alternatives of a value: `OneOrMany`, or an enumeration some of whose values are tables.
    pub fn alternatives(self) -> impl Iterator<Item = Self> + Clone {
        let options = self.at["anyOf"].as_array().or(self.at["oneOf"].as_array());
        options.into_iter().flatten().map(move |one| self.within(one))
    }

    /// The JSON types of its values, without null; none if the schema does not say or has alternatives.
    pub fn types(self) -> Vec<&'a str> {
        let names = match &self.at["type"] {
            Value::Array(names) => names.as_slice(),
            one => std::slice::from_ref(one),
        };
        names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect()
    }

    /// The names of an enumeration's values.
    pub fn choices(self) -> Vec<String> {
        let own = self.at["enum"].as_array().into_iter().flatten().chain(self.at.get("const"));
        let own = own.filter_map(|name| name.as_str().map(String::from));
        own.chain(self.alternatives().flat_map(Self::choices)).collect()
    }
}

fn is_null(schema: &Value) -> bool {
    schema["type"] == "null"
}
