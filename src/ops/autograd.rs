//! The reverse pass: gradients through the operations.
//!
//! candle's own walk makes a zero tensor and an addition for every edge of the graph, which costs a fifth of a
//! training step. Here a gradient is handed on, is added in place where a value was used more than once, and what an
//! operation kept for it is freed as soon as the walk has passed.

use super::add_in_place;
use candle_core::{CustomOp1, CustomOp2, CustomOp3, DType, Result, Tensor, Var, bail};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A tensor and, where a gradient may be asked of it, how it was made.
#[derive(Clone, Debug)]
pub struct Value {
    tensor: Tensor,
    node: Option<Arc<Node>>,
}

impl Value {
    /// A number that has no gradient: an input.
    pub fn constant(tensor: Tensor) -> Self {
        Self { tensor: tensor.detach(), node: None }
    }

    /// A parameter, known by its `place` among all of them in the [`Gradients`]. It shares the variable's storage.
    pub fn parameter(variable: &Var, place: usize) -> Self {
        Self::made(variable.as_detached_tensor(), vec![], Backward::Parameter(place))
    }

    fn made(tensor: Tensor, inputs: Vec<Value>, backward: Backward) -> Self {
        /// Later nodes have higher numbers, so that descending numbers are an order to walk back in.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let node = Node { number, inputs, output: tensor.clone(), backward };
        Self { tensor, node: Some(Arc::new(node)) }
    }

    /// The numbers themselves.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The numbers, without their history.
    pub fn into_tensor(self) -> Tensor {
        self.tensor
    }

    /// Sizes of the dimensions.
    pub fn dims(&self) -> &[usize] {
        self.tensor.dims()
    }

    /// The sizes of exactly two dimensions.
    ///
    /// # Errors
    /// Where there are more or fewer.
    pub fn dims2(&self) -> Result<(usize, usize)> {
        self.tensor.dims2()
    }

    /// Whether a gradient may be asked of it.
    pub fn has_gradient(&self) -> bool {
        self.node.is_some()
    }
}

/// Runs `f` without keeping how values are made: for predictions, which nobody differentiates.
pub fn without_gradients<T>(f: impl FnOnce() -> T) -> T {
    switched(true, f)
}

fn switched<T>(off: bool, f: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            OFF.set(self.0);
        }
    }
    let _restore = Restore(OFF.replace(off));
    f()
}

thread_local! {
    static OFF: Cell<bool> = const { Cell::new(false) };
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
    /// The first of which, where it `adds`, includes what has come to that input before.
    Rule {
        rule: Box<Rule>,
        adds: bool,
    },
    /// Makes the output once more, to walk back from there.
    Again(Box<Again>),
}

type Again = dyn Fn() -> Result<Value> + Send + Sync;
type Rule = dyn Fn(&Tensor, Option<&Tensor>) -> Result<Vec<Option<Gradient>>> + Send + Sync;

impl std::fmt::Debug for Backward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Backward::Parameter(_) => "parameter",
            Backward::One(op) => op.name(),
            Backward::Two(op) => op.name(),
            Backward::Three(op) => op.name(),
            Backward::Rule { .. } => "rule",
            Backward::Again(_) => "again",
        })
    }
}

/// A gradient on its way back.
pub(crate) struct Gradient {
    tensor: Tensor,
    /// Whether another edge holds the same storage: it must not be written to then.
    shared: bool,
}

impl Gradient {
    /// One that nothing else holds.
    pub(crate) fn own(tensor: Tensor) -> Self {
        Self { tensor, shared: false }
    }

    /// One that is handed to several inputs.
    pub(crate) fn shared(tensor: &Tensor) -> Self {
        Self { tensor: tensor.clone(), shared: true }
    }

    fn plus(self, other: Self) -> Result<Self> {
        let (kept, added) = if self.shared { (other, self) } else { (self, other) };
        if kept.shared {
            return Ok(Self::own((kept.tensor + added.tensor)?));
        }
        add_in_place(&kept.tensor, &added.tensor)?;
        Ok(kept)
    }
}

impl Node {
    /// From the gradient of the output to those of the inputs, and `waiting`, the first's so far, where the rule adds.
    fn gradients(&self, dy: &Tensor, waiting: Option<&Tensor>) -> Result<Vec<Option<Gradient>>> {
        let x = |i: usize| &self.inputs[i].tensor;
        let tensors = match &self.backward {
            Backward::Parameter(_) | Backward::Again(_) => vec![],
            Backward::One(op) => vec![op.bwd(x(0), &self.output, dy)?],
            Backward::Two(op) => {
                let (a, b) = op.bwd(x(0), x(1), &self.output, dy)?;
                vec![a, b]
            }
            Backward::Three(op) => {
                let (a, b, c) = op.bwd(x(0), x(1), x(2), &self.output, dy)?;
                vec![a, b, c]
            }
            Backward::Rule { rule, .. } => return rule(dy, waiting),
        };
        Ok(tensors.into_iter().map(|tensor| tensor.map(Gradient::own)).collect())
    }
}

fn traced(inputs: &[&Value]) -> bool {
    !OFF.get() && inputs.iter().any(|value| value.has_gradient())
}

fn output(y: Tensor, inputs: &[&Value], backward: impl FnOnce() -> Backward) -> Value {
    match traced(inputs) {
        true => Value::made(y, inputs.iter().map(|&value| value.clone()).collect(), backward()),
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

/// `y`, made of `inputs`, whose gradients `rule` gives.
pub(crate) fn with_rule(
    y: Tensor,
    inputs: &[&Value],
    rule: impl Fn(&Tensor) -> Result<Vec<Option<Gradient>>> + Send + Sync + 'static,
) -> Value {
    output(y, inputs, || Backward::Rule { rule: Box::new(move |dy, _| rule(dy)), adds: false })
}

/// As [`with_rule`], where `rule` is also given the gradient that the first input has so far, if any, and returns their
/// sum: what adds while it writes saves another pass over memory.
#[cfg(feature = "cuda")]
pub(crate) fn with_adding_rule(
    y: Tensor,
    inputs: &[&Value],
    rule: impl Fn(&Tensor, Option<&Tensor>) -> Result<Vec<Option<Gradient>>> + Send + Sync + 'static,
) -> Value {
    output(y, inputs, || Backward::Rule { rule: Box::new(rule), adds: true })
}

/// What `f` gives, of whose making nothing is kept but `f` itself: the walk back runs it again (Chen et al. 2016).
///
/// `f` may use any values, parameters and others, and each gets its gradient, with the bits that it has without this; but it
/// must give the same whenever it is run.
///
/// # Errors
/// Those of `f`.
pub fn checkpointed(f: impl Fn() -> Result<Value> + Send + Sync + 'static) -> Result<Value> {
    let y = f()?;
    Ok(match y.has_gradient() {
        true => Value::made(y.tensor, vec![], Backward::Again(Box::new(f))),
        false => y,
    })
}

/// Applies an operation's reference, through which candle differentiates; inputs of half a float's size as floats.
pub(crate) fn by_reference(
    inputs: &[&Value],
    reference: impl FnOnce(&[Tensor]) -> Result<Tensor>,
) -> Result<Value> {
    let dtype = inputs.first().map_or(DType::F32, |first| first.tensor.dtype());
    let widened = |value: &&Value| match value.tensor.dtype() {
        DType::BF16 | DType::F16 => value.tensor.to_dtype(DType::F32),
        _ => Ok(value.tensor.clone()),
    };
    let tensors = inputs.iter().map(widened).collect::<Result<Vec<_>>>()?;
    // A loss stays as exact as it was computed.
    let narrowed = |y: &Tensor| if y.rank() == 0 { Ok(y.clone()) } else { y.to_dtype(dtype) };
    if !traced(inputs) {
        return Ok(Value::constant(narrowed(&reference(&tensors)?)?));
    }
    let variables = tensors.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let y = reference(&tensors)?;
    let dtypes: Vec<DType> = inputs.iter().map(|value| value.tensor.dtype()).collect();
    Ok(with_rule(narrowed(&y.detach())?, inputs, move |dy| {
        let mut gradients = (&y * dy.to_dtype(y.dtype())?)?.sum_all()?.backward()?;
        let mut of = |(variable, dtype): (&Var, &DType)| {
            gradients
                .remove(variable)
                .map(|gradient| gradient.to_dtype(*dtype).map(Gradient::own))
                .transpose()
        };
        variables.iter().zip(&dtypes).map(&mut of).collect()
    }))
}

/// The gradients of parameters, by their place among all of them.
#[derive(Default)]
pub struct Gradients {
    by_place: BTreeMap<usize, Tensor>,
}

impl Gradients {
    /// The gradient of the parameter at `place`; none where nothing reached it.
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

    /// Adds the gradients of another part of the batch.
    ///
    /// # Errors
    /// Where shapes differ.
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

/// The gradients of Σ scaleᵢ·rootᵢ for every parameter, where the roots are scalars.
///
/// # Errors
/// A root that is no scalar; what an operation's backward pass refuses.
pub fn backward(roots: Vec<(Value, f64)>) -> Result<Gradients> {
    let mut waiting: BTreeMap<u64, (Arc<Node>, Gradient)> = BTreeMap::new();
    for (root, scale) in roots {
        if !root.dims().is_empty() {
            bail!("backward: expected a scalar, found {:?}", root.dims());
        }
        let dy = (root.tensor.ones_like()? * scale)?;
        if let Some(node) = root.node {
            arrive(&mut waiting, node, Gradient::own(dy))?;
        }
    }
    let mut found = Gradients::default();
    while let Some((_, (node, gradient))) = waiting.pop_last() {
        if let Backward::Parameter(place) = node.backward {
            let gradient = if gradient.shared { gradient.tensor.copy()? } else { gradient.tensor };
            found.by_place.insert(place, gradient);
            continue;
        }
        if let Backward::Again(f) = &node.backward {
            // What is made now is walked first, as its numbers are the highest, and leads to what `f` has used, whose
            // numbers are below this node's.
            match switched(false, f)?.node {
                Some(node) => arrive(&mut waiting, node, gradient)?,
                None => bail!("backward: what is computed again has no gradient the second time"),
            }
            continue;
        }
        let first = node.inputs.first().and_then(|input| input.node.as_ref()).map(|node| node.number);
        let first = first.filter(|_| matches!(node.backward, Backward::Rule { adds: true, .. }));
        let there = first.and_then(|number| waiting.remove(&number)).map(|(_, gradient)| gradient.tensor);
        let gradients = node.gradients(&gradient.tensor, there.as_ref())?;
        for (input, gradient) in node.inputs.iter().zip(gradients) {
            if let (Some(node), Some(gradient)) = (&input.node, gradient) {
                arrive(&mut waiting, node.clone(), gradient)?;
            }
        }
    }
    Ok(found)
}

fn arrive(
    waiting: &mut BTreeMap<u64, (Arc<Node>, Gradient)>,
    node: Arc<Node>,
    gradient: Gradient,
) -> Result<()> {
    let number = node.number;
    let sum = match waiting.remove(&number) {
        Some((_, there)) => there.plus(gradient)?,
        None => gradient,
    };
    waiting.insert(number, (node, sum));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, random};
    use crate::ops::{add, linear, squared_error};

    /// y = a + a + W·a through a value that is used three times, against candle's own walk.
    #[test]
    fn a_value_used_thrice_gets_the_sum() -> Result<()> {
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
    fn the_reference_carries_gradients_too() -> Result<()> {
        let x = Var::from_tensor(&random(&[2, 3], 1)?)?;
        let y = by_reference(&[&Value::parameter(&x, 7)], |t| t[0].sqr()?.sum_all())?;
        let found = backward(vec![(y, 1.0)])?;
        assert_close("x", found.get(7).unwrap(), &(x.as_tensor() * 2.0)?, 1e-6)?;
        assert!(found.get(0).is_none());
        Ok(())
    }

    #[test]
    fn nothing_is_kept_without_gradients() -> Result<()> {
        let x = Var::from_tensor(&random(&[2, 3], 1)?)?;
        let parameter = Value::parameter(&x, 0);
        assert!(!without_gradients(|| add(&parameter, &parameter))?.has_gradient());
        assert!(add(&parameter, &parameter)?.has_gradient());
        let constant = Value::constant(x.as_tensor().clone());
        assert!(!add(&constant, &constant)?.has_gradient());
        Ok(())
    }

    /// Two layers that share a parameter with what is before and behind them, and look at another value with a history; one
    /// of them holds another.
    #[test]
    fn what_is_computed_again_has_the_same_gradients() -> Result<()> {
        let variables = (0..3).map(|i| Var::from_tensor(&random(&[4, 4], i)?)).collect::<Result<Vec<_>>>()?;
        let gradients = |kept: bool| -> Result<Vec<Vec<f32>>> {
            let [x, w, t] = [0, 1, 2].map(|i| Value::parameter(&variables[i], i));
            let layer = |f: Box<Again>| if kept { f() } else { checkpointed(f) };
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
            // Whatever the walk itself is run in.
            let found = without_gradients(|| backward(vec![(loss, 1.0)]))?;
            (0..3).map(|i| found.get(i).unwrap().flatten_all()?.to_vec1()).collect()
        };
        let (again, kept) = (gradients(false)?, gradients(true)?);
        assert!(again == kept && kept.iter().flatten().all(|g| *g != 0.0), "{again:?} {kept:?}");
        Ok(())
    }

    #[test]
    fn nothing_is_computed_again_for_nobody() -> Result<()> {
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
