//! The sections of a card.

use super::places::without_paths;
use super::usage::quoted;
use super::{Facts, Form};
use crate::report::curves::Evaluation;
use crate::report::parameters::parameters;
use crate::run::RunError;
use crate::train::is_count;
use std::fmt::Write;

impl Facts<'_> {
    /// What the model is: tasks, layers, parameters.
    pub(super) fn model(&self) -> String {
        let model = &self.run.config().model;
        let base = self.run.config().card.base_model.as_ref();
        let base = base.map_or(String::new(), |base| format!(" It started from the weights of {base}."));
        let mut text = format!(
            "## Model\n\nA transformer of {} layers, d_model {}, {} \
             [smalti](https://github.com/smalti-rs/smalti).{base}\n\n| task | inputs | outputs |\n| --- | --- | --- |\n",
            model.n_layers + model.n_encoder_layers,
            model.d_model,
            if self.is_published() { "whose published weights were imported into" } else { "trained with" }
        );
        for (entry, _) in &self.tasks {
            let inputs = entry.settings.inputs.iter().map(|(name, of)| format!("{name} ({})", of.modality));
            let outputs = entry.settings.outputs.iter().map(|(name, of)| format!("{name} ({})", of.head));
            text += &row([
                entry.name.clone(),
                inputs.collect::<Vec<_>>().join(", "),
                outputs.collect::<Vec<_>>().join(", "),
            ]);
        }
        text += "\n| part | parameters |\n| --- | ---: |\n";
        parameters(&self.counts)
            .into_iter()
            .for_each(|(part, count)| text += &row([part, count.to_string()]));
        text + "\n"
    }

    /// The data: sources, numbers of samples, licence.
    pub(super) fn data(&self) -> String {
        let license = self.run.config().card.data_license.as_deref().unwrap_or("not stated");
        if self.is_published() {
            return format!("## Data\n\nThe weights are published ones. Licence of the data: {license}.\n\n");
        }
        let mut text =
            "## Data\n\n| task | source | training samples | validation samples |\n| --- | --- | ---: | ---: |\n"
                .to_string();
        for (entry, _) in &self.tasks {
            let counts = self.samples.get(&entry.name).map(|counts| counts.map(|n| n.to_string()));
            let [train, validation] = counts.unwrap_or_default();
            text += &row([entry.name.clone(), Self::sources(entry).join(", "), train, validation]);
        }
        text + &format!("\nLicence of the data: {license}.\n\n")
    }

    /// The metrics of the best evaluation.
    pub(super) fn metrics(&self) -> String {
        let Some(Evaluation { step, metrics }) = &self.best else { return String::new() };
        let mut text = format!(
            "## Metrics\n\nOf the validation data, at step {step}, whose weights these are.\n\n\
             | output | metric | value |\n| --- | --- | ---: |\n"
        );
        for (output, metrics) in metrics {
            for (metric, value) in metrics.iter().filter(|(_, value)| value.is_finite()) {
                let digits = if is_count(metric) { 0 } else { 4 };
                text += &row([output.clone(), metric.clone(), format!("{value:.digits$}")]);
            }
        }
        text + "\n"
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
        commands.extend(self.uses().flat_map(|task| task.commands(&run)));
        commands.push(format!("smalti info {run}"));
        if !self.is_published() && self.form == Form::Run {
            commands.push(format!("smalti eval {run}"));
        }
        let place = "In the folder that holds this one:";
        format!("## Use\n\n{place}\n\n```sh\n{}\n```\n\n", commands.join("\n"))
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
        let mut settings = toml::Value::Table(toml);
        without_paths("", &mut settings);
        let toml = toml::to_string_pretty(&settings).unwrap_or_default();
        let mut fence = "```".to_string();
        while toml.contains(&fence) {
            fence.push('`');
        }
        let command =
            "`smalti train run.toml` trains with them; the paths of data on a disk are names of files here.";
        Ok(format!(
            "## Settings\n\n{command}\n\n<details><summary>run.toml</summary>\n\n{fence}toml\n{toml}{fence}\n\n</details>\n\n"
        ))
    }
}

/// A row of a table.
fn row<const N: usize>(cells: [String; N]) -> String {
    format!("| {} |\n", cells.map(|text| cell(&text)).join(" | "))
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
        assert_eq!(row(["a|b".into(), "c\nd".into()]), "| a\\|b | c d |\n");
    }
}
