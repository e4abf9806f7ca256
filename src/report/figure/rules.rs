//! Attention masks: a cell for each pair of query and key.

use super::colour::{Colour, of_kind};
use super::font;
use super::scene::{Align, LABEL, MARGIN, SMALL, Scene, TITLE};
use crate::report::rules::RulesFigure;

/// Side of a cell, and height of a line of text.
const CELL: f32 = 16.0;
const LINE: f32 = 20.0;

/// The masks of a model, from top to bottom, each with its legend and its rules.
pub fn rules(figures: &[RulesFigure]) -> Scene {
    let mut scene = Scene::new();
    let mut top = MARGIN;
    for figure in figures {
        top = mask(figure, top, &mut scene) + LINE;
    }
    scene
}

/// Draws one mask; gives the height below it.
fn mask(figure: &RulesFigure, top: f32, scene: &mut Scene) -> f32 {
    let (left, first) = (MARGIN + CELL, top + 2.0 * LINE);
    let middle = |i: usize, start: f32| start + (i as f32 + 0.5) * CELL;
    line(figure.title(), top + TITLE / 2.0, TITLE, scene);
    for (k, key) in figure.keys.chars().enumerate() {
        scene.text(key, [middle(k, left), first - CELL / 2.0], SMALL, Align::Middle, Colour::GREY);
    }
    for (q, (query, row)) in figure.queries.chars().zip(&figure.mask).enumerate() {
        scene.text(query, [MARGIN, middle(q, first)], SMALL, Align::Start, Colour::GREY);
        for (k, cell) in row.chars().enumerate() {
            let colour = if cell == 'x' { of_kind(0) } else { Colour::EMPTY };
            let at = [left + k as f32 * CELL, first + q as f32 * CELL];
            scene.rect(at, [CELL - 1.0; 2], colour);
        }
    }
    let mut below = first + figure.mask.len() as f32 * CELL + LINE / 2.0;
    for note in figure.notes() {
        line(note, below, LABEL, scene);
        below += LINE;
    }
    below
}

/// A line of text from the left margin.
fn line(text: String, middle: f32, size: f32, scene: &mut Scene) {
    scene.reach([MARGIN + font::width(&text, size), middle + size / 2.0]);
    scene.text(text, [MARGIN, middle], size, Align::Start, Colour::INK);
}
