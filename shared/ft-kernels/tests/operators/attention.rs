use candle_core::{DType, Device, Tensor};
use ft_kernels::Compute;
use ft_kernels::attention::{AttentionSpec, KeyValue, attention, attention_backward, attention_decode, reference};

use crate::common::{
    assert_close, assert_close_f64, assert_is_pieces, assert_same_bits, autograd, cpu, differences, matrix, values,
};

fn spec(num_heads: usize, num_kv_heads: usize, head_dim: usize) -> AttentionSpec {
    let scale = 1.0 / (head_dim as f32).sqrt();
    AttentionSpec { num_heads, num_kv_heads, head_dim, scale, sliding_window: None, softcap: None }
}

/// Every kind of head, with and without windows and caps.
fn specs() -> Vec<AttentionSpec> {
    let mut specs = Vec::new();
    for shape in [spec(1, 1, 8), spec(4, 2, 16), spec(3, 1, 20), spec(2, 2, 48), spec(6, 2, 64), spec(2, 1, 128)] {
        for sliding_window in [None, Some(1), Some(5), Some(40)] {
            for softcap in [None, Some(1.5)] {
                specs.push(AttentionSpec { sliding_window, softcap, ..shape });
            }
        }
    }
    // The widths of Phi-2, Phi-3, Gemma and others.
    for shape in [spec(2, 1, 24), spec(2, 2, 80), spec(2, 1, 96), spec(1, 1, 112), spec(2, 1, 256)] {
        specs.push(shape);
        specs.push(AttentionSpec { sliding_window: Some(33), softcap: Some(1.5), ..shape });
    }
    specs
}

/// Sequences around the sizes of tiles; one is empty.
const STARTS: [usize; 8] = [0, 1, 1, 33, 40, 72, 136, 237];

fn inputs(spec: &AttentionSpec, tokens: usize) -> (Tensor, Tensor) {
    (matrix(1, tokens, spec.qkv_columns()), matrix(2, tokens, spec.query_columns()))
}

#[test]
fn forward_is_the_reference() {
    for spec in specs() {
        let (qkv, _) = inputs(&spec, 237);
        let (out, lse) = attention(cpu(), &qkv, &spec, &STARTS).unwrap();
        let (expected_out, expected_lse) = reference::attention(&qkv, &spec, &STARTS).unwrap();
        assert_close(&out, &expected_out, 2e-6);
        assert_close(&lse, &expected_lse, 2e-6);
    }
}

#[test]
fn backward_is_the_autograd_of_the_reference() {
    for spec in specs() {
        let (qkv, dout) = inputs(&spec, 237);
        let (out, lse) = attention(cpu(), &qkv, &spec, &STARTS).unwrap();
        let expected = autograd(&qkv, &dout, |x| Ok(reference::attention(x, &spec, &STARTS)?.0));
        let found = attention_backward(cpu(), &dout, &qkv, &out, &lse, &spec, &STARTS).unwrap();
        assert_close(&found, &expected, 5e-6);
        let found = reference::attention_backward(&dout, &qkv, &out, &lse, &spec, &STARTS).unwrap();
        assert_close(&found, &expected, 5e-6);
    }
}

/// Attention by its definition, in f64.
fn formula(qkv: &[f64], spec: &AttentionSpec, starts: &[usize]) -> Vec<f64> {
    let (d, columns) = (spec.head_dim, spec.qkv_columns());
    let at = |token: usize, column: usize| &qkv[token * columns + column..][..d];
    let mut out = Vec::new();
    for (&start, &end) in starts.iter().zip(&starts[1..]) {
        for token in start..end {
            for head in 0..spec.num_heads {
                let kv = head / spec.group() * d;
                let (keys, values) = (spec.query_columns() + kv, spec.query_columns() + spec.key_columns() + kv);
                let first = spec.sliding_window.map_or(start, |w| start.max((token + 1).saturating_sub(w)));
                let weights: Vec<f64> = (first..=token)
                    .map(|other| {
                        let products = at(token, head * d).iter().zip(at(other, keys));
                        let score = products.map(|(q, k)| q * k).sum::<f64>() * f64::from(spec.scale);
                        spec.softcap.map_or(score, |c| f64::from(c) * (score / f64::from(c)).tanh()).exp()
                    })
                    .collect();
                let sum: f64 = weights.iter().sum();
                for c in 0..d {
                    let weighted = weights.iter().zip(first..).map(|(w, other)| w * at(other, values)[c]);
                    out.push(weighted.sum::<f64>() / sum);
                }
            }
        }
    }
    out
}

#[test]
fn forward_and_backward_follow_the_definition() {
    let starts = [0, 3, 10];
    for (sliding_window, softcap) in [(None, None), (Some(4), None), (None, Some(2.0)), (Some(2), Some(1.0))] {
        let spec = AttentionSpec { sliding_window, softcap, ..spec(4, 2, 6) };
        let (qkv, dout) = inputs(&spec, 10);
        let (out, lse) = attention(cpu(), &qkv, &spec, &starts).unwrap();
        let exact: Vec<f64> = values(&qkv).into_iter().map(f64::from).collect();
        assert_close_f64(&out, &formula(&exact, &spec, &starts), 2e-6);
        let found = attention_backward(cpu(), &dout, &qkv, &out, &lse, &spec, &starts).unwrap();
        let expected = differences(&qkv, &dout, |x| formula(x, &spec, &starts));
        assert_close_f64(&found, &expected, 2e-6);
    }
}

#[test]
fn a_sequence_does_not_know_its_neighbours() {
    let capped = AttentionSpec { sliding_window: Some(40), softcap: Some(2.0), ..spec(6, 2, 20) };
    for spec in [spec(6, 2, 64), capped] {
        let (qkv, dout) = inputs(&spec, 237);
        let both = |c: Compute, qkv: &Tensor, dout: &Tensor, starts: &[usize]| {
            let (out, lse) = attention(c, qkv, &spec, starts).unwrap();
            let dqkv = attention_backward(c, dout, qkv, &out, &lse, &spec, starts).unwrap();
            [out, lse, dqkv]
        };
        assert_same_bits(|c| both(c, &qkv, &dout, &STARTS).into());
        let mut pieces = [Vec::new(), Vec::new(), Vec::new()];
        for pair in STARTS.windows(2).filter(|pair| pair[0] < pair[1]) {
            let rows = |t: &Tensor| t.narrow(0, pair[0], pair[1] - pair[0]).unwrap();
            let results = both(cpu(), &rows(&qkv), &rows(&dout), &[0, pair[1] - pair[0]]);
            pieces.iter_mut().zip(results).for_each(|(pieces, piece)| pieces.push(piece));
        }
        for (whole, pieces) in both(cpu(), &qkv, &dout, &STARTS).iter().zip(&pieces) {
            assert_is_pieces(whole, pieces);
        }
    }
}

#[test]
fn a_token_does_not_know_the_later_ones() {
    let spec = spec(4, 2, 32);
    let (qkv, _) = inputs(&spec, 70);
    let (out, _) = attention(cpu(), &qkv, &spec, &[0, 70]).unwrap();
    for len in [1, 15, 32, 33, 69] {
        let (first, _) = attention(cpu(), &qkv.narrow(0, 0, len).unwrap(), &spec, &[0, len]).unwrap();
        assert_is_pieces(&out.narrow(0, 0, len).unwrap(), &[first]);
    }
}

#[test]
fn decoding_gives_the_last_row_of_attention() {
    for spec in specs() {
        let lengths = [1, 16, 31, 77];
        let (mut queries, mut kept, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for (i, &len) in lengths.iter().enumerate() {
            let qkv = matrix(10 + i as u64, len, spec.qkv_columns());
            let part = |column, count| qkv.narrow(1, column, count).unwrap();
            let (nq, nk) = (spec.query_columns(), spec.key_columns());
            queries.push(part(0, nq).narrow(0, len - 1, 1).unwrap());
            kept.push((values(&part(nq, nk)), values(&part(nq + nk, nk))));
            let (out, _) = reference::attention(&qkv, &spec, &[0, len]).unwrap();
            expected.push(out.narrow(0, len - 1, 1).unwrap());
        }
        let q = Tensor::cat(&queries, 0).unwrap();
        let caches: Vec<_> = kept.iter().map(|(keys, values)| KeyValue { keys, values }).collect();
        let found = attention_decode(cpu(), &q, &caches, &spec).unwrap();
        assert_close(&found, &Tensor::cat(&expected, 0).unwrap(), 3e-6);
        assert_close(&reference::attention_decode(&q, &caches, &spec).unwrap(), &found, 3e-6);
        let pieces: Vec<_> = (0..lengths.len())
            .map(|i| attention_decode(cpu(), &q.narrow(0, i, 1).unwrap(), &caches[i..=i], &spec).unwrap())
            .collect();
        assert_is_pieces(&found, &pieces);
    }
}

#[test]
fn decoding_sees_the_last_keys_of_a_window_alone() {
    for (softcap, head_dim) in [(None, 64), (Some(2.0), 64), (None, 20), (Some(50.0), 256)] {
        for window in [1, 7, 32] {
            let spec = AttentionSpec { sliding_window: Some(window), softcap, ..spec(4, 2, head_dim) };
            let columns = spec.key_columns();
            let q = matrix(1, 1, spec.query_columns());
            let side = |seed| crate::common::numbers(seed, 50 * columns);
            let (keys, values) = (side(2), side(3));
            let found = attention_decode(cpu(), &q, &[KeyValue { keys: &keys, values: &values }], &spec).unwrap();
            // What lies before the window may be anything.
            let spoiled = |mut side: Vec<f32>| {
                side[..(50 - window) * columns].fill(f32::NAN);
                side
            };
            let (bad_keys, bad_values) = (spoiled(keys.clone()), spoiled(values.clone()));
            let cache = KeyValue { keys: &bad_keys, values: &bad_values };
            assert_is_pieces(&attention_decode(cpu(), &q, &[cache], &spec).unwrap(), std::slice::from_ref(&found));
            // And without a window nothing but the window's keys gives the same.
            let last = (50 - window) * columns;
            let cache = KeyValue { keys: &keys[last..], values: &values[last..] };
            let open = AttentionSpec { sliding_window: None, ..spec };
            assert_is_pieces(&attention_decode(cpu(), &q, &[cache], &open).unwrap(), &[found]);
        }
    }
}

#[test]
fn a_window_hides_the_keys_before_it_from_both_passes() {
    for head_dim in [20, 64] {
        let spec = AttentionSpec { sliding_window: Some(9), ..spec(2, 1, head_dim) };
        let (qkv, dout) = inputs(&spec, 70);
        let (out, lse) = attention(cpu(), &qkv, &spec, &[0, 70]).unwrap();
        // Only the last token's result has a gradient: it reaches the last nine tokens' keys alone.
        let last =
            Tensor::cat(&[dout.narrow(0, 0, 69).unwrap().zeros_like().unwrap(), dout.narrow(0, 69, 1).unwrap()], 0);
        let dqkv = attention_backward(cpu(), &last.unwrap(), &qkv, &out, &lse, &spec, &[0, 70]).unwrap();
        for (token, row) in values(&dqkv).chunks(spec.qkv_columns()).enumerate() {
            assert_eq!(row.iter().all(|&x| x == 0.0), token < 61, "token {token}");
        }
        let rest = qkv.narrow(0, 61, 9).unwrap();
        let (alone, alone_lse) = attention(cpu(), &rest, &spec, &[0, 9]).unwrap();
        assert_close(&out.narrow(0, 69, 1).unwrap(), &alone.narrow(0, 8, 1).unwrap(), 1e-6);
        assert_close(&lse.narrow(0, 69, 1).unwrap(), &alone_lse.narrow(0, 8, 1).unwrap(), 1e-6);
    }
}

#[test]
fn decoding_does_not_know_threads_or_instructions() {
    let spec = spec(9, 3, 64);
    let q = matrix(1, 8, 576);
    let (keys, values) = (crate::common::numbers(2, 300 * 192), crate::common::numbers(3, 300 * 192));
    let caches = vec![KeyValue { keys: &keys, values: &values }; 8];
    assert_same_bits(|c| vec![attention_decode(c, &q, &caches, &spec).unwrap()]);
}

#[test]
fn large_scores_do_not_overflow() {
    let spec = AttentionSpec { scale: 1000.0, ..spec(2, 1, 16) };
    let (qkv, dout) = inputs(&spec, 50);
    let (out, lse) = attention(cpu(), &qkv, &spec, &[0, 50]).unwrap();
    let dqkv = attention_backward(cpu(), &dout, &qkv, &out, &lse, &spec, &[0, 50]).unwrap();
    assert!(values(&out).iter().chain(&values(&dqkv)).all(|x| x.is_finite()));
}

#[test]
fn arguments_that_do_not_fit_are_refused() {
    let spec = spec(4, 2, 8);
    let (qkv, dout) = inputs(&spec, 6);
    let (out, lse) = attention(cpu(), &qkv, &spec, &[0, 6]).unwrap();
    for starts in [&[0, 5][..], &[1, 6], &[0, 4, 3, 6], &[]] {
        let message = attention(cpu(), &qkv, &spec, starts).unwrap_err().to_string();
        assert!(message.contains("starts is") && message.contains("a rise from 0 to 6"), "{message}");
    }
    let narrow = qkv.narrow(1, 0, 63).unwrap();
    let message = attention(cpu(), &narrow, &spec, &[0, 6]).unwrap_err().to_string();
    assert_eq!(message, "attention: qkv's columns is 63, expected 64");
    assert!(attention_backward(cpu(), &dout, &qkv, &lse, &out, &spec, &[0, 6]).is_err());
    let q = Tensor::zeros((1, 32), candle_core::DType::F32, &Device::Cpu).unwrap();
    let message = attention_decode(cpu(), &q, &[KeyValue { keys: &[], values: &[] }], &spec).unwrap_err().to_string();
    assert!(message.contains("a cache"), "{message}");
}

#[test]
fn sequences_without_tokens_give_no_rows_on_any_backend() {
    let spec = spec(4, 2, 16);
    let none = Tensor::zeros((0, spec.qkv_columns()), DType::F32, &Device::Cpu).unwrap();
    for compute in [Compute::cpu(), Compute::reference()] {
        for starts in [&[0, 0][..], &[0, 0, 0]] {
            let (out, lse) = attention(compute, &none, &spec, starts).unwrap();
            assert_eq!((out.dims(), lse.dims()), (&[0, 64][..], &[0, 4][..]));
            let back = attention_backward(compute, &out, &none, &out, &lse, &spec, starts).unwrap();
            assert_eq!(back.dims(), [0, spec.qkv_columns()]);
        }
    }
}
