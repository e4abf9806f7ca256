//! The front matter of a card, as the Hugging Face Hub reads it.

use super::usage::Use;
use super::yaml::yaml;
use super::{Facts, Form};
use crate::config::TaskEntry;
use crate::run::NamedTask;
use crate::task::joined;
use crate::train::{Metrics, is_count};
use serde_json::{Value, json};
use std::collections::BTreeSet;

impl Facts<'_> {
    /// The front matter, with its lines of dashes.
    pub(super) fn front_matter(&self) -> String {
        let card = &self.run.config().card;
        let library = match self.form {
            Form::Run => "smalti",
            Form::Export => "transformers",
        };
        let datasets: BTreeSet<String> = match self.is_published() {
            true => BTreeSet::new(),
            false => {
                self.tasks.iter().flat_map(|(entry, _)| Self::sources(entry)).filter_map(dataset).collect()
            }
        };
        let pipelines: Vec<_> = self.uses().map(|task| task.pipeline()).collect();
        let pipeline = if let [one] = pipelines[..] { one } else { None };
        let results = self.results();
        let index = json!([{ "name": self.name, "results": results }]);
        let entries = [
            ("license", self.license().map(Value::from)),
            ("language", card.language.clone().map(Value::from)),
            ("library_name", Some(library.into())),
            ("pipeline_tag", pipeline.map(Value::from)),
            ("tags", Some(json!(self.tags()))),
            ("base_model", card.base_model.clone().map(Value::from)),
            ("datasets", Some(json!(datasets)).filter(|_| !datasets.is_empty())),
            ("model-index", Some(index).filter(|_| !results.is_empty())),
        ];
        let lines =
            entries.into_iter().filter_map(|(key, value)| Some(format!("{key}: {}\n", yaml(&value?))));
        format!("---\n{}---\n", lines.collect::<String>())
    }

    /// `smalti`, and the modalities of its inputs and outputs.
    fn tags(&self) -> Vec<String> {
        let modalities = self.tasks.iter().flat_map(|(entry, _)| {
            let inputs = entry.settings.inputs.values().map(|input| input.modality.clone());
            inputs.chain(entry.settings.outputs.values().filter_map(|output| output.modality.clone()))
        });
        let modalities: BTreeSet<String> = modalities.collect();
        ["smalti".to_string()].into_iter().chain(modalities).collect()
    }

    /// The metrics of each output in the best evaluation.
    fn results(&self) -> Vec<Value> {
        let Some(best) = &self.best else { return vec![] };
        let of_task = |(entry, named): &(TaskEntry, NamedTask)| -> Vec<Value> {
            let outputs = entry.settings.outputs.keys();
            let measured = outputs.filter_map(|output| {
                let metrics = listed(best.metrics.get(&joined(&[&entry.name, output]))?);
                let task = Use::of(entry, named).pipeline().unwrap_or("other");
                let sources = Self::sources(entry);
                let data = sources.join(", ");
                let id = sources.into_iter().find_map(dataset).unwrap_or_else(|| data.clone());
                let mut dataset = json!({ "type": id, "name": data });
                if let Some(split) = Self::split(entry) {
                    dataset["split"] = split.into();
                }
                if let Some([evaluated, all]) = self.evaluated(entry) {
                    dataset["args"] = json!({ "validation_samples": format!("{evaluated} of {all}") });
                }
                Some(json!({
                    "task": { "type": task, "name": joined(&[&entry.name, output]) },
                    "dataset": dataset,
                    "metrics": metrics,
                }))
            });
            measured.collect()
        };
        self.tasks.iter().flat_map(of_task).collect()
    }
}

fn listed(metrics: &Metrics) -> Vec<Value> {
    let measured = metrics.iter().filter(|(name, value)| !is_count(name) && value.is_finite());
    measured.map(|(name, value)| json!({ "type": name, "name": name, "value": value })).collect()
}

/// The name of a data set on the Hub, from its address `hf:OWNER/NAME@REVISION:FILES`.
fn dataset(source: String) -> Option<String> {
    let rest = source.strip_prefix("hf:")?;
    let rest = rest.strip_prefix("datasets/").unwrap_or(rest);
    let name = rest.split([':', '@']).next()?.trim_end_matches('/');
    (!name.starts_with("models/") && !name.is_empty()).then(|| name.into())
}

/// The licence in the front matter of a published card, if it is a plain word.
pub(super) fn license(card: &str) -> Option<String> {
    let mut lines =
        card.lines().skip_while(|line| line.trim() != "---").skip(1).take_while(|line| line.trim() != "---");
    let value = lines.find_map(|line| line.strip_prefix("license:"))?.trim();
    let word = value.trim_matches(['"', '\'']);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    (!word.is_empty() && word.chars().all(is_plain)).then(|| word.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_set_has_its_name_on_the_hub() {
        let of = |source: &str| dataset(source.into());
        assert_eq!(of("hf:owner/name@v1:a/*.csv").as_deref(), Some("owner/name"));
        assert_eq!(of("hf:datasets/owner/name").as_deref(), Some("owner/name"));
        assert_eq!((of("hf:models/a/b"), of("a.csv")), (None, None));
    }

    #[test]
    fn a_published_licence_is_a_word_of_the_front_matter() {
        assert_eq!(
            license("---\ntags: [a]\nlicense: \"apache-2.0\"\n---\nlicense: x\n").as_deref(),
            Some("apache-2.0")
        );
        assert_eq!(license("---\nlicense: [a, b]\n---\n"), None);
        assert_eq!(license("# A model\nlicense: mit\n"), None);
    }
}
