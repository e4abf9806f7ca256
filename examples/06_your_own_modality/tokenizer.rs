//! How a gene becomes tokens. This could be a crate of its own: it needs `smalti-contract` alone.

use serde::{Deserialize, Serialize};
use smalti_contract::{
    Axis, Content, ContentSpec, Group, KindSpec, Records, TokenSpec, TokenizeError, Tokenizer, Tokens, Value,
    Values,
};

/// DNA in codons, as a cell reads it: a token for every three letters.
pub struct GeneTokenizer {
    config: GeneConfig,
    spec: TokenSpec,
}

/// What is saved with a run, and restored from it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneConfig {
    /// The most codons of a gene.
    pub max_codons: usize,
}

/// The letters, by what each adds to an id.
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
        if config.max_codons == 0 {
            let problem = "max_codons must be at least 1; found 0".into();
            return Err(TokenizeError::Config { tokenizer: Self::NAME, problem });
        }
        // A model learns a vector for each id, and one for each place on each axis.
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

    /// A file holds a gene a line, and lines that begin with `>` name them (FASTA).
    fn records<'a>(&'a self, bytes: &'a [u8]) -> Records<'a, String> {
        let lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
        let genes = lines.filter(|line| !line.is_empty() && !line.starts_with(b">"));
        Box::new(genes.map(|gene| {
            let failed = |e: std::str::Utf8Error| e.to_string();
            let gene = std::str::from_utf8(gene).map_err(failed);
            gene.map(String::from).map_err(|problem| TokenizeError::Format { format: "FASTA", problem })
        }))
    }

    fn encode(&self, gene: &String) -> Result<Tokens, TokenizeError> {
        let base = |&letter: &u8| BASES.find(char::from(letter)).map(|base| base as u32);
        let id = |codon: &[u8]| match codon {
            [a, b, c] => Some(16 * base(a)? + 4 * base(b)? + base(c)?),
            _ => None,
        };
        let Some(ids) = gene.as_bytes().chunks(3).map(id).collect::<Option<Vec<u32>>>() else {
            return Err(TokenizeError::Input(format!(
                "a gene is threes of the letters {BASES}; found {gene:?}"
            )));
        };
        let tokens = Tokens::new(vec![Group::sequence(Content::Ids(ids))]);
        self.spec.check(&tokens)?; // refuses more than max_codons
        Ok(tokens)
    }

    fn decode(&self, tokens: &Tokens) -> Result<String, TokenizeError> {
        self.spec.check(tokens)?;
        let ids = tokens.groups.iter().flat_map(|group| group.content.ids().unwrap_or_default());
        let bases = ids.flat_map(|id| [id / 16, id / 4 % 4, id % 4]);
        Ok(bases.filter_map(|base| BASES.chars().nth(base as usize)).collect())
    }
}
