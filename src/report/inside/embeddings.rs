//! The learned vectors of a model in two dimensions: tokens, types, classes and positions.

use super::InsideError;
use super::reduce::{neighbourhoods, principal};
use crate::model::Model;
use crate::report::chart::{Chart, Matrices, Spot};
use crate::report::figure;
use crate::report::html::Html;
use crate::report::parts;
use crate::sample::{Composition, Part};
use crate::task::joined;
use candle_core::{DType, Tensor};
use smalti_contract::KindSpec;
use std::ops::Range;

/// The most vectors of principal components, and of t-SNE; and the fewest.
const MOST: usize = 2000;
const MOST_TSNE: usize = 1000;
const FEWEST: usize = 3;
/// The most places whose positions are compared, as a map for each.
const MOST_MAPS: usize = 256;
/// The seed of the directions from which components are found.
const SEED: u64 = 1337;

/// Vectors of one table.
struct Table {
    /// What they are: `embeddings of text.character`.
    name: String,
    vectors: Tensor,
    labels: Vec<String>,
    /// Of positions, the number of columns of their grid.
    columns: Option<usize>,
}

/// The embeddings of a model with these tasks; `None` for a model without a table of at least 3 vectors.
pub(super) fn body(model: &Model, tasks: &[&Composition]) -> Result<Html, InsideError> {
    let mut body = Html::new();
    for table in tables(model, tasks)? {
        add(&table, &mut body)?;
    }
    Ok(body)
}

/// All tables, each once, although kinds may share them.
fn tables(model: &Model, tasks: &[&Composition]) -> Result<Vec<Table>, InsideError> {
    let (mut tables, mut seen): (Vec<Table>, Vec<Range<usize>>) = (vec![], vec![]);
    for (number, kind) in model.kinds().iter().enumerate() {
        let parameters = model.embedding_parameters(number);
        if !parameters.is_empty() && seen.contains(&parameters) {
            continue;
        }
        seen.push(parameters);
        if let Some(vectors) = model.token_embeddings(number) {
            let part = part_of(model, tasks, number);
            let label = |id: usize| part.map_or(id.to_string(), |part| parts::label_of(part, id as u32));
            let n = vectors.dim(0)?.min(MOST);
            let (name, labels) = (format!("embeddings of {}", kind.name), (0..n).map(label).collect());
            tables.push(Table { name, vectors: vectors.clone(), labels, columns: None });
        }
        if let Some(vectors) = model.positions(number)? {
            let labels = (0..vectors.dim(0)?.min(MOST)).map(|place| position(kind, place)).collect();
            tables.push(Table {
                name: format!("positions of {}", kind.name),
                vectors,
                labels,
                columns: Some(kind.axes.last().map_or(1, |axis| axis.size.max(1))),
            });
        }
    }
    if let Some(types) = model.type_embeddings() {
        let labels = model.kinds().iter().map(|kind| kind.name.clone()).collect();
        tables.push(Table { name: "type embeddings".into(), vectors: types.clone(), labels, columns: None });
    }
    tables.extend(classes(model));
    tables.retain(|table| table.labels.len() >= FEWEST);
    Ok(tables)
}

/// The part whose tokens are of a kind of the model.
fn part_of<'a>(model: &Model, tasks: &[&'a Composition], kind: usize) -> Option<&'a Part> {
    tasks.iter().zip(model.layouts()).find_map(|(task, layout)| {
        let of_stream = layout.inputs.iter().find_map(|(stream, kinds)| {
            let place = kinds.iter().position(|(number, _)| *number == kind)?;
            Some((*stream, place))
        });
        let (stream, place) = of_stream?;
        task.parts().iter().find(|part| {
            let first = task.first_kind(part);
            part.stream == stream && (first..first + part.kinds.len()).contains(&place)
        })
    })
}

/// The vectors of the classes of each output: the rows of its head's weights.
fn classes(model: &Model) -> Vec<Table> {
    let tensors = model.params().tensors();
    let of_head = |(task, head): (&str, &crate::head::HeadSpec)| {
        let vectors = tensors.get(&joined(&["head", task, &head.name, "weight"]))?;
        let labels = head.head.labels().to_vec();
        let fits = vectors.dims2().is_ok_and(|(n, _)| n == labels.len());
        let of = if head.name.is_empty() { String::new() } else { format!(" of {}", head.name) };
        let vectors = vectors.clone();
        fits.then(|| Table { name: format!("class vectors{of}"), vectors, labels, columns: None })
    };
    let heads =
        model.tasks().iter().flat_map(|task| task.heads.iter().map(move |head| (task.name.as_str(), head)));
    heads.filter_map(of_head).collect()
}

/// The name of a place of a kind's axes, of which the last runs fastest: `3,4`.
fn position(kind: &KindSpec, place: usize) -> String {
    let mut rest = place;
    let mut along: Vec<String> = kind
        .axes
        .iter()
        .rev()
        .map(|axis| {
            let size = axis.size.max(1);
            let here = rest % size;
            rest /= size;
            here.to_string()
        })
        .collect();
    along.reverse();
    along.join(",")
}

/// Adds the figures of a table.
fn add(table: &Table, html: &mut Html) -> Result<(), InsideError> {
    let (all, shown) = (table.vectors.dim(0)?, table.labels.len().min(MOST));
    let vectors = table.vectors.narrow(0, 0, shown)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let (places, [first, second]) = principal(&vectors, SEED);
    let name = &table.name;
    let chart = |method: &str, n: usize, x: String, y: String| {
        let of_all = if n < all { format!(", the first {n} of {all}") } else { String::new() };
        Chart { title: format!("{name}{of_all}, {method}"), x, y, ..Chart::default() }
    };
    html.element("h3", "", name);
    let component =
        |which: &str, share: f64| format!("{which} component ({:.1}% of the variance)", 100.0 * share);
    let [x, y] = [component("first", first), component("second", second)];
    add_scatter(&chart("principal components", shown, x, y), table, &places, html)?;
    let n = shown.min(MOST_TSNE);
    if let Some(near) = neighbourhoods(&vectors[..n], &places[..n]) {
        let chart = chart("t-SNE", n, "no unit".into(), "no unit".into());
        add_scatter(&chart, table, &near, html)?;
    }
    let is_grid = |columns: &usize| *columns > 1 && all > *columns && all <= MOST_MAPS;
    if let Some(columns) = table.columns.filter(is_grid) {
        let chart = Chart { title: format!("{name}, similarity"), ..Chart::default() };
        let maps = Matrices::similarities(&vectors, columns);
        let label = format!("{}: {}", chart.title, maps.caption);
        html.figure(&figure::matrices(&chart, &maps), &label, "")?;
    }
    Ok(())
}

fn add_scatter(
    chart: &Chart,
    table: &Table,
    places: &[[f32; 2]],
    html: &mut Html,
) -> Result<(), InsideError> {
    let n = places.len();
    let spot = |(number, (at, label)): (usize, (&[f32; 2], &String))| Spot {
        label: label.clone(),
        at: *at,
        shade: table.columns.map(|_| number as f32 / n.max(1) as f32),
    };
    let spots: Vec<Spot> = places.iter().zip(&table.labels).enumerate().map(spot).collect();
    let caption = if table.columns.is_some() { "dark first, bright last" } else { "" };
    let label = format!("{}: {n} points", chart.title);
    Ok(html.figure(&figure::scatter(chart, &spots), &label, caption)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use smalti_contract::{Axis, ContentSpec};

    #[test]
    fn places_are_named_by_their_axes() {
        let kind = KindSpec {
            name: "patch".into(),
            content: ContentSpec::Features { dim: 1 },
            axes: vec![Axis::new("row", 3), Axis::new("column", 4)],
            time_steps: None,
        };
        assert_eq!([0, 3, 4, 11].map(|place| position(&kind, place)), ["0,0", "0,3", "1,0", "2,3"]);
    }

    #[test]
    fn a_table_has_its_components_and_of_many_vectors_its_neighbourhoods() {
        let table = |n: usize| Table {
            name: "embeddings of x".into(),
            vectors: Tensor::rand(0.0_f32, 1.0, (n, 5), &Device::Cpu).unwrap(),
            labels: (0..n).map(|id| id.to_string()).collect(),
            columns: None,
        };
        let page = |n: usize| {
            let mut html = Html::new();
            add(&table(n), &mut html).unwrap();
            html.into_string()
        };
        assert!(page(4).contains("principal components") && !page(4).contains("t-SNE"));
        assert!(page(40).contains("embeddings of x, t-SNE: 40 points"));
    }
}
