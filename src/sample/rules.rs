//! The default attention rules between the parts of a sample; `model.attention.rules` replaces them.
//!
//! Inputs attend to inputs. A class token attends to all tokens that are not generated; inputs attend to it, too, unless the
//! sample has series, whose later steps would leak. A series attends to inputs without time steps and to earlier tokens of
//! series. Generated tokens attend to all other tokens and to earlier generated ones; no other token attends to them.

use super::part::{Part, Role};
use crate::rules::Rule;
use smalti_contract::KindSpec;

/// The origin of a kind of token.
pub(super) enum TokenSource<'a> {
    /// A part of the sample.
    Part(&'a Part),
    /// A learned token: a class token or a register.
    ClassToken,
    /// The code of an input's token; the main transformer attends to no other token of that input.
    Code,
}

/// The attention rule from a query's kind to a key's kind; `None` if the query never attends to the key.
pub(super) fn rule(
    (query, q): (&TokenSource, &KindSpec),
    (key, k): (&TokenSource, &KindSpec),
    has_series: bool,
) -> Option<Rule> {
    if let (TokenSource::Code, _) | (_, TokenSource::Code) = (query, key) {
        return matches!((query, key), (TokenSource::Code, TokenSource::Code)).then_some(Rule::ALL);
    }
    let (TokenSource::Part(of_query), TokenSource::Part(of_key)) = (query, key) else {
        return with_class_token(query, key, has_series).then_some(Rule::ALL);
    };
    match (of_query.role, of_key.role) {
        (Role::Generated(one), Role::Generated(other)) => (one == other).then(Rule::causal),
        (Role::Generated(_), _) => Some(Rule::ALL),
        (_, Role::Generated(_)) => None,
        _ if of_query.series && of_key.series => Some(between_series((of_query, q), (of_key, k))),
        // Later steps of the series would leak through a part without time steps.
        _ if of_key.series => None,
        _ => Some(Rule::ALL),
    }
}

fn with_class_token(query: &TokenSource, key: &TokenSource, has_series: bool) -> bool {
    let is_generated = |part: &Part| matches!(part.role, Role::Generated(_));
    match (query, key) {
        (TokenSource::ClassToken, TokenSource::Part(part)) => !is_generated(part),
        // A class token attends to all steps: later ones would leak through it into a series.
        (TokenSource::Part(part), TokenSource::ClassToken) => !is_generated(part) && !has_series,
        _ => true,
    }
}

/// The rule between two series: attention to earlier tokens. Within a step the tokens of inputs with positions, such as the
/// patches of a camera, attend to each other; all other tokens attend in the order of parts.
fn between_series((of_query, query): (&Part, &KindSpec), (of_key, key): (&Part, &KindSpec)) -> Rule {
    let has_positions = |part: &Part, kind: &KindSpec| part.role == Role::Input && !kind.axes.is_empty();
    match has_positions(of_query, query) && has_positions(of_key, key) {
        true => Rule::past(),
        false => Rule::causal(),
    }
}
