use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use ft_dist::Solo;
use ft_kernels::philox::Stream;
use serde_json::Value;

use super::*;
use crate::lora::{LoraConfig, LoraPair};
use crate::safetensors::Header;
use ::safetensors::Dtype;

/// An adapter with one module and these shapes, of seeded numbers.
fn adapter(rank: usize, inner: usize, out: usize) -> Adapter {
    let pair = LoraPair {
        key: "model.layers.0.self_attn.q_proj".into(),
        module: "model.layers.0.self_attn.q_proj".into(),
        a: numbers(1, &[rank, inner]),
        b: numbers(2, &[out, rank]),
        scaling: 1.0,
        magnitude: None,
    };
    Adapter::new(LoraConfig::new(rank, 8.0, "q_proj"), vec![pair], Vec::new(), Vec::new())
}

fn numbers(seed: u64, shape: &[usize]) -> Tensor {
    let mut values = vec![0.0; shape.iter().product()];
    Stream::new(seed, 98, 0).fill_normal(0, &mut values);
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn gradients(adapter: &Adapter, step: u64) -> Vec<Tensor> {
    adapter.trainable().enumerate().map(|(i, t)| numbers(100 * step + i as u64, t.tensor.dims())).collect()
}

/// Takes the steps `steps` and returns the bits of what has come of the adapter.
fn steps(optimizer: &mut Optimizer, adapter: &mut Adapter, steps: std::ops::Range<u64>) -> String {
    for step in steps {
        let lr = 1e-2 / (step + 1) as f64;
        optimizer.update(adapter, &gradients(adapter, step), lr, 1.0, &Solo).unwrap();
    }
    adapter.sha256().unwrap()
}

fn config(kind: OptimizerKind, folder: &Path) -> OptimizerConfig {
    let sgd = SgdOptions { momentum: 0.9, ..SgdOptions::default() };
    OptimizerConfig { kind, weight_decay: 0.1, sgd, page_folder: folder.to_path_buf(), ..OptimizerConfig::default() }
}

#[test]
fn a_paged_kind_gives_the_bits_of_its_unpaged_one() {
    use OptimizerKind::*;
    let folder = tempfile::tempdir().unwrap();
    for (kind, paged) in [
        (AdamwTorch, PagedAdamw32bit),
        (Adamw8bit, PagedAdamw8bit),
        (Lion32bit, PagedLion32bit),
        (Lion8bit, PagedLion8bit),
    ] {
        let run = |kind| {
            // A is more than a piece, B less than 4096 elements.
            let mut adapter = adapter(3, 100_003, 50);
            let mut optimizer = Optimizer::new(&adapter, config(kind, folder.path())).unwrap();
            steps(&mut optimizer, &mut adapter, 0..4)
        };
        assert_eq!(run(kind), run(paged), "{kind}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the pages have no name");
}

#[test]
fn every_kind_goes_on_to_the_same_bits_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer.safetensors");
    for kind in OptimizerKind::ALL {
        let start = || adapter(8, 1003, 600);
        let fresh = |adapter: &Adapter| Optimizer::new(adapter, config(kind, folder.path())).unwrap();
        let mut whole = start();
        let mut optimizer = fresh(&whole);
        let expected = steps(&mut optimizer, &mut whole, 0..6);

        let mut first = start();
        let mut optimizer = fresh(&first);
        steps(&mut optimizer, &mut first, 0..3);
        optimizer.save(Some(&path), &Solo).unwrap();
        // Another implementation reads it.
        let bytes = std::fs::read(&path).unwrap();
        let tensors = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert!(tensors.names().iter().all(|name| name.starts_with("base_model.model.model.layers.0.")), "{kind}");

        let mut resumed = fresh(&first);
        resumed.load(&path).unwrap();
        assert_eq!(resumed.step(), 3);
        let mut cold = adapter_copy(&first);
        assert_eq!(steps(&mut resumed, &mut first, 3..6), expected, "{kind}");
        let mut forgetful = fresh(&cold);
        assert_ne!(steps(&mut forgetful, &mut cold, 3..6), expected, "{kind}: the state matters");
    }
}

/// The same values in memory of their own.
fn adapter_copy(adapter: &Adapter) -> Adapter {
    let mut copy = adapter.clone();
    for pair in copy.modules_mut() {
        (pair.a, pair.b) = (pair.a.copy().unwrap(), pair.b.copy().unwrap());
    }
    copy
}

#[test]
fn what_is_remembered_has_the_names_of_torch_and_bitsandbytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let name = "model.embed_tokens.weight";
    let tensor = numbers(3, &[100, 50]);
    let (config_of, modules, ..) = adapter(8, 1003, 500).into_parts();
    let saved = vec![crate::lora::SavedTensor { name: name.into(), key: name.into(), tensor }];
    let adapter = Adapter::new(config_of, modules, Vec::new(), saved);
    let optimizer = Optimizer::new(&adapter, config(OptimizerKind::Adamw8bit, folder.path())).unwrap();
    optimizer.save(Some(&path), &Solo).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let header = Header::from_bytes(&bytes).unwrap();
    let mut found: Vec<_> = header.entries.iter().map(|e| (e.name.as_str(), e.dtype, e.shape.as_slice())).collect();
    found.sort_by_key(|(name, ..)| *name);
    let short =
        |name: &str| name.rsplit('.').take(3).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(".");
    let found: Vec<_> = found.into_iter().map(|(name, d, s)| (short(name), d, s.to_vec())).collect();
    let expected = [
        // Embeddings have 32 bits, whatever their size.
        ("embed_tokens.weight.exp_avg", Dtype::F32, vec![100, 50]),
        ("embed_tokens.weight.exp_avg_sq", Dtype::F32, vec![100, 50]),
        ("lora_A.weight.absmax1", Dtype::F32, vec![32]),
        ("lora_A.weight.absmax2", Dtype::F32, vec![32]),
        ("lora_A.weight.state1", Dtype::U8, vec![8, 1003]),
        ("lora_A.weight.state2", Dtype::U8, vec![8, 1003]),
        // Of 4000 elements: below bitsandbytes' 4096.
        ("lora_B.weight.exp_avg", Dtype::F32, vec![500, 8]),
        ("lora_B.weight.exp_avg_sq", Dtype::F32, vec![500, 8]),
    ];
    let expected = expected.map(|(name, dtype, shape)| (name.to_owned(), dtype, shape));
    assert_eq!(found, expected);
    assert_eq!(header.metadata["optimizer"], "adamw_8bit");
    assert_eq!(header.metadata["step"], "0");
}

#[test]
fn a_state_of_another_kind_or_adapter_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let adapter_8 = adapter(8, 64, 64);
    let new = |adapter: &Adapter, kind| Optimizer::new(adapter, config(kind, folder.path())).unwrap();
    new(&adapter_8, OptimizerKind::AdamwTorch).save(Some(&path), &Solo).unwrap();
    new(&adapter_8, OptimizerKind::PagedAdamw32bit).load(&path).unwrap();
    let told = new(&adapter_8, OptimizerKind::Sgd).load(&path).unwrap_err().to_string();
    assert!(
        told.ends_with(
            "it holds the state of the optimizer 'adamw_torch', expected that of 'sgd'; go on with the same"
        )
    );
    let told = new(&adapter(4, 64, 64), OptimizerKind::AdamwTorch).load(&path).unwrap_err().to_string();
    assert!(told.contains("state.safetensors': it has no tensor '"), "{told}");
    assert!(told.ends_with("lora_A.weight.exp_avg' of type F32 and shape [4, 64]"), "{told}");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let told = new(&adapter_8, OptimizerKind::AdamwTorch).load(&path).unwrap_err().to_string();
    assert!(told.contains("it is damaged: ") && told.contains("cut short"), "{told}");
}

#[test]
fn pages_need_a_folder() {
    let missing = Path::new("no/such/folder");
    let told = Optimizer::new(&adapter(2, 4, 4), config(OptimizerKind::PagedAdamw8bit, missing)).unwrap_err();
    assert!(told.to_string().starts_with("cannot write 'no/such/folder/"), "{told}");
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    let mut adapter = adapter(2, 4, 4);
    let before = adapter.sha256().unwrap();
    let mut optimizer = Optimizer::new(&adapter, OptimizerConfig::default()).unwrap();
    let mut gradients = gradients(&adapter, 0);
    gradients[1] = (gradients[1].clone() * f64::NAN).unwrap();
    let told = optimizer.update(&mut adapter, &gradients, 1e-3, 1.0, &Solo).unwrap_err().to_string();
    assert_eq!(told, "the gradient's norm is NaN, expected a finite number");
    assert_eq!((adapter.sha256().unwrap(), optimizer.step()), (before, 0));
}

/// What `scripts/make_optimizer_reference.py` wrote.
fn reference() -> (Value, std::collections::HashMap<String, Tensor>) {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/optimizers"));
    let meta = std::fs::read(folder.join("reference.json")).unwrap();
    let tensors = candle_core::safetensors::load(folder.join("reference.safetensors"), &Device::Cpu).unwrap();
    (serde_json::from_slice(&meta).unwrap(), tensors)
}

/// Each trained tensor in its group: those of Trainer, and those of peft's LoRA+.
#[test]
fn groups_are_those_of_trainer_and_peft() {
    let (meta, _) = reference();
    let number = |key: &str| meta[key].as_f64().unwrap();
    let plus = LoraPlus { ratio: number("loraplus_lr_ratio"), embedding: number("loraplus_lr_embedding") };
    for (key, loraplus) in [("trainer", None), ("loraplus", Some(plus))] {
        let (learning_rate, weight_decay) = (number("lr"), number("weight_decay"));
        let config = OptimizerConfig { learning_rate, weight_decay, loraplus, ..OptimizerConfig::default() };
        let expected: BTreeMap<String, Value> = serde_json::from_value(meta["groups"][key].clone()).unwrap();
        assert!(expected.len() > 10);
        for (name, expected) in expected {
            let vector = ["bias", "norm", "magnitude_vector"].iter().any(|part| name.contains(part));
            let tensor = numbers(0, if vector { &[4] } else { &[2, 2] });
            // peft counts the magnitudes of adapted embeddings among the vectors.
            let rates = Group::of(&name, &tensor, &config).rates(learning_rate, &config);
            let (lr, decay) = (expected["lr"].as_f64().unwrap(), expected["weight_decay"].as_f64().unwrap());
            assert!((rates.lr - lr).abs() < 1e-12 && rates.weight_decay == decay, "{key} {name}: {rates:?}");
            // Half way down the schedule all are at their half.
            let half = Group::of(&name, &tensor, &config).rates(learning_rate / 2.0, &config);
            assert!((half.lr - lr / 2.0).abs() < 1e-12, "{key} {name}: {half:?}");
        }
    }
}

#[test]
fn gradients_are_clipped_as_torch_clips_them() {
    let (meta, tensors) = reference();
    for (step, expected) in meta["norms"].as_array().unwrap().iter().enumerate() {
        let grads = ["a", "bias", "b", "c"].map(|key| tensors[&format!("grad{}.{key}", step + 1)].clone());
        // SGD at a rate of -1 adds what the clipping left.
        let (config_of, mut modules, ..) = adapter(2, 2, 2).into_parts();
        let zero = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
        modules[0].a = zero(grads[0].dims());
        modules[0].b = zero(grads[2].dims());
        let saved = ["bias", "c"].map(|name| crate::lora::SavedTensor {
            name: name.into(),
            key: name.into(),
            tensor: zero(tensors[&format!("start.{name}")].dims()),
        });
        let mut adapter = Adapter::new(config_of, modules, Vec::new(), saved.into());
        let config = OptimizerConfig { kind: OptimizerKind::Sgd, ..OptimizerConfig::default() };
        let mut optimizer = Optimizer::new(&adapter, config).unwrap();
        let [a, bias, b, c] = grads.map(|grad| grad.copy().unwrap());
        let found = optimizer.update(&mut adapter, &[a, b, bias, c], -1.0, 1.0, &Solo).unwrap();
        let theirs = expected["norm"].as_f64().unwrap();
        assert!((found - theirs).abs() < 1e-6 * theirs, "{found}, expected {theirs}");
        let first = f64::from(adapter.modules()[0].a.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0]);
        let clipped = expected["clipped"].as_f64().unwrap();
        assert!((first - clipped).abs() <= 1e-6 * clipped.abs(), "{first}, expected {clipped}");
    }
}

#[test]
fn names_are_those_of_transformers() {
    for kind in OptimizerKind::ALL {
        assert_eq!(kind.name().parse::<OptimizerKind>().unwrap(), kind);
    }
    assert_eq!("adamw_bnb_8bit".parse::<OptimizerKind>().unwrap(), OptimizerKind::Adamw8bit);
    assert_eq!("lion".parse::<OptimizerKind>().unwrap(), OptimizerKind::Lion32bit);
    let told = "adafactor".parse::<OptimizerKind>().unwrap_err().to_string();
    assert!(told.starts_with("the optimizer 'adafactor' is not implemented; known are: adamw_torch, "), "{told}");
    assert!(told.contains("paged_adamw_8bit") && told.contains("sgd"), "{told}");
}

#[test]
fn options_of_sgd_read_as_transformers_reads_them() {
    let options: SgdOptions = "momentum = 0.9, nesterov=True".parse().unwrap();
    assert_eq!(options, SgdOptions { momentum: 0.9, dampening: 0.0, nesterov: true });
    assert_eq!("".parse::<SgdOptions>().unwrap(), SgdOptions::default());
    for wrong in ["momentum", "momentum=x", "beta=1", "momentum=-1"] {
        let told = wrong.parse::<SgdOptions>().unwrap_err().to_string();
        assert!(told.starts_with(&format!("the optimizer sgd does not understand '{wrong}'")), "{told}");
    }
    assert!("nesterov=true".parse::<SgdOptions>().unwrap_err().to_string().contains("momentum above 0"));
}
