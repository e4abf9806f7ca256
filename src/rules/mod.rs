//! Attention rules as data: which tokens may attend to which.
//!
//! A table holds a [`Rule`] for each pair of kinds (query, key); the attention kernel evaluates it from the tokens'
//! metadata ([`TokenMeta`]) and never builds a dense mask. Encoder, decoder, prefix and class-token masks are such
//! tables:
//!
//! ```
//! use smalti::rules::{AttentionRules, TokenMeta};
//!
//! // A prefix of two slices with full attention, then three characters with causal attention.
//! let mut rules = AttentionRules::never(["slice", "character"]);
//! rules.set("slice", "slice", "all".parse()?)?;
//! rules.set("character", "slice", "all".parse()?)?;
//! rules.set("character", "character", "causal".parse()?)?;
//! let document = TokenMeta::document(&[0, 0, 1, 1, 1]);
//! assert_eq!(rules.draw(&document), "xx...\nxx...\nxxx..\nxxxx.\nxxxxx\n");
//! # Ok::<(), smalti::rules::RuleError>(())
//! ```

mod mask;
mod meta;
mod rule;

pub use mask::AttentionMask;
pub use meta::{MAX_AXES, TokenMeta};
pub use rule::{Condition, Rule, RuleError};

use crate::pattern::matches;

/// For each pair of kinds (query, key), the rule under which a query attends to a key.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionRules {
    kinds: Vec<String>,
    /// `[n_kinds, n_kinds]`, query-major: places in `distinct`.
    table: Vec<u16>,
    /// The rules that occur; the first is `never`.
    distinct: Vec<Rule>,
}

impl AttentionRules {
    /// A table over these kinds in which no token attends to any other.
    pub fn never<S: Into<String>>(kinds: impl IntoIterator<Item = S>) -> Self {
        let kinds: Vec<String> = kinds.into_iter().map(Into::into).collect();
        Self { table: vec![0; kinds.len() * kinds.len()], kinds, distinct: vec![Rule::Never] }
    }

    /// A table of one rule for every pair of kinds: `all` for an encoder, `causal` for a decoder.
    pub fn uniform<S: Into<String>>(kinds: impl IntoIterator<Item = S>, rule: Rule) -> Self {
        let mut rules = Self::never(kinds);
        rules.table.fill(u16::from(rule != Rule::Never));
        if rule != Rule::Never {
            rules.distinct.push(rule);
        }
        rules
    }

    /// Sets the rule under which tokens of kind `query` attend to tokens of kind `key`. A name may be a pattern of
    /// several kinds: `*` stands for any letters, as in `camera.*`.
    ///
    /// # Errors
    /// [`RuleError::UnknownKind`] if a name is not in the table, or no name matches a pattern.
    pub fn set(&mut self, query: &str, key: &str, rule: Rule) -> Result<(), RuleError> {
        let (queries, keys) = (self.matching(query)?, self.matching(key)?);
        let place = self.distinct.iter().position(|known| *known == rule).unwrap_or_else(|| {
            self.distinct.push(rule);
            self.distinct.len() - 1
        });
        for query in queries {
            keys.iter().for_each(|key| self.table[query * self.kinds.len() + key] = place as u16);
        }
        Ok(())
    }

    /// The rule for this pair of kinds, by their numbers.
    ///
    /// # Panics
    /// If a number is not that of a kind.
    pub fn get(&self, query: usize, key: usize) -> &Rule {
        &self.distinct[usize::from(self.place(query, key))]
    }

    /// The rules without their conditions of nearness: what the windows of a layer exclude.
    pub fn without_near(&self) -> Self {
        Self { distinct: self.distinct.iter().map(Rule::without_near).collect(), ..self.clone() }
    }

    /// The names of the kinds, in the order of their numbers.
    pub fn kinds(&self) -> &[String] {
        &self.kinds
    }

    /// Whether query token `q` may attend to key token `k`; never across documents.
    pub fn allows(&self, queries: &TokenMeta, q: usize, keys: &TokenMeta, k: usize) -> bool {
        queries.document[q] == keys.document[k]
            && self.get(queries.kind[q] as usize, keys.kind[k] as usize).allows(queries, q, keys, k)
    }

    /// Whether no query at place `first` of the sequence, or after it, attends to key token `k`.
    pub fn forgets(&self, keys: &TokenMeta, k: usize, first: u32) -> bool {
        let kind = keys.kind[k] as usize;
        (0..self.kinds.len()).all(|query| self.get(query, kind).forgets(keys.order[k], first))
    }

    /// Draws the mask of self-attention: a row for each query, `x` for each key that it attends to, `.` for others.
    pub fn draw(&self, tokens: &TokenMeta) -> String {
        self.draw_cross(tokens, tokens)
    }

    /// Draws the mask of cross-attention: queries down, keys across.
    pub fn draw_cross(&self, queries: &TokenMeta, keys: &TokenMeta) -> String {
        let mut figure = String::with_capacity(queries.len() * (keys.len() + 1));
        for q in 0..queries.len() {
            let cell = |k| if self.allows(queries, q, keys, k) { 'x' } else { '.' };
            figure.extend((0..keys.len()).map(cell).chain(['\n']));
        }
        figure
    }

    /// The numbers of the kinds that a name or a pattern stands for.
    fn matching(&self, pattern: &str) -> Result<Vec<usize>, RuleError> {
        let found = (0..self.kinds.len()).filter(|&kind| matches(pattern, &self.kinds[kind]));
        let found: Vec<usize> = found.collect();
        match found.is_empty() {
            true => Err(RuleError::UnknownKind { name: pattern.into(), known: self.kinds.join(", ") }),
            false => Ok(found),
        }
    }

    fn place(&self, query: usize, key: usize) -> u16 {
        assert!(key < self.kinds.len(), "expected one of {} kinds; found {key}", self.kinds.len());
        self.table[query * self.kinds.len() + key]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(n: u32) -> TokenMeta {
        // Return, state and action of each of n steps.
        let mut meta = TokenMeta::document(&(0..3 * n).map(|i| i % 3).collect::<Vec<_>>());
        meta.time = (0..3 * n).map(|i| i / 3).collect();
        meta
    }

    fn draw(rule: &str, meta: &TokenMeta) -> String {
        let kinds = meta.kind.iter().max().map_or(0, |k| k + 1);
        AttentionRules::uniform((0..kinds).map(|k| k.to_string()), rule.parse().unwrap()).draw(meta)
    }

    #[test]
    fn each_rule_is_a_figure() {
        let two = steps(2);
        assert_eq!(draw("never", &steps(1)), "...\n...\n...\n");
        assert_eq!(draw("all", &steps(1)), "xxx\nxxx\nxxx\n");
        assert_eq!(draw("causal", &steps(1)), "x..\nxx.\nxxx\n");
        assert_eq!(draw("past", &two), "xxx...\nxxx...\nxxx...\nxxxxxx\nxxxxxx\nxxxxxx\n");
        assert_eq!(draw("strict_past", &two), "......\n......\n......\nxxx...\nxxx...\nxxx...\n");
        assert_eq!(draw("same_time", &two), "xxx...\nxxx...\nxxx...\n...xxx\n...xxx\n...xxx\n");
        assert_eq!(draw("near(1, order)", &steps(1)), "xx.\nxxx\n.xx\n");
        assert_eq!(draw("causal & near(1, order)", &steps(1)), "x..\nxx.\n.xx\n");
    }

    #[test]
    fn near_in_two_dimensions() {
        // A 2×3 grid of patches.
        let mut grid = TokenMeta::document(&[0; 6]);
        grid.positions = (0..6).map(|i| [i / 3, i % 3]).collect();
        assert_eq!(draw("near(1)", &grid), "xx.xx.\nxxxxxx\n.xx.xx\nxx.xx.\nxxxxxx\n.xx.xx\n");
    }

    #[test]
    fn attention_never_crosses_documents() {
        let mut two = TokenMeta::document(&[0, 0, 0, 0]);
        two.document = vec![0, 0, 1, 1];
        two.documents = vec![0..2, 2..4];
        assert_eq!(draw("all", &two), "xx..\nxx..\n..xx\n..xx\n");
    }

    #[test]
    fn under_past_a_state_attends_to_the_action_of_its_step() {
        let rules = AttentionRules::uniform(["return", "state", "action"], "past".parse().unwrap());
        let meta = steps(1);
        assert!(rules.allows(&meta, 1, &meta, 2));
    }

    #[test]
    fn an_unknown_kind_is_named() {
        let error = AttentionRules::never(["a", "b"]).set("a", "c", Rule::ALL).unwrap_err();
        assert_eq!(error.to_string(), "attention rules: expected one of the kinds a, b; found \"c\"");
    }
}
