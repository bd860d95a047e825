use candle_core::{DType, Tensor};
use ft_kernels::attention::{AttentionSpec, attention, attention_backward, attention_decode_placed, reference};

use crate::common::{TYPES, assert_close, autograd, bits, bound, device, exact, in_every_order, kernels, matrix};

fn spec(num_heads: usize, num_kv_heads: usize, head_dim: usize) -> AttentionSpec {
    let scale = 1.0 / (head_dim as f32).sqrt();
    AttentionSpec { num_heads, num_kv_heads, head_dim, scale, sliding_window: None, softcap: None }
}

/// Every width that tensor cores take and others, groups, windows, caps.
fn specs() -> Vec<AttentionSpec> {
    let with = |spec, sliding_window, softcap| AttentionSpec { sliding_window, softcap, ..spec };
    vec![
        spec(1, 1, 8),
        spec(3, 1, 20),
        spec(4, 2, 64),
        with(spec(4, 2, 64), Some(1), None),
        with(spec(4, 2, 64), Some(40), Some(1.5)),
        with(spec(2, 2, 16), Some(5), None),
        spec(2, 1, 80),
        with(spec(2, 1, 96), None, Some(1.5)),
        with(spec(2, 1, 128), Some(33), None),
        spec(1, 1, 192),
        with(spec(1, 1, 256), Some(70), Some(1.5)),
    ]
}

/// Sequences around the sizes of tiles; one is empty.
const STARTS: [usize; 7] = [0, 1, 1, 18, 50, 115, 250];
/// Few enough to go through every order of threads: one tile, and a second one that is not full.
const SHORT: [usize; 3] = [0, 5, 75];

#[test]
fn both_passes_are_the_reference_and_its_autograd() {
    for dtype in TYPES {
        for spec in specs() {
            let (qkv, dout) = (matrix(1, 250, spec.qkv_columns(), dtype), matrix(2, 250, spec.query_columns(), dtype));
            let both = |starts: &[usize]| {
                let rows = |t: &Tensor| t.narrow(0, 0, starts[starts.len() - 1]).unwrap();
                let (qkv, dout) = (rows(&qkv), rows(&dout));
                let (out, lse) = attention(kernels(), &qkv, &spec, starts).unwrap();
                let back = attention_backward(kernels(), &dout, &qkv, &out, &lse, &spec, starts).unwrap();
                vec![out, lse, back]
            };
            in_every_order(|| both(&SHORT));
            let found = both(&STARTS);
            let (out, lse) = reference::attention(&exact(&qkv), &spec, &STARTS).unwrap();
            assert_close(&found[0], &out, bound(dtype));
            assert_close(&found[1], &lse, 3e-6);
            let plain = |qkv: &Tensor| Ok(reference::attention(qkv, &spec, &STARTS)?.0);
            // In half precision backward starts from the rounded result, and probabilities are rounded for the products.
            let tolerance = bound(dtype) * if dtype == DType::F32 { 2.0 } else { 3.0 };
            assert_close(&found[2], &autograd(&qkv, &dout, plain), tolerance);
        }
    }
}

#[test]
fn a_sequence_does_not_know_its_neighbours_nor_a_token_the_later_ones() {
    let capped = AttentionSpec { sliding_window: Some(40), softcap: Some(2.0), ..spec(4, 2, 64) };
    for dtype in TYPES {
        for spec in [spec(4, 2, 64), capped, spec(2, 1, 20)] {
            let (qkv, dout) = (matrix(1, 250, spec.qkv_columns(), dtype), matrix(2, 250, spec.query_columns(), dtype));
            let all = |qkv: &Tensor, dout: &Tensor, starts: &[usize]| {
                let (out, lse) = attention(kernels(), qkv, &spec, starts).unwrap();
                let back = attention_backward(kernels(), dout, qkv, &out, &lse, &spec, starts).unwrap();
                [out, lse, back]
            };
            let whole = all(&qkv, &dout, &STARTS);
            for pair in STARTS.windows(2).filter(|pair| pair[0] < pair[1]) {
                let rows = |t: &Tensor| t.narrow(0, pair[0], pair[1] - pair[0]).unwrap().copy().unwrap();
                let alone = all(&rows(&qkv), &rows(&dout), &[0, pair[1] - pair[0]]);
                for (whole, alone) in whole.iter().zip(&alone) {
                    assert!(bits(&rows(whole)) == bits(alone), "{dtype:?} {pair:?}");
                }
            }
            for len in [1, 15, 64, 65] {
                let rows = |t: &Tensor| t.narrow(0, 50, len).unwrap().copy().unwrap();
                let (out, lse) = attention(kernels(), &rows(&qkv), &spec, &[0, len]).unwrap();
                assert!(bits(&rows(&whole[0])) == bits(&out) && bits(&rows(&whole[1])) == bits(&lse), "{len} tokens");
            }
        }
    }
}

/// Caches around the sizes of parts; a longer neighbour, and another order of them, changes no bit.
#[test]
fn decoding_gives_the_last_row_of_attention() {
    let with = |spec, sliding_window, softcap| AttentionSpec { sliding_window, softcap, ..spec };
    let specs = [
        spec(4, 2, 64),
        with(spec(3, 1, 20), Some(7), None),
        with(spec(2, 1, 256), Some(130), Some(1.5)),
        with(spec(2, 2, 96), None, Some(1.5)),
    ];
    for dtype in TYPES {
        for spec in specs {
            let (mut queries, mut caches, mut expected) = (Vec::new(), Vec::new(), Vec::new());
            for (seed, len) in [(1, 1), (2, 128), (3, 129), (4, 400)] {
                let qkv = matrix(seed, len, spec.qkv_columns(), dtype);
                let part = |column, count| qkv.narrow(1, column, count).unwrap().contiguous().unwrap();
                let (nq, nk) = (spec.query_columns(), spec.key_columns());
                queries.push(part(0, nq).narrow(0, len - 1, 1).unwrap());
                caches.push((part(nq, nk), part(nq + nk, nk)));
                let (out, _) = reference::attention(&exact(&qkv), &spec, &[0, len]).unwrap();
                expected.push(out.narrow(0, len - 1, 1).unwrap());
            }
            let q = Tensor::cat(&queries, 0).unwrap();
            let found = in_every_order(|| vec![attention_decode_placed(kernels(), &q, &caches, &spec).unwrap()]);
            assert_close(&found[0], &Tensor::cat(&expected, 0).unwrap(), bound(dtype));
            for (i, query) in queries.iter().enumerate() {
                let alone = attention_decode_placed(kernels(), query, &caches[i..=i], &spec).unwrap();
                assert!(bits(&found[0].narrow(0, i, 1).unwrap()) == bits(&alone), "{dtype:?} sequence {i}");
            }
        }
    }
}

#[test]
fn large_scores_do_not_overflow_and_no_tokens_are_no_rows() {
    for dtype in [DType::F32, DType::BF16] {
        let spec = AttentionSpec { scale: 1000.0, ..spec(2, 1, 64) };
        let (qkv, dout) = (matrix(1, 50, spec.qkv_columns(), dtype), matrix(2, 50, spec.query_columns(), dtype));
        let (out, lse) = attention(kernels(), &qkv, &spec, &[0, 50]).unwrap();
        let back = attention_backward(kernels(), &dout, &qkv, &out, &lse, &spec, &[0, 50]).unwrap();
        for t in [out, back] {
            assert!(exact(&t).flatten_all().unwrap().to_vec1::<f64>().unwrap().iter().all(|x| x.is_finite()));
        }
        let none = Tensor::zeros((0, spec.qkv_columns()), dtype, &device()).unwrap();
        let (out, lse) = attention(kernels(), &none, &spec, &[0, 0]).unwrap();
        assert_eq!((out.dims(), lse.dims()), (&[0, 128][..], &[0, 2][..]));
    }
}
