#![expect(clippy::float_cmp, reason = "scales and copies are exact")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::Tensor;
use ft_kernels::tensor::from_vec;

use super::*;
use crate::arch::Architecture;
use crate::error::{Error, Result};

fn reference(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/reference").join(name)
}

fn arch() -> Architecture {
    let text = std::fs::read(reference("llama-s0/model/config.json")).unwrap();
    Architecture::from_config(&serde_json::from_slice(&text).unwrap()).unwrap()
}

fn init(targets: &str) -> Result<Adapter> {
    Adapter::init(&arch(), LoraConfig::new(4, 8.0, targets), 7)
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn pefts_adapters_are_read_and_written_back_the_same() {
    for (name, modules, scaling) in [("llama-s0", 14, 2.0), ("llama-s0-rslora", 14, 4.0), ("llama-s0-qv-wd", 4, 2.0)] {
        let folder = reference(name).join("adapter_final");
        let adapter = Adapter::load(&folder).unwrap();
        adapter.check(&arch()).unwrap();
        assert_eq!(adapter.modules.len(), modules);
        assert!(adapter.modules.iter().all(|pair| pair.scaling == scaling), "{name}");
        assert_eq!(adapter.modules[0].module, "model.layers.0.self_attn.q_proj");
        let home = tempfile::tempdir().unwrap();
        adapter.save(home.path(), &BTreeMap::new()).unwrap();
        let back = Adapter::load(home.path()).unwrap();
        assert_eq!(back.sha256().unwrap(), adapter.sha256().unwrap());
        assert_eq!(back.config, adapter.config);
        // Metadata apart, even peft's bytes: the same names in the same order.
        let data = |path: &std::path::Path| {
            let bytes = std::fs::read(path.join("adapter_model.safetensors")).unwrap();
            let head = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize + 8;
            bytes[head..].to_vec()
        };
        assert_eq!(data(home.path()), data(&folder));
    }
}

#[test]
fn an_initial_adapter_changes_nothing_and_depends_on_the_seed_alone() {
    let adapter = init("all-linear").unwrap();
    assert_eq!(adapter.modules.len(), 14);
    let pair = &adapter.modules[6];
    assert_eq!((pair.module.as_str(), pair.scaling), ("model.layers.0.mlp.down_proj", 2.0));
    let bound = 1.0 / (pair.a.dims()[1] as f32).sqrt();
    let a = values(&pair.a);
    assert!(a.iter().all(|x| x.abs() <= bound));
    let mean_square = a.iter().map(|x| x * x).sum::<f32>() / a.len() as f32;
    assert!((mean_square / (bound * bound / 3.0) - 1.0).abs() < 0.2, "{mean_square}");
    assert!(adapter.modules.iter().all(|pair| values(&pair.b).iter().all(|x| *x == 0.0)));
    assert_eq!(init("all-linear").unwrap().sha256().unwrap(), adapter.sha256().unwrap());
    // A module's draw does not depend on which others are adapted.
    let few = init("down_proj").unwrap();
    assert_eq!(few.modules.len(), 2);
    assert_eq!(values(&few.modules[0].a), a);
    let other = Adapter::init(&arch(), LoraConfig::new(4, 8.0, "all-linear"), 8).unwrap();
    assert_ne!(other.sha256().unwrap(), adapter.sha256().unwrap());
}

#[test]
fn targets_match_as_in_peft() {
    let names =
        |targets: &str| -> Vec<String> { init(targets).unwrap().modules.into_iter().map(|pair| pair.module).collect() };
    assert_eq!(names("q_proj,layers.1.mlp.up_proj").len(), 3);
    assert_eq!(names(r".*\.1\..*[kv]_proj"), ["model.layers.1.self_attn.k_proj", "model.layers.1.self_attn.v_proj"]);
    let mut config = LoraConfig::new(4, 8.0, "all-linear");
    config.exclude_modules = Some("mlp.up_proj,mlp.gate_proj,mlp.down_proj".parse().unwrap());
    config.layers_to_transform = Some(Layers::One(1));
    let adapter = Adapter::init(&arch(), config, 0).unwrap();
    assert_eq!(adapter.modules.len(), 4);
    adapter.check(&arch()).unwrap();
    let written = adapter.config.to_json().unwrap();
    assert!(!written.contains("all-linear"), "other readers do not know the word: {written}");
}

#[test]
fn targets_that_match_nothing_are_refused_with_what_there_is() {
    for (targets, named) in
        [("c_attn", "'c_attn'"), ("q_proj,v_prj", "'v_prj'"), (r"x\d", "none of"), ("lm_heat", "'lm_heat'")]
    {
        let message = init(targets).unwrap_err().to_string();
        assert!(message.contains(named) && message.contains("q_proj, k_proj"), "{message}");
    }
    let message = init("(q_proj").unwrap_err().to_string();
    assert!(message.contains("no regular expression"), "{message}");
}

#[test]
fn a_pipe_carries_the_configuration() {
    let adapter = Adapter::load(&reference("llama-s0-rslora/adapter_final")).unwrap();
    let metadata = BTreeMap::from([("ft.tool".to_owned(), "ft-x".to_owned())]);
    let bytes = adapter.to_bytes(&metadata).unwrap();
    assert_eq!(bytes, adapter.to_bytes(&metadata).unwrap());
    let back = Adapter::from_bytes("standard input", &bytes).unwrap();
    assert_eq!((back.config, back.modules[3].scaling), (adapter.config.clone(), 4.0));
    // The same bytes as a file.
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("a.safetensors");
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(Adapter::load(&file).unwrap().sha256().unwrap(), adapter.sha256().unwrap());
    let plain = std::fs::read(reference("llama-s0/adapter_final/adapter_model.safetensors")).unwrap();
    let message = Adapter::from_bytes("standard input", &plain).unwrap_err().to_string();
    assert!(message.contains("'adapter_config'"), "{message}");
}

#[test]
fn keys_with_the_adapters_name_and_narrow_types_are_read() {
    let home = tempfile::tempdir().unwrap();
    let adapter = Adapter::load(&reference("llama-s0-qv-wd/adapter_final")).unwrap();
    let mut tensors = Vec::new();
    for pair in &adapter.modules {
        for (kind, t, dtype) in [("A", &pair.a, safetensors::Dtype::BF16), ("B", &pair.b, safetensors::Dtype::F16)] {
            let bytes: Vec<u8> = values(t)
                .into_iter()
                .flat_map(|x| match kind {
                    "A" => half::bf16::from_f32(x).to_le_bytes(),
                    _ => half::f16::from_f32(x).to_le_bytes(),
                })
                .collect();
            tensors.push((
                format!("base_model.model.{}.lora_{kind}.default.weight", pair.module),
                dtype,
                t.dims().to_vec(),
                bytes,
            ));
        }
    }
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name, safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    std::fs::write(home.path().join("adapter_model.safetensors"), safetensors::serialize(views, None).unwrap())
        .unwrap();
    std::fs::write(home.path().join("adapter_config.json"), adapter.config.to_json().unwrap()).unwrap();
    let back = Adapter::load(home.path()).unwrap();
    for (x, y) in adapter.modules.iter().zip(&back.modules) {
        let narrow: Vec<f32> = values(&x.a).into_iter().map(|v| half::bf16::from_f32(v).to_f32()).collect();
        assert_eq!(values(&y.a), narrow);
        let narrow: Vec<f32> = values(&x.b).into_iter().map(|v| half::f16::from_f32(v).to_f32()).collect();
        assert_eq!(values(&y.b), narrow);
    }
}

/// The message of loading the reference adapter after `change`.
fn broken(change: impl FnOnce(&mut Adapter), file: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut adapter = Adapter::load(&reference("llama-s0/adapter_final")).unwrap();
    change(&mut adapter);
    let mut bytes = match adapter.to_bytes(&BTreeMap::new()) {
        Ok(bytes) => bytes,
        Err(e) => return words(e),
    };
    file(&mut bytes);
    match Adapter::from_bytes("a.safetensors", &bytes).and_then(|adapter| adapter.check(&arch())) {
        Ok(()) => "no error".into(),
        Err(e) => words(e),
    }
}

/// What is wrong, without the file's name around it.
fn words(error: Error) -> String {
    match error {
        Error::In { source, .. } => source.to_string(),
        error => error.to_string(),
    }
}

#[test]
fn what_does_not_fit_is_refused_by_the_tensors_name() {
    let message = broken(|a| drop(a.modules.remove(3)), |_| {});
    assert!(message.contains("no tensor for 'model.layers.0.self_attn.o_proj'"), "{message}");
    let message = broken(|a| a.modules[2].b = from_vec(vec![0.0; 4 * 63], (63, 4)).unwrap(), |_| {});
    assert!(
        message.contains("layers.0.self_attn.v_proj.lora_B.weight' has the shape [63, 4], expected ["),
        "{message}"
    );
    let message = broken(|a| a.modules[2].a = from_vec(vec![0.0; 5 * 64], (5, 64)).unwrap(), |_| {});
    assert!(message.contains("the rank 4") && message.contains("5 rows"), "{message}");
    let message = broken(|a| a.modules[2].key = "model.layers.9.mlp.up_proj".into(), |_| {});
    assert!(message.contains("'model.layers.9.mlp.up_proj'"), "{message}");
    let message = broken(|a| a.modules[2].key = "lm_head".into(), |_| {});
    assert!(message.contains("'lm_head'"), "{message}");
    let message = broken(|a| a.modules.clear(), |_| {});
    assert_eq!(message, "the adapter holds no tensors");
    let message = broken(|a| a.modules[0].b = from_vec(vec![f32::NAN; 64 * 4], (64, 4)).unwrap(), |_| {});
    assert!(message.contains("NaN") && message.contains("q_proj.lora_B"), "{message}");
    let message = broken(|a| a.modules[0].a = from_vec(vec![], (0, 64)).unwrap(), |_| {});
    assert!(message.contains("empty tensor"), "{message}");
    let message = broken(|_| {}, |bytes| bytes.truncate(2000));
    assert!(message.contains("a.safetensors") && message.contains("cut short"), "{message}");
}

#[test]
fn a_folder_that_is_no_adapter_says_what_it_is() {
    let message = Adapter::load(&reference("llama-s0/model")).unwrap_err().to_string();
    assert!(message.contains("holds a model, not an adapter"), "{message}");
    let home = tempfile::tempdir().unwrap();
    let message = Adapter::load(home.path()).unwrap_err().to_string();
    assert!(message.contains("adapter_model.safetensors"), "{message}");
}
