use super::*;
use crate::model::config::MlpConfig;
use crate::model::params::Params;
use crate::ops::testing::{assert_close, random};
use crate::ops::{Gradients, backward, squared_error};
use candle_core::{Device, Var};

const D: usize = 4;

fn experts(mlp: MlpConfig) -> Result<(Params, Experts)> {
    let mut params = Params::new(3, &Device::Cpu);
    let mlp = MlpConfig { experts: 3, d_ff: 6, ..mlp };
    let config = ModelConfig { d_model: D, mlp, ..ModelConfig::default() };
    let experts = Experts::new(params.root().at("mlp"), &config, 0.5)?;
    Ok((params, experts))
}

fn of_tokens(experts_per_token: usize) -> MlpConfig {
    MlpConfig { experts_per_token, load_balance: 0.5, ..MlpConfig::default() }
}

fn parameter<'a>(params: &'a Params, name: &str) -> &'a Var {
    params.iter().find(|(known, _)| *known == name).unwrap().1
}

/// Sets the router to `factor` times the first three features.
fn route_by_feature(params: &Params, factor: f32) -> Result<()> {
    let weight: Vec<f32> = (0..3 * D).map(|i| if i / D == i % D { factor } else { 0.0 }).collect();
    parameter(params, "mlp.router.weight").set(&Tensor::from_vec(weight, (3, D), &Device::Cpu)?)
}

/// Tokens whose feature `of(token)` of the first three is far above the next one, and that far above the third.
fn tokens(n: usize, of: impl Fn(usize) -> usize) -> Result<Tensor> {
    let peak = |i: usize| match (i % D, of(i / D)) {
        (feature, first) if feature == first => 1.0,
        (feature, first) if feature == (first + 1) % 3 => 0.5,
        _ => 0.0,
    };
    let peaks: Vec<f32> = (0..n * D).map(peak).collect();
    (random(&[n, D], 5)? * 0.1)? + Tensor::from_vec(peaks, (n, D), &Device::Cpu)?
}

fn scalar(x: &Tensor) -> Result<f64> {
    x.to_scalar::<f32>().map(f64::from)
}

#[test]
fn an_even_router_has_a_loss_of_one_and_a_collapsed_router_more() -> Result<()> {
    for k in [1, 2] {
        let (params, experts) = experts(of_tokens(k))?;
        let loss = |x: &Tensor| -> Result<(f64, Vec<usize>)> {
            let routing = Routing::new(1.0);
            experts.forward(&Value::constant(x.clone()), None, Some(&routing))?;
            let load = routing.layers().remove("mlp").unwrap();
            Ok((scalar(&load.loss)?, load.tokens))
        };
        // Equal scores: the probabilities are even, although all tokens take the first experts.
        route_by_feature(&params, 0.0)?;
        let (even, load) = loss(&tokens(9, |i| i % 3)?)?;
        assert!((even - 1.0).abs() < 1e-6, "{even}");
        assert_eq!((load[0], load[2]), (9, 0));
        // Even choices, of certain probabilities.
        route_by_feature(&params, 50.0)?;
        let (spread, load) = loss(&tokens(9, |i| i % 3)?)?;
        assert!((spread - 1.0).abs() < 0.25, "{spread}");
        assert_eq!(load.iter().sum::<usize>(), 9 * k);
        let (collapsed, load) = loss(&tokens(9, |_| 1)?)?;
        assert!(collapsed > 3.0 / k as f64 - 0.1, "{collapsed}");
        assert_eq!(load[1], 9);
    }
    Ok(())
}

#[test]
fn a_token_gets_the_sum_of_its_experts_times_its_gates() -> Result<()> {
    for k in [1, 2, 3] {
        let (params, experts) = experts(of_tokens(k))?;
        route_by_feature(&params, 2.0)?;
        let x = tokens(8, |i| i * i % 3)?;
        let all = experts.forward(&Value::constant(x.clone()), None, None)?;
        for token in 0..8 {
            let row = x.narrow(0, token, 1)?;
            let scores: Vec<f32> = row.to_vec2::<f32>()?[0][..3].iter().map(|x| (2.0 * x).exp()).collect();
            let mut order = [0, 1, 2];
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            let of = if k == 1 { &order[..] } else { &order[..k] };
            let total: f32 = of.iter().map(|&expert| scores[expert]).sum();
            let mut expected = row.zeros_like()?;
            for &expert in &order[..k] {
                let y = experts.experts[expert].forward(&Value::constant(row.clone()), None)?.into_tensor();
                expected = (expected + (y * f64::from(scores[expert] / total))?)?;
            }
            assert_close("token", &all.tensor().narrow(0, token, 1)?, &expected, 1e-5)?;
        }
        let with = experts.forward(&Value::constant(x.clone()), Some(&Value::constant(x.clone())), None)?;
        assert_close("residual", with.tensor(), &(x + all.into_tensor())?, 1e-6)?;
    }
    Ok(())
}

/// Router, gates, experts, input and the load-balance loss. No token is near the border between two experts.
#[test]
fn gradients_are_finite_differences() -> Result<()> {
    const SHARE: f64 = 0.6;
    for k in [1, 2, 3] {
        let (mut params, experts) = experts(of_tokens(k))?;
        let input = Var::from_tensor(&tokens(7, |i| i % 3)?)?;
        let x = params.root().adopt("x", input.clone())?;
        route_by_feature(&params, 1.5)?;
        let targets: Vec<f32> = random(&[7, D], 8)?.flatten_all()?.to_vec1()?;
        let run = || -> Result<(Value, f64)> {
            let routing = Routing::new(SHARE);
            let y = experts.forward(&x, None, Some(&routing))?;
            let loss = squared_error(&y, &targets, &[1.0; 7])?;
            let balance = scalar(&routing.layers().remove("mlp").unwrap().loss)?;
            let value = scalar(loss.tensor())? + 0.5 * SHARE * balance;
            Ok((loss, value))
        };
        let gradients: Gradients = backward(vec![(run()?.0, 1.0)])?;
        for (place, (name, variable)) in params.iter().enumerate() {
            let gradient = gradients.get(place).unwrap_or_else(|| panic!("{name} gets no gradient"));
            let norm = scalar(&gradient.sqr()?.sum_all()?)?.sqrt();
            if norm < 1e-2 {
                continue; // rounding would decide
            }
            let (start, direction) = (variable.as_tensor().copy()?, (gradient / norm)?);
            let at = |step: f64| -> Result<f64> {
                variable.set(&(&start + (&direction * step)?)?)?;
                Ok(run()?.1)
            };
            let slope = (at(5e-3)? - at(-5e-3)?) / 1e-2;
            variable.set(&start)?;
            assert!((slope - norm).abs() <= 0.02 * norm + 1e-3, "{k}, {name}: {slope} is not {norm}");
        }
    }
    Ok(())
}

#[test]
fn tokens_beyond_the_capacity_pass_their_expert_by_in_training_alone() -> Result<()> {
    let (params, experts) = experts(MlpConfig { capacity_factor: Some(1.25), ..of_tokens(1) })?;
    route_by_feature(&params, 50.0)?;
    let x = Value::constant(tokens(6, |i| usize::from(i == 3))?); // five tokens choose expert 0
    let zero = |y: &Value| -> Result<Vec<bool>> {
        Ok(y.tensor().to_vec2::<f32>()?.iter().map(|row| row.iter().all(|x| *x == 0.0)).collect())
    };
    // 1.25 times two, rounded up, is three.
    let y = experts.forward(&x, None, Some(&Routing::new(1.0)))?;
    assert_eq!(zero(&y)?, [false, false, false, false, true, true]);
    assert_eq!(zero(&experts.forward(&x, None, None)?)?, [false; 6]);
    Ok(())
}

#[test]
fn an_expert_without_tokens_gets_no_gradient() -> Result<()> {
    let (params, experts) = experts(of_tokens(1))?;
    route_by_feature(&params, 50.0)?;
    let y = experts.forward(&Value::constant(tokens(5, |i| i % 2)?), None, Some(&Routing::new(1.0)))?;
    let gradients = backward(vec![(squared_error(&y, &[0.5; 5 * D], &[1.0; 5])?, 1.0)])?;
    for (place, (name, _)) in params.iter().enumerate() {
        assert_eq!(gradients.get(place).is_none(), name.starts_with("mlp.experts.2."), "{name}");
    }
    Ok(())
}

#[test]
fn without_tokens_each_parameter_gets_a_gradient_of_zeros() -> Result<()> {
    let (params, experts) = experts(of_tokens(2))?;
    let x = Value::constant(Tensor::zeros((0, D), DType::F32, &Device::Cpu)?);
    let y = experts.forward(&x, None, Some(&Routing::new(0.0)))?;
    assert_eq!(y.dims(), [0, D]);
    let gradients = backward(vec![(squared_error(&y, &[], &[])?, 1.0)])?;
    for (place, (name, variable)) in params.iter().enumerate() {
        let gradient = gradients.get(place).unwrap_or_else(|| panic!("{name} gets no gradient"));
        assert_eq!(gradient.dims(), variable.dims(), "{name}");
    }
    Ok(())
}
