use std::path::Path;

use ::safetensors::Dtype;
use ft_kernels::philox::Stream;
use ft_kernels::tensor::from_vec;

use super::*;
use crate::lora::Adapter;
use crate::safetensors::Header;
use crate::{Architecture, Checkpoint};

fn arch() -> Architecture {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/reference/mixtral-s36/model");
    Checkpoint::open(&dir).unwrap().architecture().clone()
}

fn random(seed: u64, rows: usize, columns: usize) -> Tensor {
    let mut values = vec![0.0; rows * columns];
    Stream::new(seed, 95, 0).fill_normal(0, &mut values);
    from_vec(values, (rows, columns)).unwrap()
}

/// By module.
type Pairs = BTreeMap<String, [Tensor; 2]>;

/// An adapter as transformers 4 and peft wrote it: every expert's three matrices, the router and a query.
fn old(rank: usize) -> Pairs {
    let mut all = BTreeMap::new();
    for layer in 0..2 {
        let mut add = |module: String, out: usize, inner: usize| {
            let seed = all.len() as u64;
            all.insert(module, [random(2 * seed, rank, inner), random(2 * seed + 1, out, rank)]);
        };
        add(format!("model.layers.{layer}.self_attn.q_proj"), 48, 32);
        add(format!("model.layers.{layer}.block_sparse_moe.gate"), 4, 32);
        for e in 0..4 {
            for (part, out, inner) in [("w1", 28, 32), ("w2", 32, 28), ("w3", 28, 32)] {
                add(format!("model.layers.{layer}.block_sparse_moe.experts.{e}.{part}"), out, inner);
            }
        }
    }
    all
}

/// The file of these, with more in its configuration.
fn file(pairs: &Pairs, more: &str) -> Vec<u8> {
    let config = format!(
        r#"{{"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["w1", "q_proj", "w2", "gate", "w3"]{more}}}"#
    );
    let mut tensors: Vec<(String, &Tensor)> = Vec::new();
    for (module, [a, b]) in pairs {
        tensors.extend([(key(module, "lora_A.weight"), a), (key(module, "lora_B.weight"), b)]);
    }
    let shapes: Vec<_> = tensors.iter().map(|(name, t)| (name.clone(), Dtype::F32, t.dims().to_vec())).collect();
    let metadata = [("adapter_config".to_owned(), config)].into_iter().collect();
    let (_, mut bytes) = Header::build(&shapes, &metadata);
    for (_, tensor) in tensors {
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
    }
    bytes
}

#[test]
fn single_experts_become_all_and_add_what_they_added() {
    let (arch, pairs) = (arch(), old(2));
    let adapter = Adapter::from_bytes("old", &file(&pairs, "")).unwrap();
    adapter.check(&arch).unwrap();
    let config = &adapter.config;
    assert_eq!(config.target_modules, Some(Targets::Many(vec!["q_proj".into()])));
    assert_eq!(config.target_parameters().unwrap(), ["down_proj", "gate.weight", "gate_up_proj"]);
    let mut seen = 0;
    for pair in &adapter.modules {
        assert!((pair.scaling - 3.0).abs() < 1e-12, "{}", pair.module);
        for (name, a, b) in pair.on_tensors(&arch).unwrap() {
            let [old_a, old_b] = &pairs[name.strip_suffix(".weight").unwrap()];
            let (found, expected) = (b.matmul(&a).unwrap(), old_b.matmul(old_a).unwrap());
            let off = (found - &expected).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
            assert!(off.to_scalar::<f32>().unwrap() < 1e-5, "{name}");
            seen += 1;
        }
    }
    assert_eq!(seen, pairs.len());
    // Written anew it is a file of today, and the same adapter.
    let again = Adapter::from_bytes("new", &adapter.to_bytes(&BTreeMap::new()).unwrap()).unwrap();
    assert_eq!(again.sha256().unwrap(), adapter.sha256().unwrap());
}

#[test]
fn what_is_missing_is_named() {
    let message = |change: &dyn Fn(&mut Pairs), more: &str| {
        let mut pairs = old(2);
        change(&mut pairs);
        Adapter::from_bytes("old", &file(&pairs, more)).unwrap_err().to_string()
            + &Adapter::from_bytes("old", &file(&pairs, more)).map_err(|e| format!("{e:?}")).unwrap_err()
    };
    let expert = |part: &str| format!("model.layers.1.block_sparse_moe.experts.2.{part}");
    let told = message(&|pairs| drop(pairs.remove(&expert("w2"))), "");
    assert!(told.contains("no tensors of expert 2"), "{told}");
    let told = message(&|pairs| drop(pairs.insert(expert("w3"), [random(1, 3, 32), random(2, 28, 3)])), "");
    assert!(told.contains("expert 2"), "{told}");
    let told = message(&|_| {}, r#", "use_rslora": true"#);
    assert!(told.contains("use_rslora"), "{told}");
}
