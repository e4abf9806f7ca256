//! A mixture of experts: MLPs of which each token takes a few (Shazeer et al. 2017; Switch Transformer, Fedus et al. 2021).
//!
//! Tokens are grouped by expert, so that each expert computes one packed list of rows: no padding, and no token is dropped
//! unless there is a capacity.

use super::config::ModelConfig;
use super::linear::{Linear, init_std};
use super::mlp::Mlp;
use super::params::Scope;
use super::routing::{LayerLoad, Routing};
use crate::ops::{self, Value};
use candle_core::{DType, Result, Tensor, bail};

/// The experts of a block, and the router that chooses among them.
pub struct Experts {
    /// The prefix of the names of its parameters: `stack.blocks.1.mlp`.
    name: String,
    /// d_model → experts.
    router: Linear,
    experts: Vec<Mlp>,
    experts_per_token: usize,
    /// The weight of the load-balance loss.
    load_balance: f64,
    capacity_factor: Option<f64>,
}

/// The experts of each token.
struct Choices {
    /// `[n·k]`: the experts of token 0, by descending score, then those of token 1, and so on.
    experts: Vec<usize>,
    /// Experts of a token.
    k: usize,
    /// The number of tokens that chose each expert.
    tokens: Vec<usize>,
}

impl Experts {
    /// Experts of the configured number and width; `residual_std` is the deviation of the weights that write to the residual
    /// stream.
    ///
    /// # Errors
    /// If a parameter's name is taken.
    pub fn new(mut scope: Scope, config: &ModelConfig, residual_std: f64) -> Result<Self> {
        let (d, mlp) = (config.d_model, &config.mlp);
        let (_, prefix, _) = scope.origin();
        let router = Linear::new(scope.at("router").in_f32(), d, mlp.experts, false, init_std(d))?;
        let expert = |e| Mlp::new(scope.at("experts").at(e), config, residual_std);
        Ok(Self {
            name: prefix.trim_end_matches('.').into(),
            router,
            experts: (0..mlp.experts).map(expert).collect::<Result<_>>()?,
            experts_per_token: mlp.experts_per_token,
            load_balance: mlp.load_balance,
            capacity_factor: mlp.capacity_factor,
        })
    }

    /// `[n, d_model]` → the same shape, added to `residual` if there is one. In training, `routing` takes the load of the
    /// experts, and the gradient includes that of the load-balance loss.
    ///
    /// # Errors
    /// If shapes differ.
    pub fn forward(&self, x: &Value, residual: Option<&Value>, routing: Option<&Routing>) -> Result<Value> {
        // In f32, because rounding would decide between experts of nearly the same score.
        let scores = self.router.forward(&ops::cast(x, DType::F32)?)?; // [n, experts]
        let probabilities = ops::softmax(&scores)?; // [n, experts]
        let choices = Choices::new(scores.tensor(), self.experts_per_token)?;
        let gates = gates(&scores, &probabilities, &choices)?; // [n·k, 1]
        let capacity = self.capacity_factor.filter(|_| routing.is_some());
        let mut y = self.mix(x, &gates, &choices, capacity)?;
        if let Some(residual) = residual {
            y = ops::add(residual, &y)?;
        }
        let Some(routing) = routing else { return Ok(y) };
        let loss = load_balance(&probabilities, &choices)?;
        routing.record(&self.name, LayerLoad { loss: loss.tensor().clone(), tokens: choices.tokens });
        ops::auxiliary_loss(&y, &loss, self.load_balance * routing.share())
    }

    /// The sum of the outputs of each token's experts, times its gates: `[n, d_model]`.
    fn mix(&self, x: &Value, gates: &Value, choices: &Choices, capacity: Option<f64>) -> Result<Value> {
        let groups = choices.groups(capacity);
        // Of no tokens each expert computes no rows, and gets a gradient of zeros as other parameters do.
        let none = choices.experts.is_empty();
        let mut outputs = Vec::new();
        for (expert, places) in
            self.experts.iter().zip(&groups).filter(|(_, group)| none || !group.is_empty())
        {
            let tokens: Vec<u32> = places.iter().map(|place| place / choices.k as u32).collect();
            outputs.push(expert.forward(&ops::gather_rows(x, &tokens)?, None)?); // [tokens, d_model]
        }
        let places = groups.concat();
        let gates = ops::gather_rows(gates, &places)?; // [rows, 1]
        let mut rows = ops::scale_rows(&ops::concat_rows(&outputs)?, &gates)?; // [rows, d_model]
        if places.len() < choices.experts.len() {
            // The output of an expert for the tokens beyond its capacity.
            let x = rows.tensor();
            let zeros = Tensor::zeros((1, x.dim(1)?), x.dtype(), x.device())?;
            rows = ops::concat_rows(&[rows, Value::constant(zeros)])?;
        }
        let mut row_of = vec![places.len() as u32; choices.experts.len()];
        (0..).zip(&places).for_each(|(row, &place)| row_of[place as usize] = row);
        let of_choice = |choice: usize| {
            let taken: Vec<u32> = row_of.iter().skip(choice).step_by(choices.k).copied().collect();
            ops::gather_rows(&rows, &taken)
        };
        (1..choices.k).try_fold(of_choice(0)?, |sum, choice| ops::add(&sum, &of_choice(choice)?))
    }

    /// The prefix of the names of its parameters.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of experts.
    pub fn count(&self) -> usize {
        self.experts.len()
    }
}

impl Choices {
    /// The `k` experts with the highest scores of each token, of equal ones the first. `scores` is `[n, experts]`.
    fn new(scores: &Tensor, k: usize) -> Result<Self> {
        let (n, count) = scores.dims2()?;
        if u32::try_from(n * count).is_err() {
            bail!("experts: expected fewer than 2^32 scores; found {n} tokens and {count} experts")
        }
        let (mut experts, mut tokens) = (Vec::with_capacity(n * k), vec![0; count]);
        let mut order: Vec<usize> = Vec::with_capacity(count);
        for row in scores.to_vec2::<f32>()? {
            order.clear();
            order.extend(0..count);
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
            experts.extend_from_slice(&order[..k]);
        }
        experts.iter().for_each(|&expert| tokens[expert] += 1);
        Ok(Self { experts, k, tokens })
    }

    /// The places of `experts` that each expert computes, ascending: all, or the first up to its capacity.
    fn groups(&self, capacity: Option<f64>) -> Vec<Vec<u32>> {
        let even = self.experts.len() as f64 / self.tokens.len() as f64;
        let most = capacity.map_or(usize::MAX, |factor| (factor * even).ceil() as usize);
        let mut groups: Vec<Vec<u32>> =
            self.tokens.iter().map(|&n| Vec::with_capacity(n.min(most))).collect();
        for (place, &expert) in (0..).zip(&self.experts) {
            if groups[expert].len() < most {
                groups[expert].push(place);
            }
        }
        groups
    }
}

/// The factor of the output of each choice, `[n·k, 1]`: the expert's probability, or, among several experts of a token, its
/// share of their probabilities.
fn gates(scores: &Value, probabilities: &Value, choices: &Choices) -> Result<Value> {
    let ((n, count), k) = (scores.dims2()?, choices.k);
    let chosen: Vec<u32> = (0..).zip(&choices.experts).map(|(i, e)| (i / k * count + e) as u32).collect();
    let of = |x: &Value| ops::gather_rows(&ops::reshape(x, &[n * count, 1])?, &chosen); // [n·k, 1]
    match k {
        1 => of(probabilities),
        _ => ops::reshape(&ops::softmax(&ops::reshape(&of(scores)?, &[n, k])?)?, &[n * k, 1]),
    }
}

/// experts·Σᵢ fᵢ·Pᵢ, a scalar, with fᵢ the share of choices of expert i and Pᵢ its mean probability: 1 if either is even.
fn load_balance(probabilities: &Value, choices: &Choices) -> Result<Value> {
    let (n, count) = probabilities.dims2()?;
    let total = choices.experts.len().max(1) as f32;
    let shares: Vec<f32> = choices.tokens.iter().map(|&tokens| tokens as f32 / total).collect();
    let shares = Tensor::from_vec(shares, (1, count), probabilities.tensor().device())?;
    let mean = ops::mean_rows(probabilities, std::slice::from_ref(&(0..n)))?; // [1, experts]
    let product = ops::linear(&mean, &Value::constant(shares), None)?; // [1, 1]
    ops::scale(&ops::reshape(&product, &[])?, count as f64)
}

#[cfg(test)]
mod tests;
