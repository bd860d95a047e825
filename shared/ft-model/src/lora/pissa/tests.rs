use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::Device;
use serde_json::Value;

use super::*;
use crate::lora::dense::{dot, gram};

fn matrix(seed: u64, rows: usize, columns: usize) -> Tensor {
    let mut values = vec![0.0; rows * columns];
    Stream::new(seed, 97, 0).fill_normal(0, &mut values);
    from_vec(values, (rows, columns)).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference beside the largest number.
fn difference(found: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(found.dims(), expected.dims());
    let (found, expected) = (values(found), values(expected));
    let largest = expected.iter().fold(0f32, |a, b| a.max(b.abs()));
    found.iter().zip(&expected).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max) / largest
}

fn stream() -> Stream {
    Stream::new(1, 2, 3)
}

#[test]
fn the_pair_is_that_of_peft() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/pissa"));
    let meta = std::fs::read(folder.join("reference.json")).unwrap();
    let cases: BTreeMap<String, Value> = serde_json::from_slice(&meta).unwrap();
    let theirs: HashMap<String, Tensor> =
        candle_core::safetensors::load(folder.join("reference.safetensors"), &Device::Cpu).unwrap();
    assert_eq!(cases.len(), 6);
    for (name, case) in cases {
        let (rank, scaling) = (case["rank"].as_u64().unwrap() as usize, case["scaling"].as_f64().unwrap());
        let niter = parse(case["init"].as_str().unwrap()).unwrap();
        let of = |kind: &str| &theirs[&format!("{name}.{kind}")];
        let (a, b) = pissa(of("weight"), rank, scaling, niter, stream()).unwrap();
        let product = b.matmul(&a).unwrap();
        let expected = of("b").matmul(of("a")).unwrap();
        assert!(difference(&product, &expected) < 1e-5, "{name}: {}", difference(&product, &expected));
        if rank < of("weight").dims().iter().copied().min().unwrap() {
            let residual = (of("weight") - (product * scaling).unwrap()).unwrap();
            assert!(difference(&residual, of("residual")) < 1e-4, "{name}: {}", difference(&residual, of("residual")));
        }
        // Both share the singular values evenly, as peft's do.
        let (lengths_a, lengths_b) = (a.sqr().unwrap().sum(1).unwrap(), b.sqr().unwrap().sum(0).unwrap());
        assert!(difference(&lengths_a, &lengths_b) < 1e-5, "{name}");
        assert!(difference(&lengths_a, &of("a").sqr().unwrap().sum(1).unwrap()) < 1e-4, "{name}");
    }
}

#[test]
fn eigenvectors_are_orthonormal_and_belong_to_the_matrix() {
    for (n, count) in [(1, 1), (2, 2), (3, 2), (17, 17), (130, 40)] {
        let half: Vec<f64> = values(&matrix(5, n, n + 3)).into_iter().map(f64::from).collect();
        let symmetric = gram(&half, n, n + 3);
        let vectors = eigen::largest(symmetric.clone(), n, count);
        let mut last = f64::INFINITY;
        for (i, vector) in vectors.chunks(n).enumerate() {
            for (j, other) in vectors.chunks(n).enumerate() {
                assert!((dot(vector, other) - f64::from(u8::from(i == j))).abs() < 1e-12, "{n}: {i}, {j}");
            }
            let image: Vec<f64> = symmetric.chunks(n).map(|row| dot(row, vector)).collect();
            let eigenvalue = dot(&image, vector);
            assert!(eigenvalue <= last * (1.0 + 1e-12), "{n}: the largest first");
            last = eigenvalue;
            let rest: Vec<f64> = image.iter().zip(vector).map(|(x, v)| x - eigenvalue * v).collect();
            assert!(norm(&rest) < 1e-11 * n as f64, "{n}, vector {i}: {}", norm(&rest));
        }
        let all: f64 = symmetric.iter().step_by(n + 1).sum();
        let found: f64 = vectors.chunks(n).map(|v| dot(&times(v, &symmetric, 1, n, n), v)).sum();
        assert!(count < n || (found - all).abs() < 1e-10 * all, "{n}: the eigenvalues' sum is the trace");
    }
}

#[test]
fn equal_eigenvalues_and_none_at_all_do_no_harm() {
    let identity: Vec<f64> = (0..400).map(|i| f64::from(u8::from(i % 21 == 0))).collect();
    let vectors = eigen::largest(identity, 20, 7);
    for (i, vector) in vectors.chunks(20).enumerate() {
        for (j, other) in vectors.chunks(20).enumerate() {
            assert!((dot(vector, other) - f64::from(u8::from(i == j))).abs() < 1e-12);
        }
    }
    // A weight of rank 2, and one of zeros: four directions are more than there are.
    let low = matrix(1, 12, 2).matmul(&matrix(2, 2, 30)).unwrap();
    for niter in [None, Some(3)] {
        let (a, b) = pissa(&low, 4, 1.0, niter, stream()).unwrap();
        assert!(difference(&b.matmul(&a).unwrap(), &low) < 1e-6);
        let (a, b) = pissa(&low.zeros_like().unwrap(), 4, 1.0, niter, stream()).unwrap();
        assert!(values(&b.matmul(&a).unwrap()).iter().all(|&x| x == 0.0));
    }
}

#[test]
fn the_bits_do_not_know_the_threads() {
    let weight = matrix(3, 70, 50);
    for niter in [None, Some(2)] {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (a, b) = pool.install(|| pissa(&weight, 5, 2.0, niter, stream())).unwrap();
            (values(&a), values(&b))
        };
        assert_eq!(run(1), run(3));
    }
}

/// What an adapter adds to its first module's weight.
fn delta(adapter: &Adapter) -> Tensor {
    let pair = &adapter.modules[0];
    (pair.b.matmul(&pair.a).unwrap() * adapter.config.scaling(&pair.module).unwrap()).unwrap()
}

#[test]
fn the_plain_adapter_adds_what_was_learned() {
    for (use_rslora, pattern) in [(false, None), (true, None), (true, Some(12)), (false, Some(12))] {
        let mut config = LoraConfig { use_rslora, ..LoraConfig::new(4, 8.0, "q_proj") };
        if let Some(alpha) = pattern {
            config.alpha_pattern.insert("q_proj".into(), alpha.into());
            config.rank_pattern.insert("q_proj".into(), 4.into());
            config.r = 2;
        }
        config.init_lora_weights = "pissa".into();
        let module = "model.layers.0.self_attn.q_proj";
        let with = |a, b| {
            let pair = LoraPair {
                module: module.into(),
                key: module.into(),
                a,
                b,
                scaling: config.scaling(module).unwrap(),
                magnitude: None,
            };
            Adapter::new(config.clone(), vec![pair], Vec::new(), Vec::new())
        };
        let (a, b) = pissa(&matrix(9, 20, 30), 4, config.scaling(module).unwrap(), None, stream()).unwrap();
        let initial = with(a.clone(), b.clone());
        let trained = with((a + matrix(10, 4, 30)).unwrap(), (b + matrix(11, 20, 4)).unwrap());
        let converted = plain(&trained, &initial).unwrap();
        assert!(difference(&delta(&converted), &(delta(&trained) - delta(&initial)).unwrap()) < 1e-5);
        assert_eq!(converted.config.rank(module).unwrap(), 8);
        assert_eq!(converted.config.init_lora_weights, Value::Bool(true));
        assert!((converted.config.scaling(module).unwrap() - config.scaling(module).unwrap()).abs() < 1e-12);
        // Nothing learned is nothing added, to the last bit but the sum's order.
        assert!(values(&delta(&plain(&initial, &initial).unwrap())).iter().all(|x| x.abs() < 1e-5));
        let other = Adapter::new(config, Vec::new(), Vec::new(), Vec::new());
        assert!(plain(&trained, &other).unwrap_err().to_string().contains("other modules"));
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let told = |rank, scaling| pissa(&matrix(1, 6, 9), rank, scaling, None, stream()).unwrap_err().to_string();
    assert!(told(7, 1.0).contains("PiSSA of rank 7 of a weight of shape [6, 9]"));
    assert!(told(2, -1.0).contains("a scaling of -1"));
    assert_eq!(parse("pissa"), Some(None));
    assert_eq!(parse("pissa_niter_16"), Some(Some(16)));
    assert_eq!((parse("gaussian"), parse("pissa_niter_"), parse("pissax")), (None, None, None));
}
