//! Reverse-mode differentiation through the operations.
//!
//! candle's own backward pass creates a zero tensor and an addition for every edge of the graph, which costs a fifth of a
//! training step. Here a gradient is passed on without a copy, gradients of a value that was used more than once are added
//! in place, and the tensors that an operation saved are freed as soon as its gradient is known.

use super::add_in_place;
use candle_core::{Result, Tensor, Var, bail};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A tensor and, if it has a gradient, the operation that computed it.
#[derive(Clone, Debug)]
pub struct Value {
    tensor: Tensor,
    node: Option<Arc<Node>>,
}

impl Value {
    /// A value without a gradient: an input.
    pub fn constant(tensor: Tensor) -> Self {
        Self { tensor: tensor.detach(), node: None }
    }

    /// A parameter, whose gradient is at `place` in the [`Gradients`]. It shares the variable's storage.
    pub fn parameter(variable: &Var, place: usize) -> Self {
        Self::with_node(variable.as_detached_tensor(), vec![], Backward::Parameter(place))
    }

    fn with_node(tensor: Tensor, inputs: Vec<Value>, backward: Backward) -> Self {
        /// Later nodes have higher numbers, so that backward visits nodes by descending number.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let node = Node { number, inputs, backward };
        Self { tensor, node: Some(Arc::new(node)) }
    }

    /// The tensor.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The tensor, without its history.
    pub fn into_tensor(self) -> Tensor {
        self.tensor
    }

    /// Sizes of the dimensions.
    pub fn dims(&self) -> &[usize] {
        self.tensor.dims()
    }

    /// The sizes of a matrix.
    ///
    /// # Errors
    /// If there are more or fewer than two dimensions.
    pub fn dims2(&self) -> Result<(usize, usize)> {
        self.tensor.dims2()
    }

    /// Whether the value has a gradient.
    pub fn has_gradient(&self) -> bool {
        self.node.is_some()
    }
}

/// Runs `f` without recording operations: for predictions, which need no gradients.
pub fn without_gradients<T>(f: impl FnOnce() -> T) -> T {
    with_tracing_off(true, f)
}

fn with_tracing_off<T>(off: bool, f: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            TRACING_OFF.set(self.0);
        }
    }
    let _restore = Restore(TRACING_OFF.replace(off));
    f()
}

thread_local! {
    static TRACING_OFF: Cell<bool> = const { Cell::new(false) };
}

#[derive(Debug)]
struct Node {
    number: u64,
    inputs: Vec<Value>,
    backward: Backward,
}

/// From the gradient of an output to those of its inputs.
enum Backward {
    Parameter(usize),
    /// If it `accumulates`, the first gradient includes the one that the first input had before.
    Rule {
        rule: Box<Rule>,
        accumulates: bool,
    },
    /// Runs the forward pass once more and continues from its output.
    Checkpoint(Box<Forward>),
}

type Forward = dyn Fn() -> Result<Value> + Send + Sync;
type Rule = dyn Fn(&Tensor, Option<&Tensor>) -> Result<Vec<Option<Gradient>>> + Send + Sync;

impl std::fmt::Debug for Backward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Backward::Parameter(_) => "parameter",
            Backward::Rule { .. } => "rule",
            Backward::Checkpoint(_) => "checkpoint",
        })
    }
}

/// A gradient on its way back.
pub(crate) struct Gradient {
    tensor: Tensor,
    /// Whether another edge holds the same storage, which must not be written to then.
    shared: bool,
}

impl Gradient {
    /// A gradient whose storage nothing else holds.
    pub(crate) fn own(tensor: Tensor) -> Self {
        Self { tensor, shared: false }
    }

    /// A gradient that several inputs share.
    pub(crate) fn shared(tensor: &Tensor) -> Self {
        Self { tensor: tensor.clone(), shared: true }
    }

    fn plus(self, other: Self) -> Result<Self> {
        let (sum, other) = if self.shared { (other, self) } else { (self, other) };
        if sum.shared {
            return Ok(Self::own((sum.tensor + other.tensor)?));
        }
        add_in_place(&sum.tensor, &other.tensor)?;
        Ok(sum)
    }
}

pub(super) fn traced(inputs: &[&Value]) -> bool {
    !TRACING_OFF.get() && inputs.iter().any(|value| value.has_gradient())
}

fn output(y: Tensor, inputs: &[&Value], backward: impl FnOnce() -> Backward) -> Value {
    match traced(inputs) {
        true => Value::with_node(y, inputs.iter().map(|&value| value.clone()).collect(), backward()),
        false => Value::constant(y),
    }
}

/// The value `y` computed from `inputs`, whose gradients `rule` computes.
pub(crate) fn with_rule(
    y: Tensor,
    inputs: &[&Value],
    rule: impl Fn(&Tensor) -> Result<Vec<Option<Gradient>>> + Send + Sync + 'static,
) -> Value {
    output(y, inputs, || Backward::Rule { rule: Box::new(move |dy, _| rule(dy)), accumulates: false })
}

/// As [`with_rule`], but `rule` also takes the gradient of the first input so far, if any, and returns the sum: to add
/// while writing saves another pass over memory.
#[cfg(feature = "cuda")]
pub(crate) fn with_accumulating_rule(
    y: Tensor,
    inputs: &[&Value],
    rule: impl Fn(&Tensor, Option<&Tensor>) -> Result<Vec<Option<Gradient>>> + Send + Sync + 'static,
) -> Value {
    output(y, inputs, || Backward::Rule { rule: Box::new(rule), accumulates: true })
}

/// Activation checkpointing: the output of `f`, without its intermediate values; backward runs `f` again (Chen et al.
/// 2016).
///
/// `f` may use any values, and each gets the same gradient as without checkpointing, bit for bit; but `f` must return the
/// same output in every call.
///
/// # Errors
/// The errors of `f`.
pub fn checkpointed(f: impl Fn() -> Result<Value> + Send + Sync + 'static) -> Result<Value> {
    let y = f()?;
    Ok(match y.has_gradient() {
        true => Value::with_node(y.tensor, vec![], Backward::Checkpoint(Box::new(f))),
        false => y,
    })
}

/// The gradients of parameters, by their place among all of them.
#[derive(Default)]
pub struct Gradients {
    by_place: BTreeMap<usize, Tensor>,
}

impl Gradients {
    /// The gradient of the parameter at `place`; `None` if it is unreached.
    pub fn get(&self, place: usize) -> Option<&Tensor> {
        self.by_place.get(&place)
    }

    /// Sets the gradient of the parameter at `place`.
    pub fn set(&mut self, place: usize, gradient: Tensor) {
        self.by_place.insert(place, gradient);
    }

    /// Every gradient.
    pub fn iter(&self) -> impl Iterator<Item = &Tensor> {
        self.by_place.values()
    }

    /// Adds the gradients of another micro-batch.
    ///
    /// # Errors
    /// If shapes differ.
    pub fn add(&mut self, others: Gradients) -> Result<()> {
        for (place, other) in others.by_place {
            match self.by_place.get(&place) {
                Some(sum) => add_in_place(sum, &other)?,
                None => {
                    self.by_place.insert(place, other);
                }
            }
        }
        Ok(())
    }
}

/// The gradients of Σ scaleᵢ·rootᵢ for every parameter, with scalar roots.
///
/// # Errors
/// If a root is no scalar, or the backward pass of an operation fails.
pub fn backward(roots: Vec<(Value, f64)>) -> Result<Gradients> {
    let mut pending: BTreeMap<u64, (Arc<Node>, Gradient)> = BTreeMap::new();
    for (root, scale) in roots {
        if !root.dims().is_empty() {
            bail!("backward: expected a scalar, found {:?}", root.dims());
        }
        let dy = (root.tensor.ones_like()? * scale)?;
        if let Some(node) = root.node {
            accumulate(&mut pending, node, Gradient::own(dy))?;
        }
    }
    let mut found = Gradients::default();
    while let Some((_, (node, gradient))) = pending.pop_last() {
        let (rule, accumulates) = match &node.backward {
            Backward::Parameter(place) => {
                let gradient = if gradient.shared { gradient.tensor.copy()? } else { gradient.tensor };
                found.by_place.insert(*place, gradient);
                continue;
            }
            // The new nodes have the highest numbers, so they are visited first; the values that `f` uses have lower
            // numbers than this node.
            Backward::Checkpoint(f) => match with_tracing_off(false, f)?.node {
                Some(node) => {
                    accumulate(&mut pending, node, gradient)?;
                    continue;
                }
                None => bail!(
                    "backward: a checkpointed function returned a value without a gradient when it was run again"
                ),
            },
            Backward::Rule { rule, accumulates } => (rule, *accumulates),
        };
        let first = node.inputs.first().and_then(|input| input.node.as_ref()).filter(|_| accumulates);
        let so_far =
            first.and_then(|first| pending.remove(&first.number)).map(|(_, gradient)| gradient.tensor);
        for (input, gradient) in node.inputs.iter().zip(rule(&gradient.tensor, so_far.as_ref())?) {
            if let (Some(node), Some(gradient)) = (&input.node, gradient) {
                accumulate(&mut pending, node.clone(), gradient)?;
            }
        }
    }
    Ok(found)
}

/// Adds a gradient of a node's output to its gradient so far.
fn accumulate(
    pending: &mut BTreeMap<u64, (Arc<Node>, Gradient)>,
    node: Arc<Node>,
    gradient: Gradient,
) -> Result<()> {
    let number = node.number;
    let sum = match pending.remove(&number) {
        Some((_, so_far)) => so_far.plus(gradient)?,
        None => gradient,
    };
    pending.insert(number, (node, sum));
    Ok(())
}

#[cfg(test)]
mod tests;
