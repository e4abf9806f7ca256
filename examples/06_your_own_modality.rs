//! A modality of your own: genes, three letters to a token. This file is a whole program: the `smalti` command line with one
//! more modality, which every command knows.
//!
//! ```text
//! cargo run --release --example 06_your_own_modality -- train examples/tasks/genes.toml --set data.source=genes.csv --out runs/genes
//! cargo run --release --example 06_your_own_modality -- eval runs/genes
//! cargo run --release --example 06_your_own_modality -- predict runs/genes --row gene=ATGGCCTAA
//! ```
//!
//! `tests/suite/your_own_modality.rs` makes the data, trains, resumes, evaluates and predicts.

use serde::{Deserialize, Serialize};
use smalti::contract::{
    Axis, Content, ContentSpec, Group, KindSpec, TokenSpec, TokenizeError, Tokenizer, Tokens, Value, Values,
};
use smalti::registry::Modalities;

fn main() -> std::process::ExitCode {
    smalti::cli::main(Modalities::builtin().with::<GeneTokenizer>())
}

/// DNA in codons: a token for every three letters.
struct GeneTokenizer {
    config: GeneConfig,
    spec: TokenSpec,
}

/// The settings of an input in `run.toml`. Nothing is fitted to data, so a run saves the same type.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GeneConfig {
    /// Maximum number of codons of a gene.
    max_codons: usize,
}

/// The letters; the place of a letter is its digit in an id.
const BASES: &str = "ACGT";

impl Tokenizer for GeneTokenizer {
    const NAME: &'static str = "gene";
    type Settings = GeneConfig;
    type Config = GeneConfig;
    type Raw = String;

    fn fit(
        settings: GeneConfig,
        _before: Option<GeneConfig>,
        _values: &dyn Values,
    ) -> Result<GeneConfig, TokenizeError> {
        Ok(settings)
    }

    fn new(config: GeneConfig) -> Result<Self, TokenizeError> {
        // A model learns a vector for each id, and a vector for each position on each axis.
        let codon = KindSpec {
            name: "codon".into(),
            content: ContentSpec::Ids { vocabulary: 64 },
            axes: vec![Axis::new("index", config.max_codons)],
            time_steps: None,
        };
        Ok(Self { config, spec: TokenSpec::single(codon) })
    }

    fn config(&self) -> &GeneConfig {
        &self.config
    }

    fn spec(&self) -> &TokenSpec {
        &self.spec
    }

    fn read(&self, value: Value) -> Result<String, TokenizeError> {
        value.into_text()
    }

    fn write(&self, gene: String) -> Result<Value, TokenizeError> {
        Ok(Value::Text(gene))
    }

    fn encode(&self, gene: &String) -> Result<Tokens, TokenizeError> {
        let base = |&letter: &u8| BASES.find(char::from(letter)).map(|base| base as u32);
        let id = |codon: &[u8]| match codon {
            [a, b, c] => Some(16 * base(a)? + 4 * base(b)? + base(c)?),
            _ => None,
        };
        let Some(ids) = gene.trim().as_bytes().chunks(3).map(id).collect::<Option<Vec<u32>>>() else {
            let problem = format!("expected a gene, threes of the letters {BASES}; found {gene:?}");
            return Err(TokenizeError::Input(problem));
        };
        let tokens = Tokens::new(vec![Group::sequence(Content::Ids(ids))]);
        self.spec.check(&tokens)?; // fails for more than max_codons
        Ok(tokens)
    }

    fn decode(&self, tokens: &Tokens) -> Result<String, TokenizeError> {
        self.spec.check(tokens)?;
        let ids = tokens.groups.iter().flat_map(|group| group.content.ids().unwrap_or_default());
        let bases = ids.flat_map(|id| [id / 16, id / 4 % 4, id % 4]);
        Ok(bases.filter_map(|base| BASES.chars().nth(base as usize)).collect())
    }
}
