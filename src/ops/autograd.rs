//! Reverse-mode differentiation through the operations.
//!
//! candle's own backward pass creates a zero tensor and an addition for every edge of the graph, which costs a fifth of a
//! training step. Here a gradient is passed on without a copy, gradients of a value that was used more than once are added
//! in place, and the tensors that an operation saved are freed as soon as its gradient is known.

use super::add_in_place;
use candle_core::{CustomOp1, CustomOp2, CustomOp3, Result, Tensor, Var, bail};
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
        let node = Node { number, inputs, output: tensor.clone(), backward };
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
    output: Tensor,
    backward: Backward,
}

/// From the gradient of an output to those of its inputs.
enum Backward {
    Parameter(usize),
    One(Box<dyn CustomOp1 + Send + Sync>),
    Two(Box<dyn CustomOp2 + Send + Sync>),
    Three(Box<dyn CustomOp3 + Send + Sync>),
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
            Backward::One(op) => op.name(),
            Backward::Two(op) => op.name(),
            Backward::Three(op) => op.name(),
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

impl Node {
    /// From the gradient of the output to those of the inputs. `so_far` is the gradient of the first input so far, which a
    /// rule that accumulates adds to.
    fn gradients(&self, dy: &Tensor, so_far: Option<&Tensor>) -> Result<Vec<Option<Gradient>>> {
        let x = |i: usize| &self.inputs[i].tensor;
        let tensors = match &self.backward {
            Backward::Parameter(_) | Backward::Checkpoint(_) => vec![],
            Backward::One(op) => vec![op.bwd(x(0), &self.output, dy)?],
            Backward::Two(op) => {
                let (a, b) = op.bwd(x(0), x(1), &self.output, dy)?;
                vec![a, b]
            }
            Backward::Three(op) => {
                let (a, b, c) = op.bwd(x(0), x(1), x(2), &self.output, dy)?;
                vec![a, b, c]
            }
            Backward::Rule { rule, .. } => return rule(dy, so_far),
        };
        Ok(tensors.into_iter().map(|tensor| tensor.map(Gradient::own)).collect())
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

/// Applies an operation of one input.
pub(crate) fn apply1(x: &Value, op: impl CustomOp1 + Send + Sync + 'static) -> Result<Value> {
    let y = x.tensor.apply_op1_no_bwd(&op)?;
    Ok(output(y, &[x], || Backward::One(Box::new(op))))
}

/// Applies an operation of two inputs.
pub(crate) fn apply2(a: &Value, b: &Value, op: impl CustomOp2 + Send + Sync + 'static) -> Result<Value> {
    let y = a.tensor.apply_op2_no_bwd(&b.tensor, &op)?;
    Ok(output(y, &[a, b], || Backward::Two(Box::new(op))))
}

/// Applies an operation of three inputs.
pub(crate) fn apply3(
    a: &Value,
    b: &Value,
    c: &Value,
    op: impl CustomOp3 + Send + Sync + 'static,
) -> Result<Value> {
    let y = a.tensor.apply_op3_no_bwd(&b.tensor, &c.tensor, &op)?;
    Ok(output(y, &[a, b, c], || Backward::Three(Box::new(op))))
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
        if let Backward::Parameter(place) = node.backward {
            let gradient = if gradient.shared { gradient.tensor.copy()? } else { gradient.tensor };
            found.by_place.insert(place, gradient);
            continue;
        }
        if let Backward::Checkpoint(f) = &node.backward {
            // The new nodes have the highest numbers, so they are visited first; the values that `f` uses have lower
            // numbers than this node.
            match with_tracing_off(false, f)?.node {
                Some(node) => accumulate(&mut pending, node, gradient)?,
                None => bail!(
                    "backward: a checkpointed function returned a value without a gradient when it was run again"
                ),
            }
            continue;
        }
        let first = node.inputs.first().and_then(|input| input.node.as_ref()).map(|node| node.number);
        let first = first.filter(|_| matches!(node.backward, Backward::Rule { accumulates: true, .. }));
        let so_far = first.and_then(|number| pending.remove(&number)).map(|(_, gradient)| gradient.tensor);
        let gradients = node.gradients(&gradient.tensor, so_far.as_ref())?;
        for (input, gradient) in node.inputs.iter().zip(gradients) {
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
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, random};
    use crate::ops::{add, linear, squared_error};

    /// y = a + a + W·a through a value that is used three times, against candle's own gradients.
    #[test]
    fn a_value_used_three_times_gets_the_sum_of_gradients() -> Result<()> {
        let (x, w) = (Var::from_tensor(&random(&[3, 4], 1)?)?, Var::from_tensor(&random(&[4, 4], 2)?)?);
        let (a, weight) = (Value::parameter(&x, 0), Value::parameter(&w, 1));
        let doubled = add(&a, &a)?;
        let y = add(&add(&doubled, &linear(&doubled, &weight, None)?)?, &a)?;
        let loss = squared_error(&y, &[0.5; 12], &[1.0; 3])?;
        let found = backward(vec![(loss.clone(), 0.25), (loss, 0.5)])?;

        let d = (x.as_tensor() * 2.0)?;
        let y = ((&d + d.matmul(&w.t()?)?)? + x.as_tensor())?;
        let loss = ((y - 0.5)?.sqr()?.mean(1)?.sum_all()? * 0.75)?;
        let expected = loss.backward()?;
        assert_close("x", found.get(0).unwrap(), expected.get(&x).unwrap(), 1e-5)?;
        assert_close("w", found.get(1).unwrap(), expected.get(&w).unwrap(), 1e-5)
    }

    #[test]
    fn without_gradients_records_nothing() -> Result<()> {
        let x = Var::from_tensor(&random(&[2, 3], 1)?)?;
        let parameter = Value::parameter(&x, 0);
        assert!(!without_gradients(|| add(&parameter, &parameter))?.has_gradient());
        assert!(add(&parameter, &parameter)?.has_gradient());
        let constant = Value::constant(x.as_tensor().clone());
        assert!(!add(&constant, &constant)?.has_gradient());
        Ok(())
    }

    /// Two checkpointed layers, one with a third inside, that share a parameter with the operations before and after them
    /// and use another value with a history.
    #[test]
    fn checkpointing_does_not_change_gradients() -> Result<()> {
        let variables = (0..3).map(|i| Var::from_tensor(&random(&[4, 4], i)?)).collect::<Result<Vec<_>>>()?;
        let gradients = |plain: bool| -> Result<Vec<Vec<f32>>> {
            let [x, w, t] = [0, 1, 2].map(|i| Value::parameter(&variables[i], i));
            let layer = |f: Box<Forward>| if plain { f() } else { checkpointed(f) };
            let shared = add(&linear(&t, &w, None)?, &t)?;
            let first = {
                let (x, w, shared) = (linear(&x, &w, None)?, w.clone(), shared.clone());
                layer(Box::new(move || add(&add(&x, &linear(&x, &w, None)?)?, &shared)))?
            };
            let second = {
                let (w, shared) = (w.clone(), shared.clone());
                let inner = move |x: &Value| {
                    let (x, w) = (x.clone(), w.clone());
                    checkpointed(move || linear(&x, &w, None))
                };
                layer(Box::new(move || add(&inner(&add(&first, &shared)?)?, &first)))?
            };
            let y = add(&linear(&second, &w, None)?, &shared)?;
            let loss = squared_error(&y, &[0.5; 16], &[1.0; 4])?;
            // Backward records the checkpointed functions even inside `without_gradients`.
            let found = without_gradients(|| backward(vec![(loss, 1.0)]))?;
            (0..3).map(|i| found.get(i).unwrap().flatten_all()?.to_vec1()).collect()
        };
        let (checkpointed, plain) = (gradients(false)?, gradients(true)?);
        assert!(
            checkpointed == plain && plain.iter().flatten().all(|g| *g != 0.0),
            "{checkpointed:?} {plain:?}"
        );
        Ok(())
    }

    #[test]
    fn checkpointed_values_without_gradients_are_constants() -> Result<()> {
        let x = Var::from_tensor(&random(&[2, 3], 1)?)?;
        let (constant, parameter) = (Value::constant(x.as_detached_tensor()), Value::parameter(&x, 0));
        let twice = |x: Value| checkpointed(move || add(&x, &x));
        assert!(!twice(constant)?.has_gradient());
        assert!(!without_gradients(|| twice(parameter.clone()))?.has_gradient());
        assert!(twice(parameter)?.has_gradient());
        Ok(())
    }

    #[test]
    fn roots_must_be_scalars() -> Result<()> {
        let x = Var::from_tensor(&random(&[2], 1)?)?;
        let error = backward(vec![(Value::parameter(&x, 0), 1.0)]).err().unwrap().to_string();
        assert!(error.contains("expected a scalar"), "{error}");
        Ok(())
    }
}
