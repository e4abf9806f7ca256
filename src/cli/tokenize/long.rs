//! Texts that are too long to be held with their tokens: they are read in blocks, and their ids counted.

use super::{Shown, TokenizeArgs, check_index, print_row};
use crate::data::files::blocks;
use crate::data::open_text;
use crate::registry::Modalities;
use crate::report::tokens::{self, AxisSummary, GroupSummary, Span, Token, TokenContent, Values};
use crate::table::Modality;
use anyhow::{Context, Result};
use smalti_contract::{Content, File, Group, Sequence, TokenSpec, Tokens};
use std::collections::BTreeSet;
use std::io::Read;

/// The most bytes of a text whose tokens are held.
const HELD: u64 = 16 << 20;
/// The ids that are read at once.
const WINDOW: usize = 1 << 20;

/// Shows the tokens of a long text; `false` for any other file, and if all tokens are needed for a figure or a file.
pub fn run(args: &TokenizeArgs, modalities: &Modalities) -> Result<bool> {
    let is_text = args.modality.or_else(|| Modality::by_name(&args.file)) == Some(Modality::Text);
    if !is_text || args.out.is_some() || args.figure.is_some() || !is_long(&args.file) {
        return Ok(false);
    }
    args.tokenizer.check(Modality::Text).with_context(|| args.file.clone())?;
    check_index(args.index, 1, "rows")?;
    // A vocabulary of characters needs each once.
    let mut characters = BTreeSet::new();
    let mut add = |part: &str| characters.extend(part.chars());
    blocks(open_text(&args.file)?, &mut add).with_context(|| args.file.clone())?;
    let distinct = characters.into_iter().collect::<String>().into_bytes();
    let file = File { name: args.file.clone(), bytes: distinct };
    let tokenizer =
        args.tokenizer.fit(Modality::Text, &file, modalities).with_context(|| args.file.clone())?;
    let tokenizer = tokenizer.as_ref();
    let ids = tokenizer.sequence(open_text(&args.file)?).with_context(|| args.file.clone())?;
    let shown = shown(tokenizer.spec(), ids.as_ref(), args.first)?;
    print_row(args, Modality::Text, 1, &shown, &|_| Some(tokenizer))?;
    Ok(true)
}

/// Whether a file can be read, has more bytes than [`HELD`], and is not UTF-16.
fn is_long(location: &str) -> bool {
    let Ok(mut file) = open_text(location) else { return false };
    let mut mark = [0; 2];
    let read = file.read_exact(&mut mark);
    let rest = std::io::copy(&mut file.take(HELD), &mut std::io::sink());
    read.is_ok() && rest.is_ok_and(|n| n == HELD) && !matches!(mark, [0xff, 0xfe] | [0xfe, 0xff])
}

fn shown(spec: &TokenSpec, ids: &dyn Sequence, first: usize) -> Result<Shown> {
    let (mut least, mut most, mut distinct) = (u32::MAX, 0, BTreeSet::new());
    for start in (0..ids.len()).step_by(WINDOW) {
        for id in ids.window(start..ids.len().min(start + WINDOW))? {
            (least, most) = (least.min(id), most.max(id));
            distinct.insert(id);
        }
    }
    let kind = spec.kinds.first().context("the tokenizer of texts has no kind of token")?;
    let last = ids.len().checked_sub(1);
    // Places beyond 32 bits are shown as the largest of them.
    let place = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
    let span = last.map(|last| Span { least: 0, most: place(last) });
    let group = GroupSummary {
        kind: kind.name.clone(),
        tokens: ids.len(),
        content: kind.content,
        values: last.map(|_| Values::Ids { least, most, distinct: distinct.len() }),
        axes: kind.axes.iter().map(|axis| AxisSummary { name: axis.name.clone(), span }).collect(),
        time: span,
        order: span,
    };
    let begin = Group::sequence(Content::Ids(ids.window(0..first.min(ids.len()))?));
    let last = match last {
        Some(last) => {
            let id = ids.window(last..last + 1)?.first().copied().unwrap_or_default();
            let (kind, place) = (kind.name.clone(), place(last));
            let content = TokenContent::Id(id);
            Some(Token { order: place, kind, positions: vec![place], time: place, content })
        }
        None => None,
    };
    let first = tokens::first(spec, &Tokens::new(vec![begin]), first);
    Ok(Shown { tokens: ids.len(), groups: vec![group], first, last })
}
