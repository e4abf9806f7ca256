//! Tasks composed of inputs and outputs, through the command line and the library.
#![cfg(all(feature = "text", feature = "image", feature = "numbers", feature = "cli"))]

mod errors;
mod runs;
mod samples;

use crate::support::{Ran, ran, smalti};
use smalti::config::RunConfig;
use smalti::data::{DataError, Sample, Stream};
use smalti::registry::Modalities;
use smalti::sample::{Composition, Opened, Start};
use smalti::table::{MemoryTable, Place, Table};
use smalti::task::Task;
use smalti_contract::{Array, Numbers, Row, Value};
use std::sync::Arc;
use tempfile::TempDir;

fn number(number: f64) -> Value {
    Value::Number(number)
}

fn phrase(phrase: &str) -> Value {
    Value::Text(phrase.into())
}

fn row(fields: &[(&str, Value)]) -> Row {
    Row { fields: fields.iter().map(|(name, value)| (name.to_string(), value.clone())).collect() }
}

/// Rows with an image, a number that every other row lacks, a text, a class, and a series of three steps.
fn rows() -> Vec<Row> {
    let one = |i: usize| {
        let image =
            Array { shape: vec![4, 2], numbers: Numbers::U8((0..8).map(|p| (p * i * 5) as u8).collect()) };
        let speed = if i.is_multiple_of(2) { number(i as f64) } else { Value::Missing };
        let steps =
            |scale: f64| Value::Series((0..3).map(|t| number(scale * f64::from(t) + i as f64)).collect());
        row(&[
            ("front", Value::Array(image)),
            ("speed", speed),
            ("goal", phrase(["go left", "go right"][i % 2])),
            ("label", phrase(["cat", "dog", "cow"][i % 3])),
            ("state", steps(0.5)),
            ("action", Value::Series((0..3).map(|t| number(f64::from((t + i as u32) % 2))).collect())),
        ])
    };
    (0..12).map(one).collect()
}

fn memory(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    Ok((place.path == "rows").then(|| Arc::new(MemoryTable::new("rows", rows())) as Arc<dyn Table>))
}

fn modalities() -> Modalities {
    Modalities::builtin().with_source("memory", memory)
}

fn open(parts: &str) -> Result<(Opened, RunConfig), String> {
    let toml = format!(
        "[data]\nsource = {{ path = \"rows\", layout = \"memory\" }}\nholdout = 0.25\ncontext = 3\n{parts}\n\
         [model]\nd_model = 16\nn_layers = 1\nattention.n_heads = 2\n"
    );
    let config = RunConfig::parse("test", &toml, &[]).map_err(|e| e.to_string())?;
    let settings = &config.tasks()[0].settings;
    let opened =
        Composition::open(("", 1.0), settings, &modalities(), Start::New).map_err(|e| e.to_string())?;
    Ok((opened, config))
}

/// The kinds of a sample's main tokens, in order.
fn kinds(opened: &Opened, sample: &Sample) -> Vec<String> {
    let (_, kinds) = opened.task.spec().inputs.iter().find(|(stream, _)| *stream == Stream::Main).unwrap();
    let (_, tokens) = sample.inputs.iter().find(|(stream, _)| *stream == Stream::Main).unwrap();
    let mut placed: Vec<(u32, String)> = vec![];
    for (group, kind) in tokens.groups.iter().zip(kinds) {
        placed.extend(group.order.iter().map(|&order| (order, kind.name.clone())));
    }
    placed.sort();
    assert!(placed.iter().enumerate().all(|(i, (order, _))| *order == i as u32), "orders are 0, 1, …");
    placed.into_iter().map(|(_, name)| name).collect()
}

const PARTS: &str = "[inputs.front]\nmodality = \"image\"\npatch_size = 2\n[inputs.speed]\nmodality = \"numbers\"\n\
                     [outputs.label]\nhead = \"classify\"\n[outputs.goal]\nhead = \"generate\"\nmodality = \"text\"\ncontext = 16\n";

/// A folder with a table that a run learns in seconds: which of two words is longer, and by how much.
struct Words(TempDir);

impl Words {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let words = ["a", "bee", "camel", "donkeys", "elephants"];
        let mut csv = String::from("first,second,longer,by\n");
        for i in 0..60 {
            let (first, second) = (words[i % 5], words[(i * 7 + 3) % 5]);
            let by = first.len() as i32 - second.len() as i32;
            csv += &format!("{first},{second},{},{by}\n", if by > 0 { "first" } else { "second" });
        }
        std::fs::write(folder.path().join("words.csv"), csv).unwrap();
        let task = "[data]\nsource = \"words.csv\"\n[inputs.first]\nmodality = \"text\"\ncontext = 12\n\
                    [inputs.second]\nmodality = \"text\"\nshare = \"first\"\n[outputs.longer]\nhead = \"classify\"\n\
                    [outputs.by]\nhead = \"regress\"\nweight = 0.5\n[train]\nmax_steps = 40\nbatch_size = 8\nlearning_rate = 3e-3\n\
                    eval_every = 20\n";
        std::fs::write(folder.path().join("words.toml"), task).unwrap();
        Self(folder)
    }

    fn run(&self, line: &str) -> Ran {
        ran(smalti(self.0.path()), line)
    }

    fn works(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(0), "smalti {line}\n{}", ran.err);
        ran.out
    }

    fn json(&self, line: &str) -> serde_json::Value {
        serde_json::from_str(&self.works(&format!("{line} --json"))).unwrap()
    }

    fn fails(&self, line: &str, with: &[&str]) {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(1), "smalti {line}\n{}", ran.err);
        for part in with {
            assert!(ran.err.contains(part), "smalti {line}: expected {part:?} in\n{}", ran.err);
        }
    }
}
