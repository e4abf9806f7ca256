//! Registries, several sources, filters, hold-out and derived fields.

use super::*;
use crate::data::testing::folder_of;
use crate::table::{Derivation, Place, SourceError, derive, hold_out, open_all, select};
use indexmap::IndexMap;

/// A table of series: `r` of numbers, `t` of texts; and `x`, a number.
struct Steps;

impl Table for Steps {
    fn name(&self) -> &str {
        "steps"
    }

    fn fields(&self) -> &[String] {
        static FIELDS: std::sync::LazyLock<[String; 3]> =
            std::sync::LazyLock::new(|| ["r", "t", "x"].map(String::from));
        &*FIELDS
    }

    fn len(&self) -> usize {
        1
    }

    fn value(&self, row: usize, field: &str) -> Result<Value, DataError> {
        match field {
            "r" => Ok(Value::Series(numbers(&[1.0, 2.0, 4.0]))),
            "t" => Ok(Value::Series(texts(&["a", "b", "c"]))),
            "x" => Ok(Value::Number(row as f64)),
            _ => Err(crate::table::unknown_field(self, field)),
        }
    }

    fn steps(&self, _row: usize) -> usize {
        3
    }
}

fn derived(kind: &str) -> Result<Arc<dyn Table>, DataError> {
    let fields: IndexMap<String, Derivation> = toml::from_str(&format!("[d]\n{kind}")).unwrap();
    derive(Arc::new(Steps), &fields)
}

#[test]
fn fields_are_derived_from_series() {
    let nan = f64::NAN;
    for (kind, expected) in [
        ("kind = \"return_to_go\"\nfield = \"r\"", numbers(&[7.0, 6.0, 4.0])),
        ("kind = \"return_to_go\"\nfield = \"r\"\ndiscount = 0.5", numbers(&[3.0, 4.0, 4.0])),
        ("kind = \"next\"\nfield = \"r\"", numbers(&[2.0, 4.0, nan])),
        ("kind = \"previous\"\nfield = \"r\"", numbers(&[nan, 1.0, 2.0])),
        ("kind = \"next\"\nfield = \"t\"", texts(&["b", "c", ""])),
        ("kind = \"first\"\nfield = \"r\"", numbers(&[1.0, 0.0, 0.0])),
        ("kind = \"last\"\nfield = \"r\"", numbers(&[0.0, 0.0, 1.0])),
        ("kind = \"step\"\nfield = \"r\"", numbers(&[0.0, 1.0, 2.0])),
    ] {
        let table = derived(kind).unwrap();
        assert_eq!(table.fields(), ["r", "t", "x", "d"]);
        assert_eq!(table.value(0, "d").unwrap(), Value::Series(expected.clone()), "{kind}");
        for (start, end) in [(0, 2), (1, 3), (2, 9), (3, 4), (1, 1)] {
            let window = expected.iter().skip(start).take(end - start).cloned().collect();
            assert_eq!(
                table.window(0, "d", start..end).unwrap(),
                Value::Series(window),
                "{kind} {start}..{end}"
            );
        }
    }
    let total = derived("kind = \"total\"\nfield = \"r\"").unwrap();
    assert_eq!(total.value(0, "d").unwrap(), Value::Number(7.0));
    assert_eq!(select(&*total, "d >= 7").unwrap().unwrap(), [0]);
}

#[test]
fn fields_that_cannot_be_derived_are_errors() {
    let message = |kind: &str, name: &str| {
        let fields: IndexMap<String, Derivation> = toml::from_str(&format!("[{name}]\n{kind}")).unwrap();
        let table = derive(Arc::new(Steps), &fields);
        table.and_then(|table| table.value(0, name)).unwrap_err().to_string()
    };
    assert_eq!(
        message("kind = \"next\"\nfield = \"r\"", "x"),
        "steps: data.derived.x: the table already has a field of this name"
    );
    assert_eq!(message("kind = \"next\"\nfield = \"q\"", "d"), "steps: no field \"q\"; there is r, t, x");
    for kind in ["next", "previous", "return_to_go", "total"] {
        let message = message(&format!("kind = \"{kind}\"\nfield = \"x\""), "d");
        assert!(message.starts_with("steps row 1: field x: expected a series"), "{message}");
    }
    assert!(
        message("kind = \"total\"\nfield = \"t\"", "d").contains("expected a number; found the text \"a\"")
    );
    assert!(toml::from_str::<Derivation>("kind = \"nexT\"\nfield = \"r\"").is_err());
    assert!(toml::from_str::<Derivation>("kind = \"first\"\nfield = \"r\"\nscale = 2").is_err());
}

#[test]
fn several_sources_are_one_table() {
    let folder = folder_of(&[("a.csv", b"x,y\n1,a\n2,b\n"), ("b.csv", b"x,z\n3,c\n")]);
    let json =
        format!("[{:?}, {{\"path\": {:?}, \"weight\": 3}}]", at(&folder, "a.csv"), at(&folder, "b.csv"));
    let sources: Vec<Source> = serde_json::from_str(&json).unwrap();
    let table = open_all(&sources, &SourceRegistry::builtin()).unwrap();
    assert_eq!(
        (table.fields(), table.lanes()),
        (&["x", "y", "z"].map(String::from)[..], vec![(2, 1.0), (1, 3.0)])
    );
    assert_eq!(all(&table, "x"), numbers(&[1.0, 2.0, 3.0]));
    assert_eq!(all(&table, "y"), texts(&["a", "b", ""]));
    assert!(table.location(2).ends_with("b.csv row 1"));
    assert!(table.value(2, "q").is_err());
    assert_eq!(select(&table, "x > 1 & z = c").unwrap().unwrap(), [2]);
    assert_eq!(select(&table, "y != a").unwrap().unwrap(), [1, 2]);
    let unknown = select(&table, "q = 1").unwrap_err();
    assert!(unknown.to_string().ends_with("no field \"q\"; there is x, y, z"), "{unknown}");
    for weight in [0.0, -1.0, f64::NAN] {
        let source = Source { weight, ..sources[0].clone() };
        assert!(open_all(&[source], &SourceRegistry::builtin()).is_err());
    }
}

#[test]
fn a_source_is_a_path_or_a_table_of_known_keys() {
    let source: Source = serde_json::from_str("{\"path\": \"p\", \"layout\": \"rows\"}").unwrap();
    assert_eq!(source, Source { layout: Some("rows".into()), ..Source::new("p") });
    let error =
        serde_json::from_str::<Source>("{\"path\": \"p\", \"lauoyt\": \"rows\"}").unwrap_err().to_string();
    assert!(
        error.contains("unknown field `lauoyt`, expected one of `path`, `layout`, `columns`, `weight`"),
        "{error}"
    );
}

#[test]
fn layouts_are_opened_by_name_and_registered() {
    fn mine(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
        Ok((place.path.ends_with(".steps") || place.is_requested("mine")).then(|| Arc::new(Steps) as _))
    }
    let mut registry = SourceRegistry::builtin();
    registry.register("mine", mine).unwrap();
    assert!(matches!(registry.register("mine", mine), Err(SourceError::Duplicate("mine"))));
    assert!(matches!(registry.register("rows", mine), Err(SourceError::Duplicate("rows"))));
    let folder = folder_of(&[("a.steps", b"1"), ("b.xyz", b"1")]);
    assert_eq!(registry.open(&Source::new(at(&folder, "a.steps"))).unwrap().name(), "steps");
    let message = |source: Source| registry.open(&source).map(|_| ()).unwrap_err().to_string();
    let unknown = message(Source { layout: Some("row".into()), ..Source::new("x") });
    assert!(
        unknown.contains("no layout is named \"row\"; known: ") && unknown.ends_with("text, mine"),
        "{unknown}"
    );
    let none = message(Source::new(at(&folder, "b.xyz")));
    assert!(none.contains("b.xyz: it is in none of the known layouts: "), "{none}");
    let wrong = message(Source { layout: Some("folders".into()), ..Source::new(at(&folder, "")) });
    assert!(
        wrong.contains("expected class folders (class/name.png, split/class/name.png); found no file in one")
    );
    assert!(message(Source::new(" ")).contains("the path is empty"));
}

#[test]
fn the_same_rows_are_held_out_each_time() {
    let (train, held) = hold_out(10, 0.2).unwrap();
    assert_eq!((train.len(), held.len()), (8, 2));
    assert_eq!(hold_out(10, 0.2).unwrap(), (train.clone(), held.clone()));
    let mut all: Vec<u32> = train.into_iter().chain(held).collect();
    all.sort_unstable();
    assert_eq!(all, (0..10).collect::<Vec<u32>>());
    for (n, share) in [(10, 0.0), (10, 1.0), (1, 0.5), (10, f64::NAN)] {
        assert!(hold_out(n, share).is_err());
    }
}
