//! What a task of a run is on the Hugging Face Hub, and the commands that use it.

use crate::config::TaskEntry;
use crate::run::NamedTask;

/// The parts of a task by which its use is known.
pub(super) struct Use<'a> {
    name: &'a str,
    /// The first field and the modality of each input.
    inputs: Vec<(&'a str, &'a str)>,
    /// The head and the modality of the first output.
    head: &'a str,
    modality: &'a str,
    has_series: bool,
    has_actions: bool,
}

impl<'a> Use<'a> {
    pub(super) fn of(entry: &'a TaskEntry, named: &NamedTask) -> Self {
        let inputs = entry.settings.inputs.iter().map(|(name, input)| {
            let field = input.field.as_ref().and_then(|field| field.as_slice().first()).unwrap_or(name);
            (field.as_str(), input.modality.as_str())
        });
        let output = entry.settings.outputs.values().next();
        Self {
            name: &entry.name,
            inputs: inputs.collect(),
            head: output.map_or("", |output| output.head.as_str()),
            modality: output.and_then(|output| output.modality.as_deref()).unwrap_or_default(),
            has_series: named.task.has_series(),
            has_actions: entry.settings.outputs.contains_key("actions"),
        }
    }

    /// The task's name on the Hub; `None` if it is none of theirs.
    pub(super) fn pipeline(&self) -> Option<&'static str> {
        let modalities: Vec<&str> = self.inputs.iter().map(|(_, modality)| *modality).collect();
        if self.has_series {
            return self.has_actions.then_some("reinforcement-learning");
        }
        if !modalities.is_empty() && modalities.iter().all(|modality| *modality == "numbers") {
            return match self.head {
                "classify" => Some("tabular-classification"),
                "regress" => Some("tabular-regression"),
                _ => None,
            };
        }
        match (&modalities[..], self.head) {
            (["image"], "classify" | "multilabel") => Some("image-classification"),
            (["audio"], "classify" | "multilabel") => Some("audio-classification"),
            (["text"], "classify" | "multilabel") => Some("text-classification"),
            (["text"], "tag") => Some("token-classification"),
            (["text"], "represent") => Some("feature-extraction"),
            (["image"], "represent") => Some("image-feature-extraction"),
            ([], "masked") if self.modality == "text" => Some("fill-mask"),
            ([], "generate") if self.modality == "text" => Some("text-generation"),
            (["image"], "generate") if self.modality == "text" => Some("image-to-text"),
            (["audio"], "generate" | "ctc") if self.modality == "text" => {
                Some("automatic-speech-recognition")
            }
            _ => None,
        }
    }

    /// The class of transformers that reads an export of the task.
    pub(super) fn auto_class(&self) -> &'static str {
        match self.pipeline() {
            Some("text-generation") => "AutoModelForCausalLM",
            Some("fill-mask") => "AutoModelForMaskedLM",
            Some("image-classification") => "AutoModelForImageClassification",
            Some("audio-classification") => "AutoModelForAudioClassification",
            Some("text-classification") => "AutoModelForSequenceClassification",
            Some("token-classification") => "AutoModelForTokenClassification",
            Some("automatic-speech-recognition") => "AutoModelForSpeechSeq2Seq",
            _ if self.head == "generate" => "AutoModelForSeq2SeqLM",
            _ => "AutoModel",
        }
    }

    /// Whether the command of this task can use another one: the command takes the first task that it can use.
    fn can_use(&self, other: &Use) -> bool {
        let has_one_input = other.inputs.len() == 1 && !other.has_series;
        match self.pipeline() {
            Some("image-classification" | "audio-classification" | "text-classification") => {
                has_one_input && matches!(other.head, "classify" | "multilabel")
            }
            Some("feature-extraction" | "image-feature-extraction") => has_one_input,
            pipeline => pipeline == other.pipeline(),
        }
    }

    /// The commands that use the task in the run folder `run`, which has these tasks.
    pub(super) fn commands(&self, run: &str, all: &[Use]) -> Vec<String> {
        let first = all.iter().find(|other| self.can_use(other));
        let is_first = first.is_none_or(|first| first.name == self.name);
        let task =
            if self.name.is_empty() { String::new() } else { format!(" --task {}", quoted(self.name)) };
        let row = || {
            let fields = self.inputs.iter().map(|(name, modality)| match *modality {
                "image" => format!("{name}=image.png"),
                "audio" => format!("{name}=clip.wav"),
                "text" => format!("{name}=text"),
                _ => format!("{name}=0.5"),
            });
            fields.map(|field| quoted(&field)).collect::<Vec<_>>().join(" ")
        };
        match self.pipeline().filter(|pipeline| is_first || *pipeline == "reinforcement-learning") {
            Some("reinforcement-learning") => vec![format!("smalti rollout {run}{task} --env \"COMMAND\"")],
            Some("image-classification") => vec![format!("smalti classify {run} image.png")],
            Some("audio-classification") => vec![format!("smalti classify {run} clip.wav")],
            Some("text-classification") => vec![format!("smalti classify {run} --text \"A text.\"")],
            Some("feature-extraction") => vec![format!("smalti embed {run} --text \"A text.\"")],
            Some("image-feature-extraction") => vec![format!("smalti embed {run} image.png")],
            Some("fill-mask") => vec![format!("smalti generate {run} --infill \"A text with a _.\"")],
            _ if self.head == "masked" => vec![],
            Some("text-generation") => vec![format!("smalti generate {run} --prompt \"A text\"")],
            Some("automatic-speech-recognition") => vec![format!("smalti transcribe {run} clip.wav")],
            _ if self.inputs.is_empty() || self.has_series => {
                vec![format!("smalti predict {run} --table rows.csv{task}")]
            }
            _ => vec![
                format!("smalti predict {run}{task} --row {}", row()),
                format!("smalti predict {run}{task} --table rows.csv --out predictions.csv"),
            ],
        }
    }
}

/// A word for a shell.
pub(super) fn quoted(word: &str) -> String {
    // Only before a command is an equals sign special, which `shlex` always quotes.
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "=._-/".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.into();
    }
    shlex::try_quote(word).map_or_else(|_| word.into(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(inputs: &[(&'a str, &'a str)], head: &'a str, modality: &'a str) -> Use<'a> {
        Use { name: "", inputs: inputs.to_vec(), head, modality, has_series: false, has_actions: false }
    }

    #[test]
    fn a_task_has_its_name_on_the_hub_and_its_command() {
        for (task, pipeline, command) in [
            (
                of(&[("image", "image")], "classify", ""),
                Some("image-classification"),
                "smalti classify r image.png",
            ),
            (of(&[], "generate", "text"), Some("text-generation"), "smalti generate r --prompt \"A text\""),
            (of(&[], "masked", "text"), Some("fill-mask"), "smalti generate r --infill \"A text with a _.\""),
            (
                of(&[("x", "numbers")], "regress", ""),
                Some("tabular-regression"),
                "smalti predict r --row x=0.5",
            ),
            (
                of(&[("a", "audio")], "ctc", "text"),
                Some("automatic-speech-recognition"),
                "smalti transcribe r clip.wav",
            ),
            (
                of(&[("image", "image"), ("caption", "text")], "classify", ""),
                None,
                "smalti predict r --row image=image.png caption=text",
            ),
        ] {
            assert_eq!(task.pipeline(), pipeline);
            assert_eq!(task.commands("r", &[])[0], command);
        }
        let policy = Use { name: "pole", has_series: true, has_actions: true, ..of(&[], "classify", "") };
        assert_eq!(policy.commands("r", &[]), ["smalti rollout r --task pole --env \"COMMAND\""]);
    }

    #[test]
    fn only_the_first_task_has_a_command_that_takes_the_first() {
        let named = |name, modality| Use { name, ..of(&[("x", modality)], "classify", "") };
        let all = [named("a", "text"), named("b", "text"), named("c", "image")];
        let commands = |task: usize| all[task].commands("r", &all);
        assert_eq!(commands(0), ["smalti classify r --text \"A text.\""]);
        assert_eq!(commands(1)[0], "smalti predict r --task b --row x=text");
        assert_eq!(commands(2)[0], "smalti predict r --task c --row x=image.png");
    }
}
