use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

fn reference(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/reference").join(name)
}

fn arch(name: &str) -> Architecture {
    let text = std::fs::read(reference(name).join("model/config.json")).unwrap();
    Architecture::from_config(&serde_json::from_slice(&text).unwrap()).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn names(adapter: &Adapter) -> Vec<String> {
    adapter.trainable().map(|trained| trained.name()).filter(|name| !name.contains("layers")).collect()
}

#[test]
fn pefts_adapters_of_either_are_read_and_written() {
    for (name, module, kinds) in [
        ("llama-s58-target-head", "lm_head", ["lora_A.weight", "lora_B.weight"]),
        ("llama-s59-target-embedding", "model.embed_tokens", ["lora_embedding_A", "lora_embedding_B"]),
    ] {
        let adapter = Adapter::load(&reference(name).join("adapter_final")).unwrap();
        adapter.check(&arch(name)).unwrap();
        let expected = kinds.map(|kind| format!("base_model.model.{module}.{kind}"));
        assert_eq!(names(&adapter), expected);
        let home = tempfile::tempdir().unwrap();
        adapter.save(home.path(), &BTreeMap::new()).unwrap();
        let back = Adapter::load(home.path()).unwrap();
        assert_eq!(back.sha256().unwrap(), adapter.sha256().unwrap());
        assert_eq!(back.ends[0].module, module);
        // Of another model.
        let error = adapter.check(&arch("llama-s0")).unwrap_err().to_string();
        assert!(error.contains("does not fit the model"), "{error}");
    }
}

#[test]
fn new_ones_change_nothing_yet() {
    let arch = arch("llama-s0");
    let adapter = Adapter::init(&arch, LoraConfig::new(4, 8.0, "q_proj,lm_head,embed_tokens"), 3).unwrap();
    adapter.check(&arch).unwrap();
    let [embedding, head] = &adapter.ends[..] else { panic!("{:?}", names(&adapter)) };
    assert_eq!((embedding.a.dims(), embedding.b.dims()), (&[4, arch.vocab_size][..], &[arch.hidden_size, 4][..]));
    assert_eq!((head.a.dims(), head.b.dims()), (&[4, arch.hidden_size][..], &[arch.vocab_size, 4][..]));
    assert!(values(&embedding.a).iter().chain(&values(&head.b)).all(|x| *x == 0.0));
    let b = values(&embedding.b);
    let mean_square = b.iter().map(|x| x * x).sum::<f32>() / b.len() as f32;
    assert!((mean_square - 1.0).abs() < 0.3, "normal, as peft draws it: {mean_square}");
    let bound = 1.0 / (arch.hidden_size as f32).sqrt();
    assert!(values(&head.a).iter().all(|x| *x != 0.0 && x.abs() <= bound));
    // Their draws depend neither on each other nor on the layers' modules.
    let alone = Adapter::init(&arch, LoraConfig::new(4, 8.0, "lm_head"), 3).unwrap();
    assert_eq!(values(&alone.ends[0].a), values(&head.a));
    assert!(alone.modules.is_empty());
    let planned = adapter.config.trained_shapes(&arch).unwrap();
    let trained: Vec<_> = adapter.trainable().map(|t| (t.name(), t.tensor.dims().to_vec())).collect();
    assert_eq!(planned.into_iter().map(|t| (t.name, t.shape)).collect::<Vec<_>>(), trained);
}

#[test]
fn they_are_chosen_as_in_peft() {
    let arch = arch("llama-s0");
    let ends = |config: &LoraConfig| config.ends(&arch).unwrap();
    let config = |targets: &str| LoraConfig::new(4, 8.0, targets);
    assert_eq!(ends(&config("all-linear")), []);
    assert_eq!(ends(&config(r".*(lm_head|v_proj)")), [End::Head]);
    assert_eq!(ends(&config("embed_tokens,lm_head")), End::ALL);
    let mut without = config("embed_tokens,lm_head");
    without.exclude_modules = Some("lm_head".parse().unwrap());
    assert_eq!(ends(&without), [End::Embedding]);
    let mut some_layers = config("q_proj,lm_head");
    some_layers.layers_to_transform = Some(crate::lora::Layers::One(1));
    assert_eq!(ends(&some_layers), []);
}

#[test]
fn what_is_saved_whole_is_not_adapted_too() {
    for (name, head) in [("llama-s0", "lm_head"), ("gpt_neox-s30", "embed_out")] {
        let arch = arch(name);
        for targets in [format!("{head},dense,q_proj"), format!(".*({head}|dense|q_proj)")] {
            let mut config = LoraConfig::new(4, 8.0, &targets);
            assert_eq!(config.ends(&arch).unwrap(), [End::Head]);
            config.other.insert("modules_to_save".into(), vec![head].into());
            assert_eq!(config.ends(&arch).unwrap(), []);
            let saved: Vec<String> = config.saved(&arch).unwrap().into_iter().map(|tensor| tensor.name).collect();
            assert_eq!(saved, [format!("{head}.weight")]);
        }
    }
}

#[test]
fn what_is_not_implemented_with_them_is_refused() {
    let arch = arch("llama-s0");
    let refused = |change: &dyn Fn(&mut LoraConfig)| {
        let mut config = LoraConfig::new(4, 8.0, "q_proj,lm_head");
        change(&mut config);
        config.ends(&arch).unwrap_err().to_string()
    };
    let error = refused(&|config| drop(config.other.insert("use_dora".into(), true.into())));
    assert!(error.contains("'lm_head' with use_dora"), "{error}");
    let error = refused(&|config| config.init_lora_weights = "pissa".into());
    assert!(error.contains("'lm_head' with init_lora_weights pissa"), "{error}");
    let mut config = LoraConfig::new(4, 8.0, "lm_head");
    config.init_lora_weights = "orthogonal".into();
    let error = Adapter::init(&arch, config, 0).unwrap_err().to_string();
    assert!(error.contains("orthogonal"), "{error}");
}

#[test]
fn a_pair_that_is_not_whole_or_not_named_is_refused() {
    let arch = arch("llama-s0");
    let mut adapter = Adapter::init(&arch, LoraConfig::new(4, 8.0, "q_proj,embed_tokens"), 3).unwrap();
    let pair = adapter.ends.pop().unwrap();
    let error = adapter.check(&arch).unwrap_err().to_string();
    assert!(error.contains("has no tensor for 'model.embed_tokens'"), "{error}");
    adapter.config.target_modules = Some("q_proj".parse().unwrap());
    adapter.ends.push(pair);
    let error = adapter.check(&arch).unwrap_err().to_string();
    assert!(error.contains("has tensors for 'model.embed_tokens', which its target_modules do not name"), "{error}");
}
