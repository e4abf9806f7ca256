//! The weights on the tokens of one input: over the patches of an image, or along the tokens.

use super::Attended;
use crate::data::{Batch, Stream};
use crate::report::chart::{Chart, Matrices};
use crate::report::figure;
use crate::report::html::{Html, escaped, shade};
use crate::report::inside::{InsideError, Rows};
use crate::report::parts::PartTokens;

/// The side of an image in pixels, the most tokens in a line, and the most bytes of maps by head.
const SIDE: f32 = 192.0;
const LINE: usize = 128;
const MOST_BYTES: usize = 150_000;

/// Adds the attention to each kind of token of a part.
pub(super) fn add(
    rows: &Rows,
    part: &PartTokens,
    (attended, batch): (&Attended, &Batch),
    html: &mut Html,
) -> Result<(), InsideError> {
    for kind in 0..part.part.kinds.len() {
        let places = places(rows, attended.stream, batch, part.first_kind + kind);
        if places.is_empty() {
            continue;
        }
        let of = |weights: &[f32]| -> Vec<f32> {
            places.iter().map(|place| weights.get(*place).copied().unwrap_or(0.0)).collect()
        };
        let rolled = of(&attended.rollout);
        let layers: Vec<Vec<Vec<f32>>> =
            attended.layers.iter().map(|heads| heads.iter().map(|head| of(head)).collect()).collect();
        let name = &part.part.kinds[kind].name;
        match grid(part, kind, places.len()) {
            Some(shape) => add_image(part, name, shape, (&rolled, &layers), html)?,
            None => {
                // Numbers have no text to be shaded.
                let is_ids = part.tokens.groups.get(kind).is_some_and(|group| group.content.ids().is_some());
                if is_ids {
                    add_lines(name, &part.labels(kind), (&rolled, &layers), html);
                } else {
                    add_row(name, &rolled, html)?;
                }
                add_rows(name, &layers, html)?;
            }
        }
    }
    Ok(())
}

/// The places, in the first document of a stream, of the tokens of a kind, by its number in the stream.
pub(super) fn places(rows: &Rows, stream: Stream, batch: &Batch, kind: usize) -> Vec<usize> {
    let tokens = if stream == Stream::Main { Some(&batch.main) } else { batch.encoder.as_ref() };
    let (Some(tokens), Some(number)) = (tokens, number_of(rows, stream, kind)) else { return vec![] };
    let document = tokens.meta.documents.first().cloned().unwrap_or_default();
    let start = document.start;
    document.filter(|row| tokens.meta.kind[*row] as usize == number).map(|row| row - start).collect()
}

/// The number in the model of a kind of a stream.
fn number_of(rows: &Rows, stream: Stream, kind: usize) -> Option<usize> {
    let inputs = &rows.model.layouts().get(rows.number)?.inputs;
    let (_, kinds) = inputs.iter().find(|(of, _)| *of == stream)?;
    kinds.get(kind).map(|(number, _)| *number)
}

/// The `[rows, columns]` of tokens that fill a grid row by row; `None` for others.
fn grid(part: &PartTokens, kind: usize, n: usize) -> Option<[usize; 2]> {
    let group = part.tokens.groups.get(kind)?;
    if part.part.kinds[kind].axes.len() != 2 || group.len() != n {
        return None;
    }
    let at: Vec<&[u32]> = group.positions.chunks_exact(2).collect();
    let columns = at.iter().map(|at| at[1] as usize + 1).max()?;
    let in_place = at.iter().enumerate().all(|(i, at)| at[0] as usize * columns + at[1] as usize == i);
    (in_place && n.is_multiple_of(columns)).then_some([n / columns, columns])
}

/// The weights of all layers and heads, each map divided by its largest weight.
fn scaled(maps: impl Iterator<Item = Vec<f32>>) -> Vec<Vec<f32>> {
    let by_largest = |mut map: Vec<f32>| {
        let most = map.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
        map.iter_mut().for_each(|weight| *weight /= most);
        map
    };
    maps.map(by_largest).collect()
}

fn add_image(
    part: &PartTokens,
    name: &str,
    shape: [usize; 2],
    (rolled, layers): (&[f32], &[Vec<Vec<f32>>]),
    html: &mut Html,
) -> Result<(), InsideError> {
    let tokenizer = part.part.tokenizer.as_ref();
    for (weights, what) in [(None, "the input"), (Some(rolled), "bright where rollout has a high weight")] {
        if let Some(scene) = figure::image(tokenizer, &part.tokens, SIDE, weights) {
            html.figure(&scene, &format!("{name}: {what}"), &format!("{name}, {what}"))?;
        }
    }
    let n_heads = layers.first().map_or(0, Vec::len);
    let by_head = Matrices {
        caption: "a row for each layer, a column for each head; each map is divided by its largest weight"
            .into(),
        shape,
        matrices: scaled(layers.iter().flatten().cloned()),
        across: n_heads,
        ..Matrices::default()
    };
    let by_layer = Matrices {
        caption: "a map for each layer, the mean of its heads; each map is divided by its largest weight"
            .into(),
        matrices: scaled(layers.iter().map(|heads| super::mean(heads))),
        across: 6,
        ..by_head.clone()
    };
    add_maps(name, [by_head, by_layer], html)
}

/// Adds the first of several figures that is small enough, or the last.
fn add_maps(name: &str, choices: [Matrices; 2], html: &mut Html) -> Result<(), InsideError> {
    let [first, last] = choices;
    let chart = Chart { title: format!("Attention to {name}"), ..Chart::default() };
    let mut scene = figure::matrices(&chart, &first);
    let mut shown = &first;
    if scene.encode(figure::Format::Svg)?.len() > MOST_BYTES {
        (scene, shown) = (figure::matrices(&chart, &last), &last);
    }
    Ok(html.figure(&scene, &format!("attention to {name}: {}", shown.caption), "")?)
}

fn add_lines(name: &str, labels: &[String], (rolled, layers): (&[f32], &[Vec<Vec<f32>>]), html: &mut Html) {
    let n = labels.len().min(LINE);
    let of_all = match n < labels.len() {
        true => format!(", the first {n} of {} tokens", labels.len()),
        false => String::new(),
    };
    html.element("p", "", &format!("{name}{of_all}, by rollout:"));
    line(&labels[..n], rolled, html);
    if let Some(heads) = layers.last() {
        html.element("p", "", &format!("{name}{of_all}, the last layer, mean of its heads:"));
        line(&labels[..n], &super::mean(heads), html);
    }
}

/// Adds the weights by rollout of tokens without a text as a row of cells.
fn add_row(name: &str, rolled: &[f32], html: &mut Html) -> Result<(), InsideError> {
    let n = rolled.len().min(LINE);
    let row = Matrices {
        caption: "a column for each token".into(),
        shape: [1, n],
        matrices: vec![rolled[..n].to_vec()],
        across: 1,
        ..Matrices::default()
    };
    let chart = Chart { title: format!("Attention to {name}, by rollout"), ..Chart::default() };
    Ok(html.figure(&figure::matrices(&chart, &row), "", "")?)
}

/// Adds the weights of each layer and head as rows of cells.
fn add_rows(name: &str, layers: &[Vec<Vec<f32>>], html: &mut Html) -> Result<(), InsideError> {
    let n = layers.iter().flatten().map(Vec::len).max().unwrap_or(0).min(LINE);
    let of_head = |head: &Vec<f32>| head[..n.min(head.len())].to_vec();
    let n_heads = layers.first().map_or(0, Vec::len);
    let of_layer = |heads: &Vec<Vec<f32>>| scaled(heads.iter().map(of_head)).concat();
    let by_head = Matrices {
        caption: "a block for each layer, in it a row for each head and a column for each token".into(),
        shape: [n_heads, n],
        matrices: layers.iter().map(of_layer).collect(),
        across: 1,
        ..Matrices::default()
    };
    let by_layer = Matrices {
        caption: "a row for each layer, the mean of its heads, and a column for each token".into(),
        shape: [layers.len(), n],
        matrices: vec![scaled(layers.iter().map(|heads| of_head(&super::mean(heads)))).concat()],
        ..by_head.clone()
    };
    add_maps(name, [by_head, by_layer], html)
}

/// Adds tokens one after another, each shaded by its share of the largest weight.
fn line(labels: &[String], weights: &[f32], html: &mut Html) {
    let most = weights.iter().take(labels.len()).copied().fold(f32::MIN_POSITIVE, f32::max);
    let token = |(label, weight): (&String, &f32)| {
        let (shade, text) = (shade(weight / most), escaped(&figure::visible(label)));
        format!("<span {shade} title=\"{weight:.4}\">{text}</span>")
    };
    let tokens: Vec<String> = labels.iter().zip(weights).map(token).collect();
    // A line may break after each token.
    html.raw(&format!("<p class=\"tokens\">{}</p>", tokens.join("<wbr>")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_the_largest_weight_is_darkest() {
        let mut html = Html::new();
        line(&["a".to_string(), "<".into()], &[0.1, 0.4], &mut html);
        let html = html.into_string();
        let darkest = "<span class=\"shaded\" style=\"--share:100.0%\" title=\"0.4000\">&lt;</span>";
        assert!(html.contains(darkest), "{html}");
        assert!(html.contains("<wbr>"), "{html}");
    }

    #[test]
    fn each_map_is_divided_by_its_largest_weight() {
        assert_eq!(scaled([vec![0.0, 0.5], vec![0.0, 0.0]].into_iter()), [[0.0, 1.0], [0.0, 0.0]]);
    }

    #[test]
    fn lines_of_many_tokens_are_cut_and_say_so() {
        let labels = vec!["a".to_string(); 300];
        let weights = vec![1.0 / 300.0; 300];
        let mut html = Html::new();
        let layers = [vec![weights.clone(); 2]];
        add_lines("text.id", &labels, (&weights, &layers), &mut html);
        add_rows("text.id", &layers, &mut html).unwrap();
        let html = html.into_string();
        assert!(html.contains("the first 128 of 300 tokens") && html.len() < 300_000, "{}", html.len());
    }
}
