//! The numbers tokenizer: round trips in every form, and errors with the expected and the found value.

use proptest::prelude::*;
use smalti_contract::{
    Array, Content, File, Numbers, TokenizeError, Tokenizer, Tokens, Value, Values, testing,
};
use smalti_numbers::{MuLaw, NumbersConfig, NumbersSettings, NumbersTokenizer, OneOrAll, TokensPer};

fn fitted(settings: NumbersSettings, rows: &[Value]) -> Result<NumbersTokenizer, String> {
    let config = NumbersTokenizer::fit(settings, None, &rows.to_vec()).map_err(|e| e.to_string())?;
    NumbersTokenizer::new(config).map_err(|e| e.to_string())
}

fn vectors(rows: &[&[f32]]) -> Vec<Value> {
    rows.iter().map(|row| Value::vector(row.to_vec())).collect()
}

fn scalars(rows: &[f64]) -> Vec<Value> {
    rows.iter().copied().map(Value::Number).collect()
}

fn settings() -> NumbersSettings {
    NumbersSettings::default()
}

fn ids() -> NumbersSettings {
    NumbersSettings { ids: true, ..settings() }
}

fn each() -> NumbersSettings {
    NumbersSettings { tokens: Some(TokensPer::Each), ..settings() }
}

fn features(tokens: &Tokens) -> &[f32] {
    tokens.groups[0].content.features().unwrap()
}

#[test]
fn every_form_keeps_the_contract() {
    let rows = vectors(&[&[1.0, -200.0, 0.0], &[3.0, 400.0, 0.0], &[2.0, 10.0, 0.0]]);
    let forms = [
        settings(),
        each(),
        NumbersSettings { scale: Some(0.0), ..settings() },
        NumbersSettings { normalize: Some(false), ..settings() },
        NumbersSettings { mu_law: Some(MuLaw::default()), ..settings() },
        NumbersSettings { bins: Some(64), ..settings() },
        NumbersSettings { bins: Some(2), low: Some(OneOrAll::One(-9.0)), ..settings() },
        NumbersSettings { missing_indicators: Some(true), ..settings() },
    ];
    for settings in forms {
        let tokenizer = fitted(settings.clone(), &rows).unwrap();
        let samples = [vec![1.5, 7.0, 0.0], vec![-3.0, 900.0, 2.0], vec![f64::NAN, 1.0, f64::NAN]];
        testing::check(&tokenizer, &samples).unwrap_or_else(|e| panic!("{settings:?}: {e}"));
        let json = serde_json::to_value(&settings).unwrap();
        assert_eq!(serde_json::from_value::<NumbersSettings>(json).unwrap(), settings);
    }
    let actions = fitted(ids(), &scalars(&[0.0, 4.0])).unwrap();
    testing::check(&actions, &[vec![0.0], vec![4.0], vec![f64::NAN]]).unwrap();
    assert_eq!(actions.encode(&vec![3.0]).unwrap().groups[0].content, Content::Ids(vec![3]));
    assert!(Tokenizer::spec(&actions).kinds[0].axes.is_empty(), "a single number needs no position");
}

#[test]
fn statistics_are_per_column() {
    let rows = vectors(&[&[1e9, 5.0, 1e-9], &[1e9 + 65536.0, 5.0, 3e-9]]);
    let NumbersConfig { mean, std, missing_indicators, .. } =
        NumbersTokenizer::fit(settings(), None, &rows).unwrap();
    assert_eq!((mean[1], std[1]), (5.0, 1.0), "a constant column is not scaled");
    assert_eq!((mean[0], std[0], missing_indicators), (1e9 + 32768.0, 32768.0, false));
    assert!((mean[2] - 2e-9).abs() < 1e-15 && (std[2] - 1e-9).abs() < 1e-15);
    let given = NumbersSettings {
        mean: Some(OneOrAll::One(1.0)),
        std: Some(OneOrAll::All(vec![1.0, 2.0, 3.0])),
        ..settings()
    };
    let config = NumbersTokenizer::fit(given, None, &rows).unwrap();
    assert_eq!((config.mean, config.std), (vec![1.0; 3], vec![1.0, 2.0, 3.0]));
    let scaled = NumbersSettings { scale: Some(0.0), ..settings() };
    let config = NumbersTokenizer::fit(scaled, None, &vectors(&[&[-8.0], &[4.0]])).unwrap();
    assert_eq!((config.mean, config.std), (vec![0.0], vec![8.0]), "the maximal magnitude");
}

#[test]
fn a_change_of_a_constant_number_stays_small() {
    let tokenizer = fitted(settings(), &vectors(&[&[0.25, 5.0], &[0.5, 5.0], &[0.75, 5.0]])).unwrap();
    let tokens = tokenizer.encode(&vec![0.5, 5.001]).unwrap();
    assert!((features(&tokens)[1] - 0.001).abs() < 1e-6, "{:?}", features(&tokens));
    // The same, where the number is computed and its last bits differ.
    let rows = vectors(&[&[0.25, 5.0], &[0.5, 5.000_000_5], &[0.75, 4.999_999_5]]);
    let tokens = fitted(settings(), &rows).unwrap().encode(&vec![0.5, 5.001]).unwrap();
    assert!((features(&tokens)[1] - 0.001).abs() < 1e-5, "{:?}", features(&tokens));
}

#[test]
fn times_since_1970_keep_their_milliseconds() {
    let rows = scalars(&[1.7e9, 1.7e9 + 0.002, 1.7e9 + 0.004]);
    let tokenizer = fitted(settings(), &rows).unwrap();
    let tokens = tokenizer.encode(&vec![1.7e9 + 0.003]).unwrap();
    assert!((features(&tokens)[0] - 0.6124).abs() < 1e-3, "{:?}", features(&tokens));
    let Value::Number(back) = tokenizer.write(tokenizer.decode(&tokens).unwrap()).unwrap() else {
        panic!("a number");
    };
    assert!((back - 1.7e9 - 0.003).abs() < 1e-6);
}

#[test]
fn a_missing_number_differs_from_the_mean() {
    let rows = vectors(&[&[1.0, f32::NAN], &[3.0, 8.0], &[2.0, 4.0]]);
    let one = fitted(settings(), &rows).unwrap();
    let tokens = one.encode(&vec![2.0, f64::NAN]).unwrap();
    assert_eq!(features(&tokens), [0.0, 0.0, 0.0, 1.0]);
    let back = one.decode(&tokens).unwrap();
    assert!(back[0] == 2.0 && back[1].is_nan());
    assert_eq!(one.write(vec![f64::NAN; 2]).unwrap(), Value::Missing);
    let tokens = fitted(each(), &rows).unwrap().encode(&vec![f64::NAN, 8.0]).unwrap();
    assert_eq!((tokens.len(), &tokens.groups[0].positions[..]), (1, &[1][..]));

    let without = NumbersSettings { missing_indicators: Some(false), ..settings() };
    let tokens = fitted(without, &rows).unwrap().encode(&vec![3.0, f64::NAN]).unwrap();
    assert_eq!(features(&tokens)[1], 0.0, "the mean");
    assert_eq!(features(&tokens).len(), 2);
}

#[test]
fn numbers_are_read_from_every_type_of_value() {
    let tokenizer = fitted(settings(), &scalars(&[1.0, 2.0])).unwrap();
    let read = |value| tokenizer.read(value).map_err(|e| e.to_string());
    let image = Array { shape: vec![2, 1], numbers: Numbers::U8(vec![3, 4]) };
    let file = File { name: "a.cls".into(), bytes: b"7\n".to_vec() };
    assert_eq!(read(Value::Array(image)).unwrap(), [3.0, 4.0]);
    assert_eq!(read(Value::Text(" -2.5e3 ".into())).unwrap(), [-2500.0]);
    assert_eq!(read(Value::File(file)).unwrap(), [7.0]);
    assert!(read(Value::Number(f64::NAN)).unwrap()[0].is_nan());
    assert_eq!(read(Value::Text("red".into())).unwrap_err(), "expected a number; found the text \"red\"");
    assert_eq!(
        read(Value::Series(vec![])).unwrap_err(),
        "expected a number or an array of numbers; found a series of 0 steps"
    );
    assert_eq!(read(Value::vector(vec![])).unwrap_err(), "expected at least 1 number; found an empty array");
    assert_eq!(
        read(Value::vector([0.0, f32::INFINITY])).unwrap_err(),
        "number 1: expected a finite number, or NaN for a missing one; found inf"
    );
}

#[test]
fn bins_match_gato() {
    // Companded values of 1 and -20 as in `MuLaw`'s own test: bins of (y + 1) / 2 · 1024.
    let raw = NumbersSettings { mu_law: Some(MuLaw::default()), normalize: Some(false), ..settings() };
    let tokenizer = fitted(raw, &vectors(&[&[1.0, 2.0]])).unwrap();
    let ids = |numbers: &[f64]| {
        let tokens = tokenizer.encode(&numbers.to_vec()).unwrap();
        tokens.groups[0].content.ids().unwrap().to_vec()
    };
    assert_eq!(ids(&[1.0, -20.0]), [744, 128]);
    assert_eq!(ids(&[0.0, 1e9]), [512, 1023]);

    let uniform = NumbersSettings {
        bins: Some(4),
        low: Some(OneOrAll::All(vec![0.0, -1.0])),
        high: Some(OneOrAll::One(8.0)),
        ..settings()
    };
    let tokenizer = fitted(uniform, &vectors(&[&[1.0, 2.0]])).unwrap();
    let tokens = tokenizer.encode(&vec![5.9, 99.0]).unwrap();
    assert_eq!(tokens.groups[0].content.ids(), Some(&[2, 3][..]));
    assert_eq!(tokenizer.decode(&tokens).unwrap(), [5.0, 6.875]);
}

#[test]
fn a_run_that_starts_from_another_keeps_its_statistics() {
    let before = NumbersTokenizer::fit(settings(), None, &vectors(&[&[0.0, f32::NAN], &[2.0, 4.0]])).unwrap();
    let rows = vectors(&[&[100.0, 200.0], &[300.0, 500.0]]);
    let kept = NumbersTokenizer::fit(settings(), Some(before.clone()), &rows).unwrap();
    assert_eq!(kept, before);
    let given = NumbersSettings { mean: Some(OneOrAll::One(7.0)), ..settings() };
    let changed = NumbersTokenizer::fit(given, Some(before.clone()), &rows).unwrap();
    assert_eq!((changed.mean, changed.std), (vec![7.0; 2], before.std.clone()));
    let other = NumbersTokenizer::fit(settings(), Some(before), &scalars(&[1.0, 3.0])).unwrap();
    assert_eq!(other.mean, [2.0], "values of another length are fitted again");

    let actions = NumbersTokenizer::fit(ids(), None, &scalars(&[9.0])).unwrap();
    let kept = NumbersTokenizer::fit(ids(), Some(actions.clone()), &scalars(&[1.0])).unwrap();
    assert_eq!(kept, actions);
    let error = NumbersTokenizer::fit(ids(), Some(actions), &scalars(&[1.0, 12.0])).unwrap_err().to_string();
    assert_eq!(error, "numbers: expected ids below n_ids = 10; found 12 in value 1");
}

#[test]
fn invalid_values_are_errors() {
    let error_of =
        |settings: NumbersSettings, rows: &[Value]| fitted(settings, rows).err().expect("an error");
    let error = error_of(settings(), &vectors(&[&[1.0, 2.0], &[1.0]]));
    assert_eq!(
        error,
        "value 1: expected 2 numbers, as in value 0; found 1. Values of different lengths can be a series, or \
         several fields"
    );
    assert_eq!(
        error_of(settings(), &[Value::Missing, Value::Missing]),
        "expected numbers in at least one value; found nothing in 2 values"
    );
    assert_eq!(
        error_of(settings(), &[]),
        "expected numbers in at least one value; found nothing in 0 values"
    );
    let red = [Value::Missing, Value::Text("red".into())];
    assert_eq!(error_of(settings(), &red), "value 1: expected a number; found the text \"red\"");
    let error = error_of(settings(), &vectors(&[&[f32::INFINITY]]));
    assert!(error.starts_with("value 0: number 0: expected a finite number"), "{error}");
    let error = error_of(ids(), &scalars(&[1.0, 0.5]));
    assert_eq!(error, "value 1: number 0: expected an id, a whole number from 0 to 4294967294; found 0.5");
    let error = error_of(ids(), &scalars(&[1e6]));
    assert_eq!(
        error,
        "numbers: expected ids below 65536; found 1000000 in value 0. If it is an id, set n_ids"
    );
    let few = NumbersSettings { n_ids: Some(3), ..ids() };
    let error = error_of(few, &scalars(&[3.0]));
    assert_eq!(error, "numbers: expected ids below n_ids = 3; found 3 in value 0");

    let tokenizer = fitted(ids(), &scalars(&[3.0])).unwrap();
    for wrong in [4.0, -1.0, 0.5] {
        let error = tokenizer.encode(&vec![wrong]).unwrap_err().to_string();
        assert_eq!(error, format!("number 0: expected an id, a whole number from 0 to 3; found {wrong}"));
    }
    let error = tokenizer.encode(&vec![1.0, 2.0]).unwrap_err().to_string();
    assert_eq!(error, "expected 1 numbers; found 2");
}

#[test]
fn conflicting_settings_are_errors() {
    let error_of = |settings: NumbersSettings| fitted(settings, &vectors(&[&[1.0, 2.0]])).err().unwrap();
    assert_eq!(
        error_of(NumbersSettings { mu_law: Some(MuLaw::default()), ..ids() }),
        "numbers: numbers as ids take the settings ids, n_ids; found mu_law"
    );
    assert_eq!(
        error_of(NumbersSettings { n_ids: Some(3), ..settings() }),
        "numbers: numbers as features take the settings tokens, normalize, mean, std, scale, \
         missing_indicators, noise; found n_ids"
    );
    let scale = NumbersSettings { scale: Some(2.0), ..settings() };
    let both = NumbersSettings { std: Some(OneOrAll::One(1.0)), ..scale.clone() };
    assert_eq!(error_of(both), "numbers: expected scale or std; found both");
    let both = NumbersSettings { normalize: Some(true), ..scale };
    assert_eq!(error_of(both), "numbers: expected scale or normalize; found both");
    let short = NumbersSettings { mean: Some(OneOrAll::All(vec![1.0])), ..settings() };
    assert_eq!(
        error_of(short),
        "numbers: mean: expected 2 numbers, as many as a value has, or a single one; found 1"
    );
    let negative = NumbersSettings { scale: Some(-1.0), ..settings() };
    assert_eq!(error_of(negative), "numbers: std: expected positive, finite numbers; found -1");
    let law = NumbersSettings { mu_law: Some(MuLaw { bins: 1, ..MuLaw::default() }), ..settings() };
    assert_eq!(error_of(law), "numbers: mu_law.bins is 1; it must be in 2..=65536");
    let (low, high) = (Some(OneOrAll::One(2.0)), Some(OneOrAll::One(2.0)));
    assert_eq!(
        error_of(NumbersSettings { bins: Some(8), low, high, ..settings() }),
        "numbers: expected low below high in each column; found 2 and 2"
    );
    let whole: NumbersSettings = serde_json::from_str("{\"mean\": 0, \"std\": [1, 2]}").unwrap();
    assert_eq!((whole.mean, whole.std), (Some(OneOrAll::One(0.0)), Some(OneOrAll::All(vec![1.0, 2.0]))));
    let unknown = serde_json::from_str::<NumbersSettings>("{\"normalise\": true}").unwrap_err().to_string();
    assert!(unknown.contains("normalise") && unknown.contains("normalize"), "{unknown}");
}

#[test]
fn invalid_tokens_are_errors() {
    let tokenizer = fitted(each(), &vectors(&[&[1.0, 2.0]])).unwrap();
    let mut repeated = tokenizer.encode(&vec![1.0, 2.0]).unwrap();
    repeated.groups[0].positions = vec![1, 1];
    let error = tokenizer.decode(&repeated).unwrap_err().to_string();
    assert_eq!(error, "expected 1 token of number 1; found 2");
    let tokenizer = fitted(settings(), &scalars(&[1.0])).unwrap();
    let mut none = tokenizer.encode(&vec![1.0]).unwrap();
    let group = &mut none.groups[0];
    group.content = Content::Features { values: vec![], dim: 1 };
    (group.order, group.time) = (vec![], vec![]);
    assert_eq!(tokenizer.decode(&none).unwrap_err().to_string(), "expected 1 token; found 0");
}

#[test]
fn noise_depends_on_the_seed() {
    let rows = vectors(&[&[0.0], &[2.0]]);
    let tokenizer = fitted(NumbersSettings { noise: 0.5, ..settings() }, &rows).unwrap();
    let noisy = |seed| tokenizer.augment(vec![1.0], seed);
    assert_eq!(noisy(1), noisy(1));
    assert_ne!(noisy(1), noisy(2));
    let apart: Vec<f64> = (0..4000).map(|seed| noisy(seed)[0] - 1.0).collect();
    let std = (apart.iter().map(|x| x * x).sum::<f64>() / 4000.0).sqrt();
    assert!((std - 0.5).abs() < 0.03, "{std}");
    assert!(tokenizer.augment(vec![f64::NAN], 1)[0].is_nan());
}

proptest! {
    #[test]
    fn numbers_survive_a_round_trip(
        numbers in prop::collection::vec(prop_oneof![4 => -1e4_f64..1e4, 1 => Just(f64::NAN)], 1..6),
        per_number: bool,
        scale in -30_i32..30,
    ) {
        let numbers: Vec<f64> = numbers.iter().map(|x| x * 10_f64.powi(scale)).collect();
        let vector = |f: fn(f64) -> f64| Value::vector(numbers.iter().map(|&x| f(x) as f32).collect::<Vec<_>>());
        let rows = [vector(|x| x), vector(|x| x * 0.5)];
        let tokenizer = fitted(if per_number { each() } else { settings() }, &rows).unwrap();
        let back = tokenizer.decode(&tokenizer.encode(&numbers).unwrap()).unwrap();
        for (found, number) in back.iter().zip(&numbers) {
            let close = (found - number).abs() <= 1e-5 * number.abs();
            prop_assert!(close || (found.is_nan() && number.is_nan()), "{found} of {number}");
        }
    }

    #[test]
    fn the_error_is_at_most_half_a_bin(number in -3.0_f64..9.0, bins in 2_usize..2000) {
        let tokenizer =
            fitted(NumbersSettings { bins: Some(bins), ..settings() }, &scalars(&[-3.0, 9.0])).unwrap();
        let back = tokenizer.decode(&tokenizer.encode(&vec![number]).unwrap()).unwrap();
        prop_assert!((back[0] - number).abs() <= 6.0 / bins as f64 + 1e-9, "{} of {number}", back[0]);
    }
}

/// Steps of episodes; the first of each has no value.
struct Steps {
    len: usize,
}

impl Values for Steps {
    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize) -> Result<Value, TokenizeError> {
        Ok(if index.is_multiple_of(11) { Value::Missing } else { Value::Number((index % 11) as f64) })
    }
}

#[test]
fn the_values_of_a_fit_are_not_all_of_one_step() {
    let config = NumbersTokenizer::fit(settings(), None, &Steps { len: 2_200_000 }).unwrap();
    assert!((config.mean[0] - 5.5).abs() < 0.1, "{:?}", config.mean);
    assert!((config.std[0] - 2.87).abs() < 0.1, "{:?}", config.std);
}
