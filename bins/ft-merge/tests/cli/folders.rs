//! The folders that are written.

use std::fs;

use ft_model::Checkpoint;
use ft_text::TextModel;
use serde_json::Value;

use crate::common::{contents, copy, failure, metadata, reference, run, smollm2, succeed, tensors, tokenizer};

fn json(path: &std::path::Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn large_models_are_written_in_shards_with_an_index() {
    let case = reference("llama-s0");
    let home = tempfile::tempdir().unwrap();
    let (model, adapter) = (case.join("model"), case.join("adapter_final"));
    let (whole, shards, again) = (home.path().join("whole"), home.path().join("shards"), home.path().join("again"));
    succeed(&[&"--model", &model, &"--adapter", &adapter, &"-o", &whole]);
    let told = succeed(&[&"--model", &model, &"--adapter", &adapter, &"--max-shard-size", &"100KB", &"-o", &shards]);
    let index = json(&shards.join("model.safetensors.index.json"));
    let map = index["weight_map"].as_object().unwrap();
    let expected = tensors(&whole.join("model.safetensors"));
    assert_eq!(map.len(), expected.len());
    assert!(map.keys().is_sorted());
    assert_eq!(index["metadata"]["total_size"], expected.values().map(|t| t.values.len() * 4).sum::<usize>());
    let files: std::collections::BTreeSet<&str> = map.values().map(|file| file.as_str().unwrap()).collect();
    let count = files.len();
    assert!(count > 3 && told.contains(&format!("in {count} files")), "{told}");
    for file in files {
        assert!(file.ends_with(&format!("-of-{count:05}.safetensors")), "{file}");
        assert_eq!(metadata(&shards.join(file))["format"], "pt");
        let held = tensors(&shards.join(file));
        let bytes: usize = held.values().map(|t| t.values.len() * 4).sum();
        assert!(bytes <= 100_000 || held.len() == 1, "{file} holds {bytes} bytes");
        for (name, tensor) in held {
            assert_eq!((map[&name].as_str(), &tensor), (Some(file), &expected[&name]));
        }
    }
    assert!(!shards.join("model.safetensors").exists());
    // Shards are read as well.
    succeed(&[&"--model", &shards, &"-o", &again]);
    assert_eq!(tensors(&again.join("model.safetensors")), expected);
}

#[test]
fn tokenizer_and_generation_settings_are_copied_byte_by_byte() {
    let home = tempfile::tempdir().unwrap();
    let model = copy(&reference("llama-s0").join("model"), &home.path().join("model"));
    let names = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];
    for name in names {
        fs::copy(tokenizer(name), model.join(name)).unwrap();
    }
    fs::create_dir(model.join("additional_chat_templates")).unwrap();
    fs::write(model.join("additional_chat_templates/tool.jinja"), "{{ messages }}").unwrap();
    fs::write(model.join("chat_template.jinja"), "{{ messages[0].content }}\n").unwrap();
    let out = home.path().join("out");
    let told = succeed(&[&"--model", &model, &"-o", &out]);
    assert!(!told.contains("without the token"), "{told}");
    for name in
        names.iter().chain(&["generation_config.json", "chat_template.jinja", "additional_chat_templates/tool.jinja"])
    {
        assert_eq!(fs::read(out.join(name)).unwrap(), fs::read(model.join(name)).unwrap(), "{name}");
    }
    // The weights' type apart, the configuration is the base's, key by key.
    assert_eq!(json(&out.join("config.json")), json(&model.join("config.json")));
    assert_eq!(tensors(&out.join("model.safetensors")), tensors(&model.join("model.safetensors")));
}

#[test]
fn old_configurations_keep_their_style() {
    let home = tempfile::tempdir().unwrap();
    let model = copy(&reference("llama3_rope-s0").join("model"), &home.path().join("model"));
    fs::rename(model.join("config_v4.json"), model.join("config.json")).unwrap();
    let out = home.path().join("out");
    succeed(&[&"--model", &model, &"--dtype", &"bf16", &"-o", &out]);
    let (before, mut after) = (json(&model.join("config.json")), json(&out.join("config.json")));
    assert_eq!(after["torch_dtype"], "bfloat16");
    after["torch_dtype"] = before["torch_dtype"].clone();
    assert_eq!(after, before);
}

#[test]
fn a_merged_model_in_16_bits_by_the_name_that_accelerate_has() {
    let case = reference("llama-s0");
    let home = tempfile::tempdir().unwrap();
    let (model, adapter) = (case.join("model"), case.join("adapter_final"));
    let merged = |name: &str, arguments: &[&str]| {
        let out = home.path().join(name);
        let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"--model", &model, &"--adapter", &adapter, &"-o", &out];
        all.extend(arguments.iter().map(|argument| argument as &dyn AsRef<std::ffi::OsStr>));
        succeed(&all);
        tensors(&out.join("model.safetensors"))
    };
    let plain = merged("plain", &[]);
    let bf16 = merged("bf16", &["--dtype", "bf16"]);
    assert_eq!(merged("named", &["--zero3-save-16bit-model"]), bf16);
    assert_eq!(merged("both", &["--zero3_save_16bit_model", "--dtype", "bf16"]), bf16);
    assert_ne!(plain, bf16);
    let out = home.path().join("none");
    let refused = run(&[&"--model", &model, &"-o", &out, &"--zero3-save-16bit-model", &"--dtype", &"f32"]);
    let (told, code) = failure(&refused);
    assert!(code == 2 && told.contains("--zero3-save-16bit-model and --dtype f32 exclude each other"), "{told}");
}

/// F17: what was trained is what is served.
#[test]
fn f17_an_adapters_template_and_ends_are_in_the_merged_folder() {
    let home = tempfile::tempdir().unwrap();
    let model = copy(&reference("llama-s0").join("model"), &home.path().join("model"));
    fs::write(model.join("chat_template.jinja"), "the base's").unwrap();
    fs::create_dir(model.join("additional_chat_templates")).unwrap();
    fs::write(model.join("additional_chat_templates/tool_use.jinja"), "the base's, with tools").unwrap();
    let base = ft_model::Adapter::load(&reference("llama-s0").join("adapter_final")).unwrap();
    let pairs = [
        ("ft.chat_template", "the adapter's\n"),
        ("ft.chat_template_sha256", "d"),
        ("ft.end_ids", "[2,7]"),
        ("ft.system", "Be brief."),
        ("ft.tool", "ft-train"),
    ];
    let metadata = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let (folder, piped) = (home.path().join("adapter"), home.path().join("piped.safetensors"));
    base.save(&folder, &metadata).unwrap();
    fs::write(&piped, base.to_bytes(&metadata).unwrap()).unwrap();
    for (name, adapter) in [("a", &folder), ("b", &piped)] {
        let out = home.path().join(name);
        let told = succeed(&[&"--model", &model, &"--adapter", adapter, &"-o", &out]);
        assert!(told.contains("trained with the system text \"Be brief.\""), "{told}");
        assert_eq!(fs::read_to_string(out.join("chat_template.jinja")).unwrap(), "the adapter's\n");
        assert!(!out.join("additional_chat_templates/tool_use.jinja").exists());
        assert_eq!(json(&out.join("generation_config.json"))["eos_token_id"], serde_json::json!([2, 7]));
        let written = crate::common::metadata(&out.join("model.safetensors"));
        assert_eq!((written["ft.system"].as_str(), written["ft.tool"].as_str()), ("Be brief.", "ft-merge"));
    }
    // The file in the folder, which people edit and TRL writes, goes before the metadata.
    fs::write(folder.join("chat_template.jinja"), "edited").unwrap();
    let out = home.path().join("c");
    succeed(&[&"--model", &model, &"--adapter", &folder, &"-o", &out]);
    assert_eq!(fs::read_to_string(out.join("chat_template.jinja")).unwrap(), "edited");
    // Adapters of two templates are told, and the last one's is written.
    let out = home.path().join("d");
    let told = succeed(&[&"--model", &model, &"--adapter", &folder, &"--adapter", &piped, &"-o", &out]);
    assert!(told.contains("was trained with another chat template than the adapter before it"), "{told}");
    assert_eq!(fs::read_to_string(out.join("chat_template.jinja")).unwrap(), "the adapter's\n");
}

#[test]
fn generation_settings_that_end_elsewhere_are_told() {
    let home = tempfile::tempdir().unwrap();
    let model = copy(&reference("llama-s0").join("model"), &home.path().join("model"));
    fs::write(model.join("generation_config.json"), r#"{"eos_token_id": 7}"#).unwrap();
    let told = succeed(&[&"--model", &model, &"-o", &home.path().join("out")]);
    assert!(told.contains("generation_config.json ends a text at [7], without the token 2"), "{told}");
}

#[test]
fn a_gguf_file_becomes_a_folder() {
    let home = tempfile::tempdir().unwrap();
    let (gguf, out) = (smollm2(), home.path().join("smol"));
    let told = succeed(&[&"--model", &gguf, &"--max-shard-size", &"200MB", &"-o", &out]);
    assert!(told.contains("538.1 MB of f32 in 3 files"), "{told}");
    // The weights are those of the file, number by number.
    let (before, after) = (Checkpoint::open(&gguf).unwrap(), Checkpoint::open(&out).unwrap());
    assert_eq!(before.names(), after.names());
    let names = [
        "model.norm.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.29.self_attn.k_proj.weight",
        "model.layers.7.mlp.down_proj.weight",
    ];
    for name in names {
        let read = |model: &Checkpoint| {
            let mut values = vec![0.0; model.shape(name).unwrap().iter().product()];
            model.read_f32(name, &mut values).unwrap();
            values
        };
        assert_eq!(read(&before), read(&after), "{name}");
    }
    assert_eq!(json(&out.join("generation_config.json"))["eos_token_id"], 2);
    assert_eq!(json(&out.join("config.json"))["architectures"][0], "LlamaForCausalLM");
    // The tokenizer and its template too.
    let (ours, theirs) = (TextModel::open(&out).unwrap(), TextModel::open(&gguf).unwrap());
    assert_eq!(ours.fingerprint().unwrap(), theirs.fingerprint().unwrap());
    assert_eq!(ours.template.unwrap().source(), theirs.template.unwrap().source());
    assert_eq!(ours.end_ids, theirs.end_ids);
}

#[test]
fn an_old_result_is_replaced_only_when_asked() {
    let case = reference("llama-s0");
    let home = tempfile::tempdir().unwrap();
    let (model, out) = (case.join("model"), home.path().join("out"));
    fs::create_dir(&out).unwrap();
    fs::write(out.join("mine.txt"), "mine").unwrap();
    let refused = crate::common::run(&[&"--model", &model, &"-o", &out]);
    let (line, code) = crate::common::failure(&refused);
    assert!(code == 1 && line.contains("is not empty"), "{line}");
    assert_eq!(contents(&out).len(), 1);
    succeed(&[&"--model", &model, &"-o", &out, &"--overwrite"]);
    assert!(out.join("model.safetensors").exists());
    assert_eq!(fs::read(out.join("mine.txt")).unwrap(), b"mine", "what others put there stays");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing is left beside it");
    // Of the older result nothing is left: here its shards, of which the new one has none.
    succeed(&[&"--model", &model, &"-o", &out, &"--overwrite", &"--max-shard-size", &"50KB"]);
    assert!(out.join("model.safetensors.index.json").exists() && !out.join("model.safetensors").exists());
    succeed(&[&"--model", &model, &"-o", &out, &"--overwrite"]);
    let names: Vec<_> = contents(&out).into_keys().filter(|name| name.starts_with("model")).collect();
    assert_eq!(names, ["model.safetensors"]);
    assert_eq!(fs::read(out.join("mine.txt")).unwrap(), b"mine");
}
