//! The numbers of the tensors that a model reads.

use super::{NameMap, Tensors};
use crate::ops::cpu::storage::Elements;
use crate::pretrained::{Options, PretrainedError};
use crate::train::not_finite;
use candle_core::{DType, Result as TensorResult, Tensor};
use std::collections::BTreeSet;

/// Tensors that an error names; there may be a million.
const NAMED: usize = 10;

impl NameMap {
    /// Check that the published tensors of parameters are finite floating-point numbers, unless `options` allow others, and
    /// convert all tensors to f32.
    ///
    /// # Errors
    /// [`PretrainedError::Tensors`], with the first tensors of other numbers.
    pub fn check_numbers(
        &self,
        file: &str,
        published: Tensors,
        options: &Options,
    ) -> Result<Tensors, PretrainedError> {
        let of_rules = self.rules.iter().flat_map(|rule| rule.theirs.iter().flatten().cloned());
        let of_means = self.means.iter().flat_map(|mean| mean.published());
        let mut problems = BTreeSet::new();
        for name in of_rules.chain(of_means) {
            let Some(tensor) = published.get(&name) else { continue };
            problems.extend(problem(tensor, options)?.map(|problem| format!("{name}: {problem}")));
        }
        if !problems.is_empty() {
            let more = problems.len().saturating_sub(NAMED);
            let mut problems: Vec<String> = problems.into_iter().take(NAMED).collect();
            problems.extend((more > 0).then(|| format!("and {more} more")));
            return Err(PretrainedError::Tensors { file: file.into(), problems: problems.join("; ") });
        }
        let in_f32 = |(name, tensor): (String, Tensor)| Ok((name, tensor.to_dtype(DType::F32)?));
        published.into_iter().map(in_f32).collect()
    }
}

/// The problem of a parameter's numbers; floating-point ones are in f32.
fn problem(tensor: &Tensor, options: &Options) -> TensorResult<Option<String>> {
    if !tensor.dtype().is_float() {
        let problem = "expected floating-point numbers; found integers: export the checkpoint again, or import it as it is with \
                       --allow-integers";
        return Ok((!options.allow_integers).then(|| problem.into()));
    }
    if options.allow_non_finite {
        return Ok(None);
    }
    let found = not_finite(&Elements::of(&tensor.contiguous()?)?);
    Ok(found.map(|found| {
        format!(
            "expected finite numbers; found {found}: the checkpoint is damaged or has diverged; import it as it is with \
             --allow-non-finite"
        )
    }))
}
