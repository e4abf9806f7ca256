//! The sections of a card.

use super::places::without_paths;
use super::usage::{Use, quoted};
use super::{Facts, Form};
use crate::config::TaskEntry;
use crate::report::curves::Evaluation;
use crate::report::parameters::parameters;
use crate::run::{NamedTask, RunError};
use crate::task::joined;
use crate::train::is_count;
use smalti_contract::listed;
use std::fmt::Write;

impl Facts<'_> {
    /// What the model is: tasks, layers, parameters.
    pub(super) fn model(&self) -> String {
        let model = &self.run.config().model;
        let base = self.run.config().card.base_model.as_ref();
        let base = base.map_or(String::new(), |base| format!(" It started from the weights of {base}."));
        let mut text = format!(
            "## Model\n\nA transformer of {} layers, d_model {}, {} \
             [smalti](https://github.com/smalti-rs/smalti).{base}\n\n",
            model.n_layers + model.n_encoder_layers,
            model.d_model,
            if self.is_published() { "whose published weights were imported into" } else { "trained with" }
        );
        text += &self.by_task(&["inputs", "outputs"], |entry, _| {
            let inputs = entry.settings.inputs.iter().map(|(name, of)| format!("{name} ({})", of.modality));
            let outputs = entry.settings.outputs.iter().map(|(name, of)| format!("{name} ({})", of.head));
            vec![inputs.collect::<Vec<_>>().join(", "), outputs.collect::<Vec<_>>().join(", ")]
        });
        text += &self.classes();
        text += "\n| part | parameters |\n| --- | ---: |\n";
        parameters(&self.counts)
            .into_iter()
            .for_each(|(part, count)| text += &row(vec![part, count.to_string()]));
        text + "\n"
    }

    /// The data: sources, numbers of samples, licence.
    pub(super) fn data(&self) -> String {
        let license = self.run.config().card.data_license.as_deref().unwrap_or("not stated");
        if self.is_published() {
            return format!("## Data\n\nThe weights are published ones. Licence of the data: {license}.\n\n");
        }
        let table = self.by_task(&["source", "training samples", "validation samples"], |entry, _| {
            let counts = self.samples.get(&entry.name).map(|counts| counts.map(|n| n.to_string()));
            [vec![Self::sources(entry).join(", ")], counts.unwrap_or_default().into()].concat()
        });
        format!("## Data\n\n{table}\nLicence of the data: {license}.\n\n")
    }

    /// A table with a row for each task, which begins with its name if there are several.
    fn by_task(&self, header: &[&str], cells: impl Fn(&TaskEntry, &NamedTask) -> Vec<String>) -> String {
        let has_names = self.tasks.iter().any(|(entry, _)| !entry.name.is_empty());
        let named = |name: &str, cells: Vec<String>| match has_names {
            true => [vec![name.to_string()], cells].concat(),
            false => cells,
        };
        let header = named("task", header.iter().map(ToString::to_string).collect());
        let line = vec!["---".to_string(); header.len()];
        let rows = self.tasks.iter().map(|(entry, task)| named(&entry.name, cells(entry, task)));
        [header, line].into_iter().chain(rows).map(row).collect()
    }

    /// The classes of each output that has some.
    fn classes(&self) -> String {
        let mut text = String::new();
        for (entry, named) in &self.tasks {
            for output in named.task.outputs().iter().filter(|output| !output.head.labels().is_empty()) {
                let classes = output.head.labels().iter().map(|class| format!("`{}`", cell(class)));
                let (name, classes) = (joined(&[&entry.name, &output.name]), listed(classes, ", "));
                let _ = writeln!(text, "\nClasses of `{name}`: {classes}.");
            }
        }
        text
    }

    /// The metrics of the best evaluation.
    pub(super) fn metrics(&self) -> String {
        let Some(Evaluation { step, metrics }) = &self.best else { return String::new() };
        let mut text = format!(
            "## Metrics\n\nMeasured on {} at step {step}. The saved weights are those of this step.\n\n\
             | output | metric | value |\n| --- | --- | ---: |\n",
            self.measured_on()
        );
        for (output, metrics) in metrics {
            for (metric, value) in metrics.iter().filter(|(_, value)| value.is_finite()) {
                let digits = if is_count(metric) { 0 } else { 4 };
                text += &row(vec![output.clone(), metric.clone(), format!("{value:.digits$}")]);
            }
        }
        text + "\n"
    }

    /// The data of the metrics: the split, if the settings name it, and the samples, if they are not all.
    fn measured_on(&self) -> String {
        let of_task = |(entry, _): &(TaskEntry, NamedTask)| {
            let split = Self::split(entry).map(|split| format!("the split `{split}`"));
            let samples = self.evaluated(entry).map(|[some, all]| format!("{some} of {all} samples"));
            let facts: Vec<String> = split.into_iter().chain(samples).collect();
            let task = if entry.name.is_empty() { String::new() } else { format!("`{}`: ", entry.name) };
            (!facts.is_empty()).then(|| format!("{task}{}", facts.join(", ")))
        };
        let facts: Vec<String> = self.tasks.iter().filter_map(of_task).collect();
        match facts.is_empty() {
            true => "the validation data".into(),
            false => format!("the validation data ({})", facts.join("; ")),
        }
    }

    /// The commands that use it.
    pub(super) fn usage(&self) -> String {
        let name = quoted(&self.name);
        let (import, run) = match self.form {
            Form::Run => (None, name),
            Form::Export => {
                let run = quoted(&format!("{}-run", self.name));
                (Some(format!("smalti import {name} --out {run}")), run)
            }
        };
        let mut commands: Vec<String> = import.into_iter().collect();
        let uses: Vec<Use> = self.uses().collect();
        commands.extend(uses.iter().flat_map(|task| task.commands(&run, &uses)));
        commands.push(format!("smalti info {run}"));
        if !self.is_published() && self.form == Form::Run {
            commands.push(format!("smalti eval {run}"));
        }
        let place = "Run these commands in the parent folder of this folder:";
        let commands = commands.join("\n");
        format!("## Use\n\n{}{place}\n\n```sh\n{commands}\n```\n\n", self.with_transformers())
    }

    /// How transformers reads an export; empty for a run.
    fn with_transformers(&self) -> String {
        let Some(task) = self.uses().next().filter(|_| self.form == Form::Export) else {
            return String::new();
        };
        let (class, name) = (task.auto_class(), &self.name);
        format!(
            "```python\nfrom transformers import {class}\n\nmodel = {class}.from_pretrained({name:?})\n```\n\n"
        )
    }

    /// What the model is not known to do.
    pub(super) fn limits(&self) -> String {
        let mut text = "## Limits\n\n".to_string();
        if self.best.is_some() {
            text += "- The metrics are of the validation data by which the weights were chosen, so those of new data may \
                     be worse.\n";
        }
        text += "- The model may have the errors and biases of its data. It was not tested for other uses than those \
                 above.\n";
        for (_, named) in &self.tasks {
            for part in named.task.parts() {
                if let Some(most) = part.capacity().filter(|_| part.tokenizer.name() == "text") {
                    let _ = writeln!(text, "- Texts of `{}` have at most {most} tokens.", part.name);
                }
            }
        }
        text + "\n"
    }

    /// All settings, without paths of this machine.
    pub(super) fn settings(&self) -> Result<String, RunError> {
        let toml: toml::Table = self.run.config().to_toml()?.parse().unwrap_or_default(); // TOML, as it was just written
        let toml = toml::to_string_pretty(&without_paths(toml)).unwrap_or_default();
        let mut fence = "```".to_string();
        while toml.contains(&fence) {
            fence.push('`');
        }
        let command = "`smalti train run.toml` trains with these settings. Local paths are shortened to file names here; \
                       write your own.";
        Ok(format!(
            "## Settings\n\n{command}\n\n<details><summary>run.toml</summary>\n\n{fence}toml\n{toml}{fence}\n\n</details>\n\n"
        ))
    }
}

/// A row of a table.
fn row(cells: Vec<String>) -> String {
    format!("| {} |\n", cells.iter().map(|text| cell(text)).collect::<Vec<_>>().join(" | "))
}

/// A text in a cell of a table.
pub(super) fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_one_line_without_bars() {
        assert_eq!(row(vec!["a|b".into(), "c\nd".into()]), "| a\\|b | c d |\n");
    }
}
