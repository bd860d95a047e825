//! The linear layer: frozen matrices of every type, with adapters of every kind.

use anyhow::Result;
use candle_core::{DType, Tensor};
use ft_kernels::linear::{Dropout, Linear, Lora, dora_norm, product, product_few, weight_gradient};
use ft_kernels::philox::Stream;

use super::inputs::{Case, On, case, matrix, vector};
use super::operators::STARTS;

const TOKENS: usize = 200;
const INNER: usize = 328;
/// Columns of the layer, and of its two adapters, whose first one starts at column 0.
const OUT: usize = 411;
const SECOND: usize = 250;
const RANK: usize = 5;

/// All of them.
pub fn all() -> Vec<Case> {
    let x = |d: &On| matrix(d, 1, TOKENS, INNER);
    let weight = |d: &On, dtype: DType| -> Result<Tensor> { Ok((matrix(d, 2, OUT, INNER)? * 0.05)?.to_dtype(dtype)?) };
    let mut cases = Vec::new();
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let name = format!("{dtype:?}").to_lowercase();
        cases.push(case(&format!("product, {name}"), move |d| {
            Ok(vec![product(d.compute, &x(d)?, weight(d, dtype)?, false)?])
        }));
        cases.push(case(&format!("product transposed, {name}"), move |d| {
            Ok(vec![product(d.compute, &matrix(d, 3, TOKENS, OUT)?, weight(d, dtype)?, true)?])
        }));
        cases.push(case(&format!("product of few rows, {name}"), move |d| {
            Ok(vec![product_few(d.compute, &matrix(d, 3, 3, INNER)?, weight(d, dtype)?)?])
        }));
        for adapters in
            [AdapterVariant::Plain, AdapterVariant::Dropout, AdapterVariant::Dora, AdapterVariant::DoraDropout]
        {
            cases.push(case(&format!("linear layer, {name}, {}", adapters.name()), move |d| {
                layer(d, &weight(d, dtype)?, adapters)
            }));
        }
        cases.push(case(&format!("dora_norm, {name}"), move |d| {
            let (a, b) = (matrix(d, 3, RANK, INNER)?, matrix(d, 4, OUT, RANK)?);
            Ok(vec![dora_norm(d.compute, weight(d, dtype)?, &a, &b, 0.1)?])
        }));
    }
    cases.push(case("weight_gradient", move |d| {
        Ok(vec![weight_gradient(d.compute, &matrix(d, 3, TOKENS, OUT)?, &x(d)?)?])
    }));
    cases
}

/// What the adapters are.
#[derive(Clone, Copy, PartialEq)]
enum AdapterVariant {
    Plain,
    Dropout,
    Dora,
    DoraDropout,
}

impl AdapterVariant {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "LoRA",
            Self::Dropout => "LoRA with dropout",
            Self::Dora => "DoRA",
            Self::DoraDropout => "DoRA with dropout",
        }
    }

    fn dropout(self, index: u64) -> Option<Dropout> {
        let streams = (0..STARTS.len() as u64 - 1).map(|sequence| Stream::new(7, 8, 100 * index + sequence)).collect();
        matches!(self, Self::Dropout | Self::DoraDropout).then_some(Dropout { p: 0.1, streams })
    }
}

/// Forward and backward, with a bias and a residual.
fn layer(d: &On, weight: &Tensor, kind: AdapterVariant) -> Result<Vec<Tensor>> {
    let x = matrix(d, 1, TOKENS, INNER)?;
    let small = |seed, rows, columns| -> Result<Tensor> { Ok((matrix(d, seed, rows, columns)? * 0.1)?) };
    let (a, b) = (small(3, RANK, INNER)?, small(4, SECOND, RANK)?);
    let (second_a, second_b) = (small(5, RANK, INNER)?, small(6, OUT - SECOND, RANK)?);
    let lengths = (vector(d, 7, SECOND)?.abs()?, vector(d, 8, OUT - SECOND)?.abs()?);
    let has_lengths = matches!(kind, AdapterVariant::Dora | AdapterVariant::DoraDropout);
    let lora = |index: u64, a, b, column, magnitude| Lora {
        a,
        b,
        scaling: 1.5,
        column,
        dropout: kind.dropout(index),
        magnitude,
    };
    let bias = vector(d, 9, OUT)?;
    let layer = Linear {
        weight: weight.into(),
        bias: Some(&bias),
        lora: vec![
            lora(0, &a, &b, 0, has_lengths.then_some(&lengths.0)),
            lora(1, &second_a, &second_b, SECOND, has_lengths.then_some(&lengths.1)),
        ],
    };
    let y = layer.forward(d.compute, &x, &STARTS, Some(&matrix(d, 10, TOKENS, OUT)?))?;
    let few = layer.forward_few(d.compute, &x.narrow(0, 0, 3)?.contiguous()?, None)?;
    let back = layer.backward(d.compute, &matrix(d, 11, TOKENS, OUT)?, &x, &STARTS, true)?;
    let mut all = vec![y, few];
    all.extend(back.x);
    for gradient in back.lora {
        all.extend([Some(gradient.a), Some(gradient.b), gradient.magnitude].into_iter().flatten());
    }
    Ok(all)
}
