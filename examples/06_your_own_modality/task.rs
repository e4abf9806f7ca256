//! What is asked of a gene: can it be read to its end? The task, and the data that it learns from.

use crate::tokenizer::{GeneConfig, GeneTokenizer};
use smalti::data::{DataError, Dataset, Sample, Stream, Target};
use smalti::head::{Classify, HeadSpec};
use smalti::random;
use smalti::rules::Rule;
use smalti::task::{READOUT, Task, TaskSpec, readout_kind, readout_tokens};
use smalti_contract::{AnyTokenizer, TokenizeError, Tokenizer};
use std::sync::Arc;

/// Whether reading stops before the end of a gene.
pub struct StopsEarly {
    pub tokenizer: GeneTokenizer,
    spec: TaskSpec,
}

/// Where a cell stops reading. The model is not told.
const STOP_CODONS: [&[u8]; 3] = [b"TAA", b"TAG", b"TGA"];
/// Of every gene here.
pub const CODONS: usize = 16;

impl StopsEarly {
    pub fn new() -> Result<Self, TokenizeError> {
        let tokenizer = GeneTokenizer::new(GeneConfig { max_codons: CODONS })?;
        // A readout token comes after the codons and attends to them all; the head reads it.
        let kinds = vec![Tokenizer::spec(&tokenizer).kinds[0].clone(), readout_kind(1)];
        let pairs = [("codon", "codon"), (READOUT, "codon"), (READOUT, READOUT)];
        let spec = TaskSpec {
            name: "genes".into(),
            inputs: vec![(Stream::Main, kinds)],
            rules: pairs.map(|(query, key)| (query.into(), key.into(), Rule::ALL)).to_vec(),
            heads: vec![HeadSpec::new("", READOUT, Classify::numbered(2))],
            loss_weight: 1.0,
            shares: vec![],
        };
        Ok(Self { tokenizer, spec })
    }

    /// A gene as the model reads it.
    pub fn sample(&self, gene: &String, target: Target, id: u64) -> Result<Sample, TokenizeError> {
        let tokens = self.tokenizer.encode(gene)?.merge(readout_tokens(1));
        Ok(Sample { inputs: vec![(Stream::Main, tokens)], outputs: vec![target.into()], id })
    }
}

impl Task for StopsEarly {
    fn spec(&self) -> &TaskSpec {
        &self.spec
    }

    fn tokenizers(&self) -> Vec<(&'static str, &dyn AnyTokenizer)> {
        vec![("gene", &self.tokenizer)]
    }
}

/// Random letters. About half of these genes have a stop codon.
pub struct RandomGenes(pub Arc<StopsEarly>);

impl Dataset for RandomGenes {
    fn len(&self) -> usize {
        1000
    }

    /// With a seed another gene each time, as training wants it; without, always the same. There are so many
    /// that no gene is ever seen twice.
    fn sample(&self, index: usize, seed: Option<u64>) -> Result<Sample, DataError> {
        let generator = &mut random::generator(seed.unwrap_or(index as u64));
        let gene: String =
            (0..3 * CODONS).map(|_| ['A', 'C', 'G', 'T'][random::below(generator, 4)]).collect();
        let stops = gene.as_bytes().chunks(3).any(|codon| STOP_CODONS.contains(&codon));
        let sample = self.0.sample(&gene, Target::class(stops.into()), index as u64);
        sample.map_err(|e| DataError::tokenize(&gene, e))
    }
}
