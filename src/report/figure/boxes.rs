//! Tokens in boxes, in the order of the sequence: characters and subwords with their texts, or the tokens of an unknown
//! modality.

use super::colour::{self, Colour};
use super::first_of;
use super::font::{self, visible};
use super::scene::{Align, LABEL, MARGIN, Point, Raster, SMALL, Scene};
use smalti_contract::{Content, ContentSpec, TokenSpec, Tokens};

/// The most tokens and rows that are drawn.
const MOST: usize = 600;
const MOST_ROWS: usize = 40;
/// Width of a row, height of a box, space about it.
const ROW: f32 = 960.0;
const HEIGHT: f32 = 38.0;
const GAP: f32 = 3.0;
/// Width of the number at the start of a row: the place of its first token.
const GUTTER: f32 = 44.0;
/// Most characters of a drawn label.
const LONGEST: usize = 24;
/// Most cells of drawn features, and the width of a cell.
const CELLS: usize = 8;
const CELL: f32 = 5.0;

/// One token as it is drawn.
struct Tile {
    order: u32,
    kind: usize,
    inside: Inside,
    /// The id, or the number of features.
    note: String,
    /// Whether the next token begins a row, because its text begins a line.
    ends_row: bool,
}

enum Inside {
    Label(String),
    /// Shares of the range of all features of the kind.
    Features(Vec<f32>),
}

impl Tile {
    fn width(&self) -> f32 {
        let inside = match &self.inside {
            Inside::Label(label) => font::width(label, LABEL),
            Inside::Features(cells) => cells.len() as f32 * CELL,
        };
        inside.max(font::width(&self.note, SMALL)) + 8.0
    }
}

/// A box for each token in the order of the sequence, with the text of its id, by `text_of_id`, and the id; features are a
/// strip of colours. The first 600 tokens are drawn. The tokens match `spec`.
///
/// The colours distinguish kinds or, with one kind, neighbouring tokens.
pub fn boxes(spec: &TokenSpec, tokens: &Tokens, text_of_id: &dyn Fn(u32) -> Option<String>) -> Scene {
    let (tiles, several) = (tiles(spec, tokens, text_of_id), spec.kinds.len() > 1);
    let places = places(&tiles);
    let tiles = &tiles[..places.len()];
    let mut scene = Scene::new();
    let mut top = scene.title(&first_of(tiles.len(), tokens.len(), "token"));
    top = legend(spec, several, &mut scene, top);
    for (tile, (place, begins_row)) in tiles.iter().zip(places) {
        let at = [MARGIN + GUTTER + place[0], top + place[1]];
        if begins_row {
            let middle = [at[0] - 6.0, at[1] + HEIGHT / 2.0];
            scene.text(tile.order.to_string(), middle, SMALL, Align::End, Colour::GREY);
        }
        let colour = match several {
            true => colour::of_kind(tile.kind).lighter(0.7),
            false => colour::of_neighbour(tile.order as usize),
        };
        draw(tile, at, colour, &mut scene);
    }
    scene
}

/// The kinds and their contents, with colours if there are several kinds.
fn legend(spec: &TokenSpec, several: bool, scene: &mut Scene, top: f32) -> f32 {
    let mut left = MARGIN;
    for (k, kind) in spec.kinds.iter().enumerate() {
        let holds = match kind.content {
            ContentSpec::Ids { vocabulary } => format!("ids of {vocabulary}"),
            ContentSpec::Features { dim } => format!("{dim} features"),
        };
        let text = format!("{}: {holds}", kind.name);
        if several {
            scene.framed([left, top - 5.0], [10.0, 10.0], Colour::EDGE, colour::of_kind(k).lighter(0.7));
            left += 15.0;
        }
        let width = font::width(&text, SMALL);
        scene.text(text, [left, top], SMALL, Align::Start, Colour::GREY);
        scene.reach([left + width, top]);
        left += width + 18.0;
    }
    top + 16.0
}

fn draw(tile: &Tile, at: Point, colour: Colour, scene: &mut Scene) {
    let (width, middle) = (tile.width(), at[0] + tile.width() / 2.0);
    scene.framed(at, [width, HEIGHT], Colour::EDGE, colour);
    match &tile.inside {
        Inside::Label(label) => {
            scene.text(label, [middle, at[1] + 13.0], LABEL, Align::Middle, Colour::INK);
        }
        Inside::Features(shares) => {
            let rgb = shares.iter().flat_map(|share| colour::of_share(*share)).collect();
            let strip = [shares.len() as f32 * CELL, 14.0];
            let raster = Raster { width: shares.len(), height: 1, rgb };
            scene.pixels(raster, [(middle - strip[0] / 2.0).round(), at[1] + 6.0], strip);
        }
    }
    scene.text(&tile.note, [middle, at[1] + HEIGHT - 9.0], SMALL, Align::Middle, Colour::GREY);
    scene.reach([at[0] + width, at[1] + HEIGHT]);
}

/// The positions of tiles, from the upper left of the first, and whether they begin a row; fewer than tiles if the rows are
/// full.
fn places(tiles: &[Tile]) -> Vec<(Point, bool)> {
    let (mut places, mut rows, mut x, mut new_row) = (Vec::new(), 0, 0.0, true);
    for tile in tiles {
        if new_row || x + tile.width() > ROW {
            (rows, x, new_row) = (rows + 1, 0.0, true);
        }
        if rows > MOST_ROWS {
            break;
        }
        places.push(([x, (rows - 1) as f32 * (HEIGHT + GAP)], new_row));
        x += tile.width() + GAP;
        new_row = tile.ends_row;
    }
    places
}

/// The first tokens of all kinds, in their order.
fn tiles(spec: &TokenSpec, tokens: &Tokens, text_of_id: &dyn Fn(u32) -> Option<String>) -> Vec<Tile> {
    let mut tiles = Vec::new();
    for (k, (kind, group)) in spec.kinds.iter().zip(&tokens.groups).enumerate() {
        let range = colour::range(group.content.features().unwrap_or_default().iter().copied());
        let first = group.order.iter().enumerate().filter(|(_, order)| (**order as usize) < MOST);
        tiles.extend(first.map(|(i, &order)| match &group.content {
            Content::Ids(ids) => {
                let text = text_of_id(ids[i]).map(|text| match kind.name == "byte" && text == "\u{fffd}" {
                    // A byte of a longer character has no text of its own.
                    true => format!("x{:02X}", ids[i]),
                    false => text,
                });
                let ends_row = text.as_ref().is_some_and(|text| text.ends_with('\n'));
                let label = text.as_deref().map_or(kind.name.clone(), label);
                Tile { order, kind: k, inside: Inside::Label(label), note: ids[i].to_string(), ends_row }
            }
            Content::Features { values, dim } => {
                let cells = means(&values[i * dim..][..*dim]);
                let shares = cells.into_iter().map(|mean| colour::share(mean, range)).collect();
                Tile {
                    order,
                    kind: k,
                    inside: Inside::Features(shares),
                    note: dim.to_string(),
                    ends_row: false,
                }
            }
        }));
    }
    tiles.sort_by_key(|tile| tile.order);
    tiles
}

/// A text with visible white space, shortened if it is long.
fn label(text: &str) -> String {
    let visible = visible(text);
    match visible.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &visible[..end]),
        None => visible,
    }
}

/// The means of runs of features, one for each cell.
fn means(features: &[f32]) -> Vec<f32> {
    let cells = features.len().min(CELLS);
    let cell = |i: usize| {
        let run = &features[i * features.len() / cells..(i + 1) * features.len() / cells];
        run.iter().sum::<f32>() / run.len() as f32
    };
    (0..cells).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::texts;
    use super::*;
    use smalti_contract::{Group, KindSpec};

    fn kind(name: &str, content: ContentSpec) -> KindSpec {
        KindSpec { name: name.into(), content, axes: vec![], time_steps: None }
    }

    fn text(text: &str) -> Scene {
        let spec = TokenSpec::single(kind("character", ContentSpec::Ids { vocabulary: 128 }));
        let ids = text.chars().map(u32::from).collect();
        let tokens = Tokens::new(vec![Group { positions: vec![], ..Group::sequence(Content::Ids(ids)) }]);
        boxes(&spec, &tokens, &|id| char::from_u32(id).map(String::from))
    }

    #[test]
    fn boxes_have_characters_and_ids() {
        let scene = text("a b\nc");
        let expected = [
            "5 tokens",
            "character: ids of 128",
            "0",
            "a",
            "97",
            "␣",
            "32",
            "b",
            "98",
            "⏎",
            "10",
            "4",
            "c",
            "99",
        ];
        assert_eq!(texts(&scene), expected);
        let long = label("antidisestablishmentarianism");
        assert_eq!((long.chars().count(), long.ends_with('…')), (LONGEST + 1, true));
    }

    #[test]
    fn a_long_text_is_shortened_and_the_title_says_so() {
        let scene = text(&"x".repeat(2000));
        assert_eq!(texts(&scene)[0], "the first 600 of 2,000 tokens");
        assert!(scene.width() < 1100 && scene.height() < 1800, "{}×{}", scene.width(), scene.height());
        let lines = text(&"x\n".repeat(1000));
        assert_eq!(texts(&lines)[0], "the first 80 of 2,000 tokens", "a row for each line");
    }

    #[test]
    fn kinds_of_an_unknown_modality_have_a_legend() {
        let spec = TokenSpec {
            kinds: vec![
                kind("patch", ContentSpec::Features { dim: 20 }),
                kind("mark", ContentSpec::Ids { vocabulary: 9 }),
            ],
        };
        let features = Content::Features { values: (0..40).map(|i| i as f32).collect(), dim: 20 };
        let group =
            |content, order: Vec<u32>| Group { content, positions: vec![], time: order.clone(), order };
        let tokens = Tokens::new(vec![group(features, vec![0, 2]), group(Content::Ids(vec![7]), vec![1])]);
        spec.check(&tokens).unwrap();
        let scene = boxes(&spec, &tokens, &|_| None);
        let expected = ["3 tokens", "patch: 20 features", "mark: ids of 9", "0", "20", "mark", "7", "20"];
        assert_eq!(texts(&scene), expected);
        assert_eq!(means(&[1.0, 3.0]), [1.0, 3.0]);
        assert_eq!(means(&(0..16).map(|i| i as f32).collect::<Vec<_>>())[..2], [0.5, 2.5]);
    }

    #[test]
    fn bytes_of_a_longer_character_are_hexadecimal() {
        let spec = TokenSpec::single(kind("byte", ContentSpec::Ids { vocabulary: 256 }));
        let group = Group { positions: vec![], ..Group::sequence(Content::Ids(vec![0xc3, 0xa9])) };
        let scene = boxes(&spec, &Tokens::new(vec![group]), &|_| Some("\u{fffd}".into()));
        assert_eq!(texts(&scene)[3..], ["xC3", "195", "xA9", "169"]);
    }

    #[test]
    fn no_tokens_have_a_figure() {
        assert_eq!(texts(&text(""))[0], "0 tokens");
        assert!(means(&[]).is_empty());
    }
}
