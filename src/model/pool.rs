//! Pooling by attention: a learned query attends to the tokens of a document.

use super::attention::Attention;
use super::config::ModelConfig;
use super::linear::init_std;
use super::mlp::Mlp;
use super::norm::Norm;
use super::params::Scope;
use crate::ops::{self, Value};
use crate::rules::{AttentionMask, AttentionRules, MAX_AXES, Rule, TokenMeta};
use candle_core::Result;
use std::ops::Range;
use std::sync::Arc;

/// Attention of a learned query, then an MLP with a norm and a residual sum (Lee et al. 2019, Zhai et al. 2022).
pub struct AttentionPool {
    /// `[1, d_model]`: the learned query.
    probe: Value,
    attention: Attention,
    norm: Norm,
    mlp: Mlp,
}

impl AttentionPool {
    /// A pool with the attention, the norm and the MLP of the configured blocks.
    ///
    /// # Errors
    /// If a parameter's name is taken.
    pub fn new(mut scope: Scope, config: &ModelConfig) -> Result<Self> {
        let std = init_std(config.d_model);
        Ok(Self {
            probe: scope.normal("probe", (1, config.d_model), std)?,
            attention: Attention::new(scope.at("attention"), config, 0, std)?,
            norm: Norm::new(scope.at("norm"), config)?,
            mlp: Mlp::new(scope.at("mlp"), config, std)?,
        })
    }

    /// `[rows, d_model]` → `[ranges, d_model]`: one vector for each range of rows. The ranges follow each other and cover all
    /// rows; equal ones may be repeated.
    ///
    /// # Errors
    /// If the ranges do not cover the rows.
    pub fn forward(&self, rows: &Value, ranges: &[Range<usize>]) -> Result<Value> {
        let mut documents = ranges.to_vec();
        documents.dedup();
        let queries = ops::gather_rows(&self.probe, &vec![0; documents.len()])?; // [documents, d_model]
        let queries = ops::cast(&queries, rows.tensor().dtype())?;
        let each = (0..documents.len()).map(|place| place..place + 1).collect();
        let rules = AttentionRules::uniform(["token"], Rule::ALL);
        let mask =
            AttentionMask::new(Arc::new(rules), Arc::new(meta(each)), Arc::new(meta(documents.clone())));
        let heads = self.attention.cross_attention(&queries, rows, &Arc::new(mask), None)?;
        let attended = self.attention.output_projection(&heads, None)?;
        let pooled = self.mlp.forward(&self.norm.forward(&attended)?, Some(&attended))?; // [documents, d_model]
        if documents.len() == ranges.len() {
            return Ok(pooled);
        }
        let mut last = 0;
        let places = ranges.iter().map(|range| {
            last += usize::from(documents[last] != *range);
            last as u32
        });
        ops::gather_rows(&pooled, &places.collect::<Vec<u32>>())
    }
}

/// Documents of tokens of one kind, without positions.
fn meta(documents: Vec<Range<usize>>) -> TokenMeta {
    let n = documents.last().map_or(0, |last| last.end);
    let number = |(number, rows): (u32, &Range<usize>)| std::iter::repeat_n(number, rows.len());
    TokenMeta {
        document: (0..).zip(&documents).flat_map(number).collect(),
        kind: vec![0; n],
        order: documents.iter().flat_map(|rows| 0..rows.len() as u32).collect(),
        time: vec![0; n],
        positions: vec![[0; MAX_AXES]; n],
        documents,
    }
}
