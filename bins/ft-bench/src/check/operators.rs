//! The operators of a layer, at shapes that are not round.

use anyhow::Result;
use candle_core::{Device, Tensor};
use ft_kernels::activation::{Activation, Xielu, gated, gated_backward_inplace, plain, plain_backward_inplace};
use ft_kernels::attention::{AttentionSpec, KeyValue, attention, attention_backward, attention_decode};
use ft_kernels::columns::{join_heads, split_heads};
use ft_kernels::head_norm::{head_norm, head_norm_backward};
use ft_kernels::loss::{LogitShape, cross_entropy, cross_entropy_forward, shape_logits};
use ft_kernels::norm::{layer_norm, layer_norm_backward_add, rms_norm, rms_norm_backward_add};
use ft_kernels::residual::{add_scaled, scaled};
use ft_kernels::rope::{Direction, RopeTables, rope};
use ft_kernels::row_scale::row_scale;
use ft_kernels::rows::sum_rows;

use super::inputs::{Case, On, case, matrix, numbers, vector};

/// Sequences of unlike lengths, an empty one and two of one length among them.
pub const STARTS: [usize; 7] = [0, 37, 38, 38, 101, 164, 200];
const TOKENS: usize = 200;
const HIDDEN: usize = 328;
const EPS: f64 = 1e-5;

/// All of them.
pub fn all() -> Vec<Case> {
    let mut all = norms();
    all.extend(turns());
    all.extend(attentions());
    all.extend(activations());
    all.extend(ends());
    all
}

fn norms() -> Vec<Case> {
    let hidden = |d: &On, seed| matrix(d, seed, TOKENS, HIDDEN);
    let qkv = |d: &On, seed| matrix(d, seed, TOKENS, 8 * 40);
    vec![
        case("rms_norm", move |d| Ok(vec![rms_norm(d.compute, &hidden(d, 1)?, &vector(d, 2, HIDDEN)?, EPS)?])),
        case("rms_norm backward", move |d| {
            let (dy, x, w, around) = (hidden(d, 1)?, hidden(d, 2)?, vector(d, 3, HIDDEN)?, hidden(d, 4)?);
            Ok(vec![rms_norm_backward_add(d.compute, &dy, &x, &w, EPS, &around)?])
        }),
        case("layer_norm", move |d| {
            let (x, w, b) = (hidden(d, 1)?, vector(d, 2, HIDDEN)?, vector(d, 3, HIDDEN)?);
            Ok(vec![layer_norm(d.compute, &x, &w, Some(&b), EPS)?])
        }),
        case("layer_norm backward", move |d| {
            let (dy, x, w, around) = (hidden(d, 1)?, hidden(d, 2)?, vector(d, 3, HIDDEN)?, hidden(d, 4)?);
            Ok(vec![layer_norm_backward_add(d.compute, &dy, &x, &w, EPS, Some(&around))?])
        }),
        case("head_norm", move |d| Ok(vec![head_norm(d.compute, qkv(d, 1)?, &vector(d, 2, 40)?, 80, 3, EPS)?])),
        case("head_norm backward", move |d| {
            Ok(vec![head_norm_backward(d.compute, qkv(d, 1)?, &qkv(d, 2)?, &vector(d, 3, 40)?, 80, 3, EPS)?])
        }),
        case("sum_rows", move |d| Ok(sum_rows(d.compute, &hidden(d, 1)?, &STARTS)?)),
    ]
}

/// Six query and two key heads of 40 columns, of which some turn.
fn turned(d: &On, turning: usize, pairs: bool, direction: Direction) -> Result<Vec<Tensor>> {
    let frequencies: Vec<f64> = (0..turning).map(|i| 0.5f64.powf(i as f64 / 3.0)).collect();
    let tables = RopeTables::for_sequences(&STARTS, &frequencies, 1.1).in_pairs(pairs);
    Ok(vec![rope(d.compute, matrix(d, 1, TOKENS, 10 * 40)?, &tables, 8, 40, direction)?])
}

fn turns() -> Vec<Case> {
    let heads = |d: &On| matrix(d, 1, TOKENS, 3 * 5 * 24);
    let add = |d: &On| -> Result<Tensor> {
        Ok(add_scaled(d.compute, &matrix(d, 1, TOKENS, HIDDEN)?, matrix(d, 2, TOKENS, HIDDEN)?, 0.22)?)
    };
    vec![
        case("rope", |d| turned(d, 20, false, Direction::Forward)),
        case("rope backward, part of a head", |d| turned(d, 12, false, Direction::Backward)),
        case("rope in pairs", |d| turned(d, 20, true, Direction::Forward)),
        case("rope in pairs backward, part of a head", |d| turned(d, 12, true, Direction::Backward)),
        case("row_scale", |d| {
            Ok(vec![row_scale(d.compute, matrix(d, 1, TOKENS, HIDDEN)?, &numbers(2, TOKENS), HIDDEN / 2)?])
        }),
        case("split_heads", move |d| Ok(vec![split_heads(d.compute, &heads(d)?, 5, 24)?])),
        case("join_heads", move |d| Ok(vec![join_heads(d.compute, &heads(d)?, 5, 24)?])),
        case("add_scaled", move |d| Ok(vec![add(d)?])),
        case("scaled", |d| Ok(vec![scaled(d.compute, matrix(d, 1, TOKENS, HIDDEN)?, 0.22)?])),
    ]
}

fn attentions() -> Vec<Case> {
    let plain =
        AttentionSpec { num_heads: 6, num_kv_heads: 2, head_dim: 40, scale: 0.15, sliding_window: None, softcap: None };
    let mut cases = Vec::new();
    for (word, spec) in [
        ("", plain),
        (", window", AttentionSpec { sliding_window: Some(9), ..plain }),
        (", softcap", AttentionSpec { softcap: Some(5.0), ..plain }),
        (", one key head each", AttentionSpec { num_kv_heads: 6, ..plain }),
    ] {
        let qkv = move |d: &On| matrix(d, 1, TOKENS, spec.qkv_columns());
        cases.push(case(&format!("attention{word}"), move |d| {
            let (out, lse) = attention(d.compute, &qkv(d)?, &spec, &STARTS)?;
            Ok(vec![out, lse])
        }));
        cases.push(case(&format!("attention backward{word}"), move |d| {
            let qkv = qkv(d)?;
            let (out, lse) = attention(d.compute, &qkv, &spec, &STARTS)?;
            let dout = matrix(d, 2, TOKENS, spec.query_columns())?;
            Ok(vec![attention_backward(d.compute, &dout, &qkv, &out, &lse, &spec, &STARTS)?])
        }));
        cases.push(case(&format!("attention of one token{word}"), move |d| {
            let row = spec.key_columns();
            let sides: Vec<(Vec<f32>, Vec<f32>)> =
                [1, 30, 77].iter().map(|&n| (numbers(n, n as usize * row), numbers(9 + n, n as usize * row))).collect();
            let caches: Vec<KeyValue<'_>> = sides.iter().map(|(keys, values)| KeyValue { keys, values }).collect();
            Ok(vec![attention_decode(d.compute, &matrix(d, 3, caches.len(), spec.query_columns())?, &caches, &spec)?])
        }));
    }
    cases
}

fn activations() -> Vec<Case> {
    let mut cases = Vec::new();
    let all = [
        ("Silu", Activation::Silu),
        ("GeluTanh", Activation::GeluTanh),
        ("Gelu", Activation::Gelu),
        ("Relu", Activation::Relu),
        ("ReluSquared", Activation::ReluSquared),
        ("Xielu", Activation::Xielu(Xielu::default())),
    ];
    for (name, activation) in all {
        let wide = move |d: &On, seed| matrix(d, seed, TOKENS, 2 * HIDDEN);
        cases.push(case(&format!("gated {name}"), move |d| Ok(vec![gated(d.compute, &wide(d, 1)?, activation)?])));
        cases.push(case(&format!("gated {name} backward"), move |d| {
            Ok(vec![gated_backward_inplace(d.compute, &matrix(d, 2, TOKENS, HIDDEN)?, wide(d, 1)?, activation)?])
        }));
        cases.push(case(&format!("plain {name}"), move |d| Ok(vec![plain(d.compute, &wide(d, 1)?, activation)?])));
        cases.push(case(&format!("plain {name} backward"), move |d| {
            Ok(vec![plain_backward_inplace(d.compute, &wide(d, 2)?, wide(d, 1)?, activation)?])
        }));
    }
    cases
}

fn ends() -> Vec<Case> {
    const VOCABULARY: usize = 1003;
    let logits = |d: &On| matrix(d, 1, TOKENS, VOCABULARY);
    let targets = || (0..TOKENS as u32).map(|i| i * 37 % VOCABULARY as u32).collect::<Vec<_>>();
    let mut cases = Vec::new();
    for (word, shape) in
        [("", LogitShape::default()), (", scaled and capped", LogitShape { scale: 0.7, softcap: Some(3.0) })]
    {
        cases.push(case(&format!("cross_entropy{word}"), move |d| {
            let (rows, gradient) = cross_entropy(d.compute, logits(d)?, &targets(), 0.01, shape)?;
            Ok(vec![Tensor::new(rows.nll, &Device::Cpu)?, gradient])
        }));
        cases.push(case(&format!("cross_entropy alone{word}"), move |d| {
            let rows = cross_entropy_forward(d.compute, &logits(d)?, &targets(), shape)?;
            let correct: Vec<f32> = rows.correct.iter().map(|&correct| f32::from(u8::from(correct))).collect();
            Ok(vec![Tensor::new(rows.nll, &Device::Cpu)?, Tensor::new(correct, &Device::Cpu)?])
        }));
        cases
            .push(case(&format!("shape_logits{word}"), move |d| Ok(vec![shape_logits(d.compute, logits(d)?, shape)?])));
    }
    cases
}
