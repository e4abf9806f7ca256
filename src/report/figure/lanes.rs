//! Kinds that are interleaved in time, a lane for each: return-to-go, state and action of a trajectory.

use super::axis::{number, with_room};
use super::colour::{self, Colour};
use super::font;
use super::scene::{Align, LABEL, MARGIN, Point, SMALL, Scene};
use super::{counted, first_of};
use smalti_contract::{Content, ContentSpec, Group, KindSpec, TokenSpec, Tokens};

/// The most tokens that are drawn: 400 are 133 time steps of three tokens.
const MOST: usize = 400;
/// Height of a lane without its tokens' marks, of the marks, and the space below.
const LANE: f32 = 96.0;
const MARK: f32 = 16.0;
const GAP: f32 = 10.0;
/// Least width of the names of lanes, and the space after the longest, for the numbers of its scale.
const NAMES: f32 = 132.0;
const SPACE: f32 = 48.0;
/// Most features of a token with a curve.
const CURVES: usize = 8;
/// Largest and least width of a token, and the width of all tokens together.
const WIDEST: f32 = 26.0;
const NARROWEST: f32 = 3.0;
const SHARED: f32 = 1040.0;

/// The positions of the tokens of the sequence.
struct Columns {
    left: f32,
    /// Width of a token.
    each: f32,
    /// Number of drawn tokens.
    n: usize,
}

impl Columns {
    fn middle(&self, order: u32) -> f32 {
        self.left + (order as f32 + 0.5) * self.each
    }

    fn right(&self) -> f32 {
        self.left + self.n as f32 * self.each
    }

    /// The places in the group of its drawn tokens, in the order of the sequence.
    fn of(&self, group: &Group) -> Vec<usize> {
        let mut shown: Vec<usize> =
            (0..group.len()).filter(|&i| (group.order[i] as usize) < self.n).collect();
        shown.sort_by_key(|&i| group.order[i]);
        shown
    }
}

/// A lane for each kind, along the order of the sequence, with the time steps below. Features are curves, ids are dots; each
/// token has a mark with its place in the sequence. The first 400 tokens are drawn. The tokens match `spec`.
pub fn lanes(spec: &TokenSpec, tokens: &Tokens) -> Scene {
    let n = tokens.len().min(MOST);
    let each = (SHARED / n.max(1) as f32).clamp(NARROWEST, WIDEST);
    let names = spec.kinds.iter().map(|kind| font::width(&kind.name, LABEL) + SPACE).fold(NAMES, f32::max);
    let columns = Columns { left: MARGIN + names, each, n };
    let mut scene = Scene::new();
    let times = steps(tokens, n);
    let title = format!("{} in {}", first_of(n, tokens.len(), "token"), counted(times.len(), "time step"));
    let top = scene.title(&title);
    let height = LANE + MARK;
    for (k, (kind, group)) in spec.kinds.iter().zip(&tokens.groups).enumerate() {
        let at = top + k as f32 * (height + GAP);
        scene.rect([columns.left, at], [n as f32 * each, height], Colour::GROUND);
        shade(&times, &columns, at, &mut scene);
        Lane { k, kind, group, shown: columns.of(group), columns: &columns, top: at }.draw(&mut scene);
        scene.reach([columns.right(), at + height]);
    }
    time_axis(&times, &columns, top + spec.kinds.len() as f32 * (height + GAP), &mut scene);
    scene
}

/// The time steps of the first `n` tokens, each with the place of its first token.
fn steps(tokens: &Tokens, n: usize) -> Vec<(u32, u32)> {
    let places = tokens.groups.iter().flat_map(|group| group.order.iter().zip(&group.time));
    let mut places: Vec<(u32, u32)> =
        places.map(|(order, time)| (*order, *time)).filter(|(order, _)| (*order as usize) < n).collect();
    places.sort_unstable();
    places.dedup_by_key(|(_, time)| *time);
    places.into_iter().map(|(order, time)| (time, order)).collect()
}

/// Every second time step is darker.
fn shade(times: &[(u32, u32)], columns: &Columns, top: f32, scene: &mut Scene) {
    for (i, (_, from)) in times.iter().enumerate().skip(1).step_by(2) {
        let to = times.get(i + 1).map_or(columns.n as u32, |(_, next)| *next);
        let left = columns.left + *from as f32 * columns.each;
        let width = (to - from) as f32 * columns.each;
        scene.rect([left, top], [width, LANE + MARK], Colour::rgb(232, 232, 238));
    }
}

fn time_axis(times: &[(u32, u32)], columns: &Columns, top: f32, scene: &mut Scene) {
    let middle = top + SMALL / 2.0;
    let longest = times.last().map_or(1, |(time, _)| time.to_string().len()) as f32;
    let step = columns.each * columns.n as f32 / times.len().max(1) as f32;
    for i in with_room(times.len(), step, longest * SMALL) {
        let (time, order) = times[i];
        let x = columns.left + order as f32 * columns.each + step / 2.0;
        scene.text(time.to_string(), [x, middle], SMALL, Align::Middle, Colour::GREY);
    }
    scene.text("time step", [columns.left - 8.0, middle], SMALL, Align::End, Colour::GREY);
    scene.reach([columns.right(), top + SMALL]);
}

/// One kind's tokens and their position.
struct Lane<'a> {
    /// The kind's number.
    k: usize,
    kind: &'a KindSpec,
    group: &'a Group,
    /// Places in the group of the drawn tokens, in the order of the sequence.
    shown: Vec<usize>,
    columns: &'a Columns,
    top: f32,
}

impl Lane<'_> {
    fn draw(&self, scene: &mut Scene) {
        let colour = colour::of_kind(self.k);
        scene.text(&self.kind.name, [MARGIN, self.top + 12.0], LABEL, Align::Start, colour);
        let holds = match self.kind.content {
            ContentSpec::Ids { vocabulary } => format!("ids of {vocabulary}"),
            ContentSpec::Features { dim } if dim > CURVES => format!("{CURVES} of {dim} features"),
            ContentSpec::Features { dim } => counted(dim, "feature"),
        };
        scene.text(holds, [MARGIN, self.top + 29.0], SMALL, Align::Start, Colour::GREY);
        let range = match &self.group.content {
            Content::Ids(ids) => self.dots(ids, colour, scene),
            Content::Features { values, dim } => self.curves(values, *dim, scene),
        };
        for (value, y) in range.iter().zip([self.top + LANE - 8.0, self.top + 8.0]) {
            scene.text(number(*value), [self.columns.left - 8.0, y], SMALL, Align::End, Colour::GREY);
        }
        self.marks(colour.lighter(0.6), scene);
    }

    /// The position of the `i`-th token's value, by its share of the range.
    fn place(&self, i: usize, share: f32) -> Point {
        [self.columns.middle(self.group.order[i]), self.top + 8.0 + (1.0 - share) * (LANE - 16.0)]
    }

    /// A dot for each id, with the id if there is room. Gives the range of the ids.
    fn dots(&self, ids: &[u32], colour: Colour, scene: &mut Scene) -> [f32; 2] {
        let range = colour::range(self.shown.iter().map(|&i| ids[i] as f32));
        for &i in &self.shown {
            let [x, y] = self.place(i, colour::share(ids[i] as f32, range));
            scene.rect([x - 3.0, y - 3.0], [6.0, 6.0], colour);
            let label = ids[i].to_string();
            // The places of other kinds beside it are free.
            if font::width(&label, SMALL) + 10.0 <= self.columns.each * 2.0 {
                scene.text(label, [x + 6.0, y], SMALL, Align::Start, Colour::INK);
            }
        }
        range
    }

    /// A curve for each of the first features. Gives their range.
    fn curves(&self, values: &[f32], dim: usize, scene: &mut Scene) -> [f32; 2] {
        let curves = dim.min(CURVES);
        let value = |i: usize, feature: usize| values[i * dim + feature];
        let range = colour::range(self.shown.iter().flat_map(|&i| (0..curves).map(move |f| value(i, f))));
        for feature in 0..curves {
            let colour = if curves == 1 { colour::of_kind(self.k) } else { colour::of_kind(feature) };
            let place = |&i: &usize| self.place(i, colour::share(value(i, feature), range));
            let points: Vec<Point> = self.shown.iter().map(place).collect();
            if self.columns.each > 6.0 {
                points.iter().for_each(|[x, y]| scene.rect([x - 2.0, y - 2.0], [4.0, 4.0], colour));
            }
            scene.line(points, 1.5, colour);
        }
        range
    }

    /// A box for each token, with its place in the sequence if there is room.
    fn marks(&self, colour: Colour, scene: &mut Scene) {
        let (top, height, width) = (self.top + LANE, MARK - 2.0, (self.columns.each - 1.0).max(2.0));
        for order in self.shown.iter().map(|&i| self.group.order[i]) {
            let middle = self.columns.middle(order);
            scene.rect([middle - width / 2.0, top], [width, height], colour);
            let label = order.to_string();
            if font::width(&label, SMALL) + 2.0 <= width {
                scene.text(label, [middle, top + height / 2.0], SMALL, Align::Middle, Colour::INK);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::Shape;
    use super::super::testing::texts;
    use super::*;

    /// Steps of a return, a state of two numbers and an action out of three.
    fn trajectory(steps: u32) -> (TokenSpec, Tokens) {
        let kind = |name: &str, content| KindSpec {
            name: name.into(),
            content,
            axes: vec![],
            time_steps: Some(1000),
        };
        let spec = TokenSpec {
            kinds: vec![
                kind("return", ContentSpec::Features { dim: 1 }),
                kind("state", ContentSpec::Features { dim: 2 }),
                kind("action", ContentSpec::Ids { vocabulary: 3 }),
            ],
        };
        let group = |k: u32, content| Group {
            content,
            positions: vec![],
            order: (0..steps).map(|t| 3 * t + k).collect(),
            time: (10..10 + steps).collect(),
        };
        let returns = (0..steps).map(|t| 1.0 - t as f32 / steps as f32).collect();
        let states = (0..2 * steps).map(|i| (i as f32).sin()).collect();
        let tokens = Tokens::new(vec![
            group(0, Content::Features { values: returns, dim: 1 }),
            group(1, Content::Features { values: states, dim: 2 }),
            group(2, Content::Ids((0..steps).map(|t| t % 3).collect())),
        ]);
        spec.check(&tokens).unwrap();
        (spec, tokens)
    }

    #[test]
    fn each_kind_has_a_lane_and_each_token_a_mark() {
        let (spec, tokens) = trajectory(4);
        let scene = lanes(&spec, &tokens);
        let texts = texts(&scene);
        assert_eq!(texts[0], "12 tokens in 4 time steps");
        for text in
            ["return", "1 feature", "state", "2 features", "action", "ids of 3", "time step", "10", "13"]
        {
            assert!(texts.contains(&text), "{text} in {texts:?}");
        }
        let lines = scene.shapes.iter().filter(|shape| matches!(shape, Shape::Line { .. })).count();
        assert_eq!(lines, 3, "a curve for the return and two for the state");
        let mark = colour::of_kind(1).lighter(0.6);
        let states = scene.shapes.iter().filter_map(|shape| match shape {
            Shape::Rect { at, colour, .. } if *colour == mark => Some(at[0]),
            _ => None,
        });
        let left = MARGIN + NAMES + WIDEST + 0.5;
        assert_eq!(states.collect::<Vec<_>>(), [0.0, 3.0, 6.0, 9.0].map(|order| left + order * WIDEST));
    }

    #[test]
    fn a_long_trajectory_is_shortened_and_the_title_says_so() {
        let (spec, tokens) = trajectory(900);
        let scene = lanes(&spec, &tokens);
        assert_eq!(texts(&scene)[0], "the first 400 of 2,700 tokens in 134 time steps");
        assert!(scene.width() < 1500, "{}", scene.width());
    }

    #[test]
    fn no_tokens_have_a_figure() {
        let (spec, tokens) = trajectory(0);
        assert_eq!(texts(&lanes(&spec, &tokens))[0], "0 tokens in 0 time steps");
    }
}
