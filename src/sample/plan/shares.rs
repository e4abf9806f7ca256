//! Resolves which parts share a vocabulary.

use super::{FindOtherTaskPart, OtherTaskPart, Plan, PlannedPart};
use crate::sample::OpenError;
use crate::sample::settings::TaskSettings;

impl Plan {
    /// Resolves `share`: the part, or the part of another task, whose vocabulary a part uses.
    pub(super) fn resolve_shares(
        &mut self,
        settings: &TaskSettings,
        find_other: FindOtherTaskPart,
    ) -> Result<(), OpenError> {
        let inputs = settings.inputs.iter().map(|(name, input)| (name, &input.share));
        let outputs = settings.outputs.iter().map(|(name, output)| (name, &output.share));
        for (name, share) in inputs.chain(outputs) {
            let Some(wanted) = share else { continue };
            let place = |name: &str| self.parts.iter().position(|part| part.name == name);
            let setting = |part: Option<&PlannedPart>| {
                format!("{}.share", part.map_or_else(|| name.clone(), PlannedPart::key))
            };
            let (part, other) = (place(name), place(wanted));
            let refuse =
                |problem| Err(OpenError::Setting { setting: setting(part.map(|p| &self.parts[p])), problem });
            if let (Some(part), None, Some(tokenizer)) = (part, other, find_other(name, wanted)) {
                let part = &mut self.parts[part];
                if !part.modality.is_empty() && part.modality != tokenizer.tokenizer {
                    let (here, there) = (&part.modality, &tokenizer.tokenizer);
                    let problem = format!("expected modality {there}, which {wanted} has; found {here}");
                    return Err(OpenError::Setting { setting: setting(Some(part)), problem });
                }
                part.modality = tokenizer.tokenizer.clone();
                part.other_task_part = Some(OtherTaskPart { name: wanted.clone(), tokenizer });
                continue;
            }
            let (Some(part), Some(other)) = (part, other.filter(|other| Some(*other) != part)) else {
                return refuse(format!(
                    "no other part with tokens is named {wanted:?}; the parts are {}",
                    self.names()
                ));
            };
            let (here, there) = (&self.parts[part], &self.parts[other]);
            if !here.modality.is_empty() && here.modality != there.modality {
                return refuse(format!(
                    "expected modality {}, which {wanted} has; found {}",
                    there.modality, here.modality
                ));
            }
            if !here.settings.is_empty() && here.settings != there.settings {
                return refuse(format!(
                    "the vocabulary and its settings are those of {wanted}; remove the settings of this part"
                ));
            }
            if here.series != there.series || !here.feedback {
                return refuse(format!(
                    "expected two parts with tokens, both series or neither, to share an embedding; {wanted} differs"
                ));
            }
            if there.modality.is_empty() || there.share.is_some() {
                return refuse(format!("{wanted} itself shares another part's vocabulary; name that part"));
            }
            let (modality, settings) = (there.modality.clone(), there.settings.clone());
            let part = &mut self.parts[part];
            (part.modality, part.settings, part.share) = (modality, settings, Some(other));
        }
        Ok(())
    }
}
