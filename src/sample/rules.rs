//! Which tokens of a sample attend to which, unless `model.attention.rules` sets it.
//!
//! Inputs attend to inputs. A class token attends to everything that is read; inputs attend to it too, unless the sample has
//! series, of which it knows what is later. A series attends to inputs without a clock and to what is not later than itself. Generated tokens attend to
//! everything that is read and to those before them; nothing else attends to them.

use super::part::{Part, Role};
use crate::rules::Rule;
use smalti_contract::KindSpec;

/// The tokens of one sort in a sample.
pub(super) enum Sort<'a> {
    Part(&'a Part),
    ClassToken,
    /// The code of an input's token: all that the main stack knows of it.
    Code,
}

/// The rule between a query's kind and a key's kind; `None` if they never attend.
pub(super) fn rule(
    (query, q): (&Sort, &KindSpec),
    (key, k): (&Sort, &KindSpec),
    has_series: bool,
) -> Option<Rule> {
    if let (Sort::Code, _) | (_, Sort::Code) = (query, key) {
        return matches!((query, key), (Sort::Code, Sort::Code)).then_some(Rule::ALL);
    }
    let (Sort::Part(of_query), Sort::Part(of_key)) = (query, key) else {
        return with_class_token(query, key, has_series).then_some(Rule::ALL);
    };
    match (of_query.role, of_key.role) {
        (Role::Generated(one), Role::Generated(other)) => (one == other).then(Rule::causal),
        (Role::Generated(_), _) => Some(Rule::ALL),
        (_, Role::Generated(_)) => None,
        _ if of_query.series && of_key.series => Some(in_time((of_query, q), (of_key, k))),
        // What is later in the series would leak through a part without a clock.
        _ if of_key.series => None,
        _ => Some(Rule::ALL),
    }
}

fn with_class_token(query: &Sort, key: &Sort, has_series: bool) -> bool {
    let generated = |part: &Part| matches!(part.role, Role::Generated(_));
    match (query, key) {
        (Sort::ClassToken, Sort::Part(part)) => !generated(part),
        // A class token attends to later steps, which would leak into a series through it.
        (Sort::Part(part), Sort::ClassToken) => !generated(part) && !has_series,
        _ => true,
    }
}

/// Between two series: what is not later. Within a step the tokens of inputs that have positions, the patches of
/// cameras, attend to one another both ways; all else goes by the order of parts.
fn in_time((of_query, query): (&Part, &KindSpec), (of_key, key): (&Part, &KindSpec)) -> Rule {
    let placed = |part: &Part, kind: &KindSpec| part.role == Role::Input && !kind.axes.is_empty();
    match placed(of_query, query) && placed(of_key, key) {
        true => Rule::past(),
        false => Rule::causal(),
    }
}
