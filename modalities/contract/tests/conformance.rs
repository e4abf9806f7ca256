//! The conformance test detects violations, and the registry rejects unknown names and settings.

use serde::{Deserialize, Serialize};
use smalti_contract::testing::{Violation, check};
use smalti_contract::*;

/// A tokenizer of digits, with settings that violate the contract.
struct Digits {
    config: DigitsConfig,
    spec: TokenSpec,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DigitsConfig {
    #[serde(default)]
    shift_on_decode: u32,
    #[serde(default)]
    beyond_vocabulary: bool,
}

impl Tokenizer for Digits {
    const NAME: &'static str = "digits";
    type Settings = DigitsConfig;
    type Config = DigitsConfig;
    type Raw = Vec<u32>;

    fn fit(
        settings: DigitsConfig,
        _before: Option<DigitsConfig>,
        _values: &dyn Values,
    ) -> Result<DigitsConfig, TokenizeError> {
        Ok(settings)
    }

    fn new(config: DigitsConfig) -> Result<Self, TokenizeError> {
        let spec = TokenSpec::single(KindSpec {
            name: "digit".into(),
            content: ContentSpec::Ids { vocabulary: 10 },
            axes: vec![Axis::new("index", 8)],
            time_steps: None,
        });
        Ok(Self { config, spec })
    }
    fn config(&self) -> &DigitsConfig {
        &self.config
    }
    fn spec(&self) -> &TokenSpec {
        &self.spec
    }
    fn read(&self, value: Value) -> Result<Vec<u32>, TokenizeError> {
        Ok(value.into_numbers()?.into_iter().map(|number| number as u32).collect())
    }
    fn raw_inputs<'a>(&'a self, bytes: &'a [u8]) -> RawInputs<'a, Vec<u32>> {
        Box::new(std::iter::once(Ok(bytes.iter().map(|b| u32::from(b - b'0')).collect())))
    }
    fn encode(&self, raw: &Vec<u32>) -> Result<Tokens, TokenizeError> {
        let high = if self.config.beyond_vocabulary { 10 } else { 0 };
        let ids = raw.iter().map(|d| d + high).collect();
        Ok(Tokens::new(vec![Group::sequence(Content::Ids(ids))]))
    }
    fn decode(&self, tokens: &Tokens) -> Result<Vec<u32>, TokenizeError> {
        let ids = tokens.groups[0].content.ids().unwrap_or_default();
        Ok(ids.iter().map(|i| (i + self.config.shift_on_decode) % 10).collect())
    }
}

fn digits(config: DigitsConfig) -> Digits {
    Digits::new(config).unwrap()
}

#[test]
fn a_correct_tokenizer_passes() {
    check(&digits(DigitsConfig::default()), &[vec![1, 2, 3], vec![]]).unwrap();
}

#[test]
fn a_wrong_round_trip_is_detected() {
    let wrong = digits(DigitsConfig { shift_on_decode: 1, ..Default::default() });
    let violation = check(&wrong, &[vec![1, 2]]).unwrap_err();
    assert!(matches!(violation, Violation::Different { what: "decoding and encoding", .. }), "{violation}");
}

#[test]
fn an_id_beyond_the_vocabulary_is_detected() {
    let wrong = digits(DigitsConfig { beyond_vocabulary: true, ..Default::default() });
    let violation = check(&wrong, &[vec![4]]).unwrap_err();
    assert_eq!(violation.to_string(), "sample 0: digit: id 14 at token 0 must be below 10");
}

#[test]
fn a_check_without_samples_fails() {
    assert!(matches!(check(&digits(DigitsConfig::default()), &[]), Err(Violation::NoSamples)));
}

#[test]
fn an_unknown_name_lists_the_registered_ones() {
    let mut registry = Registry::new();
    registry.register::<Digits>().unwrap();
    assert!(matches!(registry.register::<Digits>(), Err(RegistryError::Duplicate("digits"))));
    let error = registry.build("letters", &serde_json::json!({})).err().unwrap();
    assert_eq!(error.to_string(), "no tokenizer is named \"letters\"; known: digits");
    let error = registry.build("digits", &serde_json::json!({"nonsense": 1})).err().unwrap();
    assert!(error.to_string().contains("nonsense"), "{error}");
    let built = registry.build("digits", &serde_json::json!({})).unwrap();
    let tokens: Vec<_> = built.encode_file(b"42", None).collect::<Result<_, _>>().unwrap();
    assert_eq!(tokens[0].groups[0].content.ids(), Some(&[4, 2][..]));
    assert!(matches!(built.encode_any(&"42"), Err(TokenizeError::RawType { .. })));
}
