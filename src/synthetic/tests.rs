use super::*;
use smalti_contract::Value;
use std::collections::{HashMap, HashSet};

fn of(kind: &str, settings: &str) -> SyntheticTable {
    table(kind, settings.parse().unwrap()).unwrap_or_else(|error| panic!("{kind} {settings}: {error}"))
}

fn refused(kind: &str, settings: &str) -> String {
    match table(kind, settings.parse().unwrap()) {
        Err(error) => error.to_string(),
        Ok(table) => panic!("{kind} {settings}: {} rows", table.len()),
    }
}

fn text(table: &SyntheticTable, row: usize, field: &str) -> String {
    match table.value(row, field).unwrap() {
        Value::Text(text) => text,
        other => panic!("{field} of row {row} is {other:?}"),
    }
}

fn numbers(value: &Value) -> Vec<f32> {
    match value {
        Value::Number(number) => vec![*number as f32],
        Value::Array(array) => array.to_f32(),
        Value::Series(steps) => steps.iter().flat_map(numbers).collect(),
        other => panic!("{other:?} has no numbers"),
    }
}

/// The texts of a field in all rows.
fn texts(table: &SyntheticTable, field: &str) -> Vec<String> {
    (0..table.len()).map(|row| text(table, row, field)).collect()
}

const SMALL: &str = "train = 200\nvalidation = 50\ntest = 50\n";

#[test]
fn every_kind_has_rows_with_its_fields_in_three_splits() {
    for kind in kinds() {
        let table = of(kind.name, SMALL);
        assert_eq!(table.len(), 300, "{}", kind.name);
        assert_eq!(table.fields(), [kind.fields, &["split"]].concat());
        for field in table.fields() {
            assert!(!table.value(7, field).unwrap().is_missing(), "{}: {field}", kind.name);
        }
        let splits: Vec<String> = texts(&table, "split");
        let count = |split: &str| splits.iter().filter(|found| *found == split).count();
        assert_eq!(["train", "validation", "test"].map(count), [200, 50, 50]);
    }
}

#[test]
fn no_row_is_in_two_splits() {
    for (kind, settings) in [
        ("addition", "digits = 2"),
        ("captions", "image_size = 8"),
        ("captions", "subject = \"digits\""),
        ("dates", "first_year = 2000\nlast_year = 2001"),
        ("listops", "max_length = 8"),
        ("number-words", "max_digits = 3"),
        ("preferences", ""),
        ("recall", "vocabulary = 8\npairs = 2\nlength = 8"),
        ("regression", ""),
    ] {
        let table = of(kind, &format!("{SMALL}{settings}"));
        let first = &table.fields()[0];
        let mut split_of = HashMap::new();
        for row in 0..table.len() {
            let split = text(&table, row, "split");
            let value = format!("{:?}", table.value(row, first).unwrap());
            let other = split_of.insert(value.clone(), split.clone());
            assert!(other.as_ref().is_none_or(|other| *other == split), "{kind}: {value} is in {other:?}");
        }
    }
}

#[test]
fn a_seed_gives_the_same_rows_in_any_order_and_another_seed_others() {
    for kind in kinds() {
        let (one, same, other) =
            (of(kind.name, SMALL), of(kind.name, SMALL), of(kind.name, &format!("{SMALL}seed = 1")));
        let first = &one.fields()[0];
        let all = |table: &SyntheticTable, rows: &mut dyn Iterator<Item = usize>| -> Vec<Value> {
            rows.map(|row| table.value(row, first).unwrap()).collect()
        };
        let mut backwards = all(&same, &mut (0..300).rev());
        backwards.reverse();
        assert_eq!(all(&one, &mut (0..300)), backwards, "{}", kind.name);
        assert_ne!(all(&one, &mut (0..300)), all(&other, &mut (0..300)), "{}", kind.name);
    }
}

#[test]
fn every_sum_is_right_and_no_question_repeats() {
    let forms = ["plain", "reversed", "scratchpad"];
    for (form, zero_pad) in forms.into_iter().flat_map(|form| [(form, false), (form, true)]) {
        let table = of("addition", &format!("{SMALL}form = \"{form}\"\nzero_pad = {zero_pad}"));
        assert_eq!(texts(&table, "question").iter().collect::<HashSet<_>>().len(), 300);
        for row in 0..table.len() {
            let (question, answer) = (text(&table, row, "question"), text(&table, row, "answer"));
            let (a, b) = question.trim_end_matches('=').split_once('+').unwrap();
            let sum: u64 = a.parse::<u64>().unwrap() + b.parse::<u64>().unwrap();
            let found: String = match form {
                "reversed" => answer.chars().rev().collect(),
                _ => answer.rsplit(';').next().unwrap().into(),
            };
            assert_eq!(found.len(), if zero_pad { 4 } else { sum.to_string().len() }, "{question}{answer}");
            assert_eq!(found.parse::<u64>(), Ok(sum), "{question}{answer}");
            assert_eq!(text(&table, row, "text"), format!("{question}{answer}"));
        }
    }
}

#[test]
fn all_sums_of_one_digit_can_be_drawn_and_not_one_more() {
    let table = of("addition", "digits = 1\ntrain = 80\nvalidation = 10\ntest = 10");
    assert_eq!(texts(&table, "question").iter().collect::<HashSet<_>>().len(), 100);
    let message = refused("addition", "digits = 1\ntrain = 80\nvalidation = 11\ntest = 10");
    assert_eq!(
        message,
        "train + validation + test: expected at most 100, the number of different rows with these settings; found 101 (from addition)"
    );
}

#[test]
fn an_aligned_date_reads_as_its_iso_date() {
    let table = of("dates", SMALL);
    for row in 0..table.len() {
        let (human, iso) = (text(&table, row, "human"), text(&table, row, "iso"));
        let alignment = numbers(&table.value(row, "alignment").unwrap());
        for (sign, at) in iso.chars().zip(alignment.chunks_exact(2)) {
            let part = &human[at[0] as usize..at[1] as usize];
            let is_right = match part {
                "" => sign == '-' || sign == '0',
                digit if digit.len() == 1 => digit == sign.to_string(),
                month => month.chars().all(char::is_alphabetic),
            };
            assert!(is_right, "{human}: {sign} of {iso} is aligned to {part:?}");
        }
    }
}

#[test]
fn the_target_of_a_query_is_the_value_after_its_key() {
    for settings in ["", "vocabulary = 64\npairs = 16\nlength = 64"] {
        let table = of("recall", &format!("{SMALL}{settings}"));
        for row in 0..table.len() {
            let (text, targets) = (text(&table, row, "text"), text(&table, row, "targets"));
            let words: Vec<&str> = text.split(' ').collect();
            let targets: Vec<&str> = targets.split(' ').collect();
            assert_eq!((words.len(), targets.len()), (64, 64));
            let queries: Vec<usize> = (0..64).filter(|place| targets[*place] != "_").collect();
            assert_eq!(queries.len(), if settings.is_empty() { 4 } else { 16 });
            for query in queries {
                let key = words.iter().position(|word| *word == words[query]).unwrap();
                assert!(key < query && words[query].starts_with('k'), "{text}");
                assert_eq!(words[key + 1], targets[query], "{text}");
            }
        }
    }
}

#[test]
fn a_gap_parts_the_pairs_of_recall_from_their_keys_and_a_scratchpad_carries_them() {
    let table = of("recall", &format!("{SMALL}gap = 48"));
    for row in 0..table.len() {
        let field =
            |name: &str| -> Vec<String> { text(&table, row, name).split(' ').map(String::from).collect() };
        let (words, targets, scratchpad) = (field("text"), field("targets"), field("scratchpad"));
        assert!(targets[..56].iter().all(|target| target == "_"));
        for (place, target) in targets.iter().enumerate() {
            if target != "_" {
                assert_eq!(scratchpad[place..place + 2], [words[place].clone(), target.clone()]);
            } else if place < 56 {
                assert_eq!(scratchpad[place], words[place % 8], "{scratchpad:?}");
            }
        }
    }
}

/// The result of the expression at the start of some tokens, computed on its own, and the number of its tokens.
fn evaluate(tokens: &[&str]) -> (usize, usize) {
    let Some(operator) = tokens[0].strip_prefix('[') else { return (tokens[0].parse().unwrap(), 1) };
    let (mut args, mut at) = (vec![], 1);
    while tokens[at] != "]" {
        let (arg, n) = evaluate(&tokens[at..]);
        args.push(arg);
        at += n;
    }
    assert!(args.len() > 1);
    args.sort_unstable();
    let result = match operator {
        "MAX" => *args.iter().max().unwrap(),
        "MIN" => *args.iter().min().unwrap(),
        "MED" => (args[(args.len() - 1) / 2] + args[args.len() / 2]) / 2,
        "SM" => args.iter().sum::<usize>() % 10,
        other => panic!("{other}"),
    };
    (result, at + 1)
}

#[test]
fn the_label_of_an_expression_is_its_result() {
    let table = of("listops", &format!("{SMALL}min_length = 10\nmax_length = 100"));
    let mut labels = HashSet::new();
    for row in 0..table.len() {
        let (text, label) = (text(&table, row, "text"), text(&table, row, "label"));
        let tokens: Vec<&str> = text.split(' ').collect();
        assert_eq!(evaluate(&tokens), (label.parse().unwrap(), tokens.len()), "{text}");
        assert!((10..=100).contains(&tokens.len()), "{text}");
        assert_eq!(table.value(row, "length").unwrap(), Value::Number(tokens.len() as f64));
        labels.insert(label);
    }
    assert_eq!(labels.len(), 10);
}

#[test]
fn each_y_is_the_product_of_its_x_and_the_weights() {
    for (settings, deviation) in [("", 0.0), ("noise = 0.5\ninputs = \"uniform\"", 0.5)] {
        let table = of("regression", &format!("{SMALL}{settings}"));
        let (mut squares, mut count) = (0.0, 0.0);
        for row in 0..table.len() {
            let value = |field: &str| numbers(&table.value(row, field).unwrap());
            let (x, y, weights, pairs) = (value("x"), value("y"), value("weights"), value("pairs"));
            assert_eq!((x.len(), y.len(), weights.len(), pairs.len()), (55, 11, 5, 66));
            assert_eq!(table.steps(row), 11);
            for (place, (point, y)) in x.chunks_exact(5).zip(&y).enumerate() {
                let product: f32 = point.iter().zip(&weights).map(|(x, w)| x * w).sum();
                squares += f64::from(y - product).powi(2);
                count += 1.0;
                let pair = &pairs[6 * place..][..6];
                assert_eq!(pair[..5], *point);
                assert_eq!(pair[5], if place < 10 { *y } else { 0.0 });
            }
            assert_eq!(value("target"), y[10..]);
            let (squares, ridge) = (value("least_squares"), value("ridge"));
            assert_eq!([squares[0], ridge[0], value("nearest")[0], value("nearest")[1] - y[0]], [0.0; 4]);
            if deviation == 0.0 {
                assert_eq!(squares, ridge);
                let missed = |place: usize| (squares[place] - y[place]).abs() > 1e-2 * (1.0 + y[place].abs());
                assert!(!(5..11).any(missed), "{squares:?} and {y:?}: five points determine five weights");
            }
        }
        let found = f64::sqrt(squares / count);
        assert!((found - deviation).abs() < 0.02, "{found}");
    }
}

#[test]
fn one_step_of_gradient_descent_explains_what_its_expected_error_says() {
    let table = of("regression", &format!("{SMALL}points = 11\ndims = 10\ninputs = \"uniform\""));
    let (mut error, mut all) = (0.0, 0.0);
    for row in 0..table.len() {
        let value = |field: &str| f64::from(numbers(&table.value(row, field).unwrap())[0]);
        error += (value("target") - value("one_step")).powi(2);
        all += value("target").powi(2);
    }
    // (d − 33.3² / 220) / d of the square of y is left, by 300 rows.
    assert!((error / all - 0.495).abs() < 0.15, "{}", error / all);
}

#[test]
fn a_chosen_line_follows_the_wish_and_a_rejected_one_does_not() {
    let table = of("preferences", SMALL);
    for row in 0..table.len() {
        let length = |field: &str| text(&table, row, field).chars().count();
        assert!(2 * length("chosen") <= length("rejected"));
    }
    let table = of("preferences", &format!("{SMALL}wish = \"without_letter\""));
    for row in 0..table.len() {
        let has_letter = |field: &str| text(&table, row, field).to_lowercase().contains('e');
        assert_eq!((has_letter("chosen"), has_letter("rejected")), (false, true));
    }
}

#[test]
fn an_image_has_the_colour_of_its_caption_and_nothing_else() {
    for subject in ["shapes", "digits"] {
        let table = of("captions", &format!("{SMALL}subject = \"{subject}\""));
        for row in 0..table.len() {
            let (caption, label) = (text(&table, row, "caption"), text(&table, row, "label"));
            assert!(caption.ends_with(&label));
            let image = table.value(row, "image").unwrap();
            let Value::Array(array) = &image else { panic!("{image:?}") };
            assert_eq!(array.shape, [16, 16, 3]);
            let brightest =
                |part: usize| numbers(&image).chunks_exact(3).map(|rgb| rgb[part]).fold(0.0, f32::max);
            let [red, green, blue] = [0, 1, 2].map(brightest).map(|part| part > 127.0);
            let colour = match (red, green, blue) {
                (true, false, false) => "red",
                (false, true, false) => "green",
                (false, false, true) => "blue",
                (true, true, false) => "yellow",
                (true, false, true) => "purple",
                (true, true, true) => "white",
                _ => "no",
            };
            assert!(caption.contains(&format!(" {colour} ")), "{caption}: {colour} pixels");
        }
    }
}

/// A message without the default that it gives as an example.
fn without_example(message: &str) -> String {
    let cut =
        message.split_once(", such as ").and_then(|(before, rest)| Some((before, rest.find(';')?, rest)));
    cut.map_or(message.into(), |(before, end, rest)| format!("{before}{}", &rest[end..]))
}

#[test]
fn a_wrong_setting_is_named_with_what_was_expected() {
    for (kind, settings, expected) in [
        ("addition", "digits = 10", "digits: expected a whole number from 1 to 9; found 10 (from addition)"),
        ("addition", "form = \"long\"", "form: expected one of plain, reversed, scratchpad; found \"long\""),
        ("addition", "digit = 3", "unknown field `digit`, expected one of `digits`, `form`, `zero_pad`"),
        (
            "addition",
            "train = 100000000",
            "train: expected a whole number from 0 to 10000000; found 100000000",
        ),
        ("addition", "train = 0\nvalidation = 0\ntest = 0", "expected 1 row or more; found 0"),
        ("addition", "seed = -1", "seed: expected a whole number"),
        ("dates", "first_year = 2100", "first_year: expected at most last_year = 2099; found 2100"),
        ("dates", "first_year = 2099", "expected at most 365"),
        ("listops", "min_length = 65", "min_length: expected at most max_length = 64; found 65"),
        ("listops", "min_length = 60\nmax_depth = 1", "expected fewer rows, or other settings"),
        ("number-words", "min_digits = 7", "min_digits: expected at most max_digits = 6; found 7"),
        ("preferences", "text = \"no-such.txt\"", "no-such.txt: not found"),
        ("preferences", "letter = \"\"", "letter: expected one character; found \"\""),
        ("preferences", "min_length = 121", "min_length: expected at most max_length = 120; found 121"),
        ("recall", "vocabulary = 7", "vocabulary: expected an even number; found 7"),
        ("recall", "vocabulary = 6", "pairs: expected at most 3, half of the vocabulary; found 4"),
        (
            "recall",
            "length = 14",
            "length: expected an even number from 16, four words for each pair; found 14",
        ),
        (
            "recall",
            "gap = 50",
            "gap: expected an even number up to 48, which leaves a place for each key; found 50",
        ),
        ("recall", "gap = 1", "gap: expected an even number up to 48"),
        ("regression", "noise = -0.5", "noise: expected a number from 0 to 1000000; found -0.5"),
        ("regression", "ridge = -1.0", "ridge: expected a number from 0 to 1000000; found -1"),
        ("regression", "points = 4096\ndims = 1024", "points * dims: expected at most 262144; found 4194304"),
        ("sums", "", "generated data: no kind \"sums\"; there is addition, captions, dates"),
    ] {
        let message = without_example(&refused(kind, settings));
        assert!(message.contains(expected), "{kind} {settings}\nexpected {expected:?} in: {message}");
    }
}
