//! Linear maps, MLPs, nonlinearities, norms, and products and sums with one vector.

use super::{Case, each, matrix, numbers, vector, weight};
use crate::ops::{Activation, activation, add_to_columns, gate, layer_norm, linear, linear_residual};
use crate::ops::{mlp, mlp_residual, norm, rms_norm, scale, scale_columns, scale_rows, softmax};
use candle_core::{Device, Result, Tensor};

const EPS: f64 = 1e-5;

pub(super) fn cases() -> Result<Vec<Case>> {
    let all = [
        linear_maps()?,
        mlps()?,
        residual_maps()?,
        activations()?,
        gates()?,
        products()?,
        norms()?,
        routed()?,
    ];
    Ok(all.into_iter().flatten().collect())
}

fn linear_maps() -> Result<Vec<Case>> {
    let small = [(0, 5, 4), (1, 1, 1), (1, 7, 3), (5, 1, 9), (3, 5, 4)];
    let others = [
        (1, 64, 48),
        (20, 64, 48),
        (67, 33, 129),
        (67, 256, 130),
        (300, 64, 48),
        (512, 256, 384),
        (1100, 33, 65),
    ];
    each(&small, &others, |(n, k, m)| {
        let (x, weight, bias) = (matrix(n, k, 1)?, weight(m, k, 2)?, vector(m, 3)?);
        let case = |bias: &str| {
            Case::new(
                format!("linear {n}x{k}x{m}{bias}"),
                [x.clone()],
                (),
                |(), x| linear(&x[0], &x[1], x.get(2)),
                |(), t| linear::reference::linear(&t[0], &t[1], t.get(2)),
            )
        };
        let parameters = [weight.clone(), bias];
        Ok(vec![case("").parameters(parameters), case(" without a bias").parameters([weight])])
    })
}

fn mlps() -> Result<Vec<Case>> {
    let mut cases =
        each(&[(1, 1, 1), (5, 3, 7), (3, 2, 4)], &[(40, 64, 256), (300, 8, 33), (1100, 16, 64)], |shape| {
            let bias = || vector(shape.2, 4).map(Some);
            Ok(vec![
                mlp_of(Activation::Gelu, shape, bias()?)?,
                mlp_of(Activation::Silu, shape, bias()?)?,
                mlp_of(Activation::Relu, shape, None)?,
            ])
        })?;
    for (f, d) in [(Activation::Gelu, 96), (Activation::GeluTanh, 64), (Activation::Silu, 64)] {
        cases.push(mlp_of(f, (200, d, 2 * d), Some(vector(2 * d, 4)?))?);
    }
    // Far from 0, where rounding would decide the slope.
    let far = (0..60).map(|i| if i % 2 == 0 { 8.0_f32 } else { -8.0 });
    cases.push(mlp_of(Activation::Relu, (200, 30, 60), Some(Tensor::from_iter(far, &Device::Cpu)?))?);
    Ok(cases)
}

/// With both biases, or with none.
fn mlp_of(f: Activation, (n, d, d_ff): (usize, usize, usize), inner_bias: Option<Tensor>) -> Result<Case> {
    let biases = if inner_bias.is_some() { "" } else { " without biases" };
    let outer_bias = inner_bias.is_some().then(|| vector(d, 5)).transpose()?;
    let weights = [weight(d_ff, d, 2)?, weight(d, d_ff, 3)?];
    let case = Case::new(
        format!("mlp {f:?} {n}x{d}x{d_ff}{biases}"),
        [matrix(n, d, 1)?],
        f,
        |f, x| mlp(&x[0], (&x[1], x.get(3)), (&x[2], x.get(4)), *f),
        |f, t| mlp::reference::mlp(t, [t.len() > 3; 2], *f),
    );
    Ok(case.parameters(weights.into_iter().chain(inner_bias).chain(outer_bias).collect::<Vec<_>>()))
}

/// The norm and the residual sum both have a gradient for the residual stream.
fn residual_maps() -> Result<Vec<Case>> {
    let linear = Case::new(
        "norm and linear_residual".into(),
        [matrix(200, 96, 1)?],
        (),
        |(), x| {
            let read = layer_norm(&x[0], &x[1], Some(&x[2]), EPS)?;
            linear_residual(&read, &x[3], Some(&x[4]), &x[0])
        },
        |(), t| {
            let read = norm::reference::norm(&t[0], &t[1], Some(&t[2]), EPS, true)?;
            &t[0] + linear::reference::linear(&read, &t[3], Some(&t[4]))?
        },
    );
    let mlp = Case::new(
        "norm and mlp_residual".into(),
        [matrix(600, 64, 1)?],
        (),
        |(), x| {
            let read = rms_norm(&x[0], &x[1], EPS)?;
            mlp_residual(&read, (&x[2], Some(&x[4])), (&x[3], None), Activation::Gelu, &x[0])
        },
        |(), t| {
            let read = norm::reference::norm(&t[0], &t[1], None, EPS, false)?;
            let inputs = [&[read], &t[2..]].concat();
            &t[0] + mlp::reference::mlp(&inputs, [true, false], Activation::Gelu)?
        },
    );
    Ok(vec![
        linear.parameters([vector(96, 2)?, vector(96, 3)?, weight(96, 96, 4)?, vector(96, 5)?]),
        mlp.parameters([vector(64, 2)?, weight(128, 64, 3)?, weight(64, 128, 4)?, vector(128, 5)?]),
    ])
}

fn activations() -> Result<Vec<Case>> {
    let small = [&[1, 1][..], &[0, 3], &[65], &[5, 7], &[3, 5, 7]];
    each(&small, &[&[50, 97], &[300, 129]], |shape| {
        let x = Tensor::from_vec(numbers(shape.iter().product(), 1), shape, &Device::Cpu)?;
        let case = |f: Activation| {
            Case::new(
                format!("activation {f:?} {shape:?}"),
                [x.clone()],
                f,
                |f, x| activation(&x[0], *f),
                |f, t| activation::reference::activation(&t[0], *f),
            )
        };
        Ok(Activation::ALL.into_iter().map(case).collect())
    })
}

fn gates() -> Result<Vec<Case>> {
    each(&[(0, 3), (1, 1), (3, 4), (5, 7)], &[(2, 3), (51, 97), (300, 130)], |(n, d)| {
        let inputs = [matrix(n, d, 1)?, matrix(n, d, 2)?];
        let case = |f: Activation| {
            Case::new(
                format!("gate {f:?} {n}x{d}"),
                inputs.clone(),
                f,
                |f, x| gate(&x[0], &x[1], *f),
                |f, t| gate::reference::gate(&t[0], &t[1], *f),
            )
        };
        Ok([Activation::Silu, Activation::GeluTanh, Activation::Gelu].into_iter().map(case).collect())
    })
}

/// And sums.
fn products() -> Result<Vec<Case>> {
    each(&[(1, 1)], &[(2, 9), (5, 7), (300, 130), (700, 130), (2000, 384)], |(n, d)| {
        let (x, by) = ([matrix(n, d, 1)?], [vector(d, 2)?]);
        let columns = Case::new(
            format!("scale_columns {n}x{d}"),
            x.clone(),
            (),
            |(), x| scale_columns(&x[0], &x[1]),
            |(), t| t[0].broadcast_mul(&t[1]),
        );
        let sums = Case::new(
            format!("add_to_columns {n}x{d}"),
            x.clone(),
            (),
            |(), x| add_to_columns(&x[0], &x[1]),
            |(), t| t[0].broadcast_add(&t[1]),
        );
        let all = Case::new(format!("scale {n}x{d}"), x, -2.5, |f, x| scale(&x[0], *f), |f, t| &t[0] * *f);
        Ok(vec![columns.parameters(by.clone()), sums.parameters(by), all])
    })
}

/// The probabilities and the gates of a router.
fn routed() -> Result<Vec<Case>> {
    // A row of one number has the probability 1 whatever the number is: its gradient is rounding alone.
    let small = [(0, 4), (1, 2), (3, 5), (7, 8)];
    each(&small, &[(40, 65), (3000, 8), (300, 130)], |(n, d)| {
        let (x, by) = (matrix(n, d, 1)?, matrix(n, 1, 2)?);
        Ok(vec![
            Case::new(
                format!("softmax {n}x{d}"),
                [x.clone()],
                (),
                |(), x| softmax(&x[0]),
                |(), t| softmax::reference::softmax(&t[0]),
            ),
            Case::new(
                format!("scale_rows {n}x{d}"),
                [x, by],
                (),
                |(), x| scale_rows(&x[0], &x[1]),
                |(), t| t[0].broadcast_mul(&t[1]),
            ),
        ])
    })
}

fn norms() -> Result<Vec<Case>> {
    let small = [(0, 4), (1, 3), (1, 64), (7, 3), (3, 6)];
    let others = [(40, 65), (600, 129), (300, 1), (300, 33), (300, 128), (300, 384), (300, 768), (300, 2048)];
    each(&small, &others, |(n, d)| {
        let (x, weight, bias) = ([matrix(n, d, 1)?], vector(d, 2)?, vector(d, 3)?);
        let layer = |bias: &str| {
            Case::new(
                format!("layer_norm {n}x{d}{bias}"),
                x.clone(),
                (),
                |(), x| layer_norm(&x[0], &x[1], x.get(2), EPS),
                |(), t| norm::reference::norm(&t[0], &t[1], t.get(2), EPS, true),
            )
        };
        let rms = Case::new(
            format!("rms_norm {n}x{d}"),
            x.clone(),
            (),
            |(), x| rms_norm(&x[0], &x[1], EPS),
            |(), t| norm::reference::norm(&t[0], &t[1], None, EPS, false),
        );
        let mut cases = vec![rms.parameters([weight.clone()])];
        // A row of one number is its own mean: the gradient is rounding alone.
        if d > 1 {
            cases.push(layer("").parameters([weight.clone(), bias]));
            cases.push(layer(" without a bias").parameters([weight]));
        }
        Ok(cases)
    })
}
