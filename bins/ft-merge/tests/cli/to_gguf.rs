//! GGUF files that are written: against llama.cpp's own converter, read back, refused, replaced.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ft_io::gguf::{Content, TensorInfo, Value};
use serde_json::json;

use crate::common::{copy, failure, reference, run, smollm2, succeed, tensors, tokenizer, workspace};

/// A GGUF file: what its header says, and the bytes of each tensor.
struct File {
    content: Content,
    bytes: Vec<u8>,
}

impl File {
    fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let content = Content::read(bytes.as_slice(), bytes.len() as u64).unwrap();
        Self { content, bytes }
    }

    fn data(&self, info: &TensorInfo) -> &[u8] {
        let start = (self.content.data_offset + info.offset) as usize;
        let count: usize = info.shape.iter().product();
        let len = match info.kind {
            0 => 4 * count,
            1 | 30 => 2 * count,
            8 => count / 32 * 34,
            other => panic!("type {other}"),
        };
        &self.bytes[start..start + len]
    }

    /// Shapes, types and bytes by name.
    fn tensors(&self) -> BTreeMap<&str, (&[usize], u32, &[u8])> {
        let all = self.content.tensors.iter();
        all.map(|(name, info)| (name.as_str(), (info.shape.as_slice(), info.kind, self.data(info)))).collect()
    }
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))
}

fn converted(name: &str) -> PathBuf {
    workspace().join("testdata/gguf").join(name)
}

/// The reference models that llama.cpp's converter has written.
const CONVERTED: [&str; 20] = [
    "gemma-s17",
    "gemma2-s18",
    "gemma3_text-s20",
    "gpt2-s28",
    "gpt_neox-s30",
    "granite-s26",
    "llama3_rope-s5",
    "llama_linear_rope-s3",
    "llama_tied_bias-s2",
    "llama_yarn_rope-s6",
    "mistral_full-s10",
    "mixtral-s36",
    "olmo2-s24",
    "phi-s32",
    "phi3_longrope-s16",
    "qwen2_tied-s12",
    "qwen3-s13",
    "qwen3_moe-s38",
    "smollm3-s22",
    "starcoder2-s54-bias-all",
];

#[test]
fn every_family_is_written_as_llama_cpps_converter_writes_it() {
    let home = tempfile::tempdir().unwrap();
    for name in CONVERTED {
        let out = home.path().join(format!("{name}.gguf"));
        succeed(&[&"--model", &reference(name).join("model"), &"--to", &"gguf", &"--quantize", &"f32", &"-o", &out]);
        let (ours, theirs) = (File::read(&out), File::read(&converted(&format!("{name}.gguf"))));
        let (written, expected) = (ours.tensors(), theirs.tensors());
        assert_eq!(written.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{name}");
        for (tensor, expected) in expected {
            assert_eq!((written[tensor].0, written[tensor].1), (expected.0, expected.1), "{name}: {tensor}");
            // Llama 3's divisors come out of powers, whose last bits are torch's own there.
            let same = written[tensor].2 == expected.2
                || tensor == "rope_freqs.weight"
                    && floats(written[tensor].2).zip(floats(expected.2)).all(|(a, b)| (a / b - 1.0).abs() < 3e-7);
            assert!(same, "{name}: {tensor} has other bytes");
        }
        let architecture = theirs.content.string("general.architecture").unwrap();
        for (key, value) in &theirs.content.metadata {
            // Of phi2 the converter takes the width of the MLP for granted.
            let guessed = key == "phi2.feed_forward_length" || key == "gpt2.feed_forward_length";
            if key.starts_with(architecture) && !guessed {
                assert_eq!(ours.content.metadata.get(key), Some(value), "{name}: {key}");
            }
        }
    }
}

#[test]
fn eight_bits_are_llama_cpps_own() {
    let home = tempfile::tempdir().unwrap();
    for name in ["llama3_rope-s5", "phi3_longrope-s16"] {
        let out = home.path().join(format!("{name}.gguf"));
        succeed(&[&"--model", &reference(name).join("model"), &"--to", &"gguf", &"--quantize", &"Q8_0", &"-o", &out]);
        let (ours, theirs) = (File::read(&out), File::read(&converted(&format!("{name}.q8_0.gguf"))));
        let (mut written, mut expected) = (ours.tensors(), theirs.tensors());
        for all in [&mut written, &mut expected] {
            all.remove("rope_freqs.weight");
        }
        assert!(written == expected, "{name}");
        assert_eq!(ours.content.number("general.file_type"), Some(7));
    }
}

#[test]
fn a_file_becomes_the_folder_again_that_it_was_made_of() {
    let home = tempfile::tempdir().unwrap();
    let (file, folder) = (home.path().join("m.gguf"), home.path().join("folder"));
    // Among them some that no file of the converter's stands for.
    let more = ["llama-s0", "qwen2-s11", "phi3-s15", "mistral-s9"];
    for name in CONVERTED.into_iter().chain(more) {
        let model = reference(name).join("model");
        succeed(&[&"--model", &model, &"--to", &"gguf", &"-o", &file, &"--overwrite"]);
        succeed(&[&"--model", &file, &"-o", &folder, &"--overwrite"]);
        let (read, own) = (tensors(&folder.join("model.safetensors")), tensors(&model.join("model.safetensors")));
        for (tensor, expected) in &own {
            // Gemma's norms are stored plus one, which rounds them.
            let allowed = if name.starts_with("gemma") && tensor.contains("norm") { 1.2e-7 } else { 0.0 };
            let apart =
                read[tensor].values.iter().zip(&expected.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(read[tensor].shape == expected.shape && apart <= allowed, "{name}: {tensor} by {apart}");
        }
    }
}

#[test]
fn threads_and_runs_change_no_byte() {
    let home = tempfile::tempdir().unwrap();
    let case = reference("llama3_rope-s5");
    let (model, adapter) = (case.join("model"), case.join("adapter_final"));
    for kind in ["f16", "q8_0", "q4_k_m"] {
        let mut files = Vec::new();
        for threads in ["1", "3"] {
            let out = home.path().join(format!("{kind}-{threads}.gguf"));
            succeed(&[
                &"--model",
                &model,
                &"--adapter",
                &adapter,
                &"--to",
                &"gguf",
                &"--quantize",
                &kind,
                &"--threads",
                &threads,
                &"-o",
                &out,
            ]);
            files.push(fs::read(&out).unwrap());
        }
        assert!(files[0] == files[1], "{kind}");
    }
}

#[test]
fn an_adapter_is_merged_before_it_is_rounded() {
    let home = tempfile::tempdir().unwrap();
    for name in ["llama3_rope-s5", "gpt2-s28", "gpt_neox-s30", "gemma2-s18", "mixtral-s36", "llama-s48-save-head"] {
        let case = reference(name);
        let (model, adapter) = (case.join("model"), case.join("adapter_final"));
        let at = |end: &str| home.path().join(format!("{name}.{end}"));
        succeed(&[&"--model", &model, &"--adapter", &adapter, &"--dtype", &"f32", &"-o", &at("merged")]);
        for kind in ["f32", "bf16", "q8_0"] {
            let (direct, later) = (at(&format!("{kind}.gguf")), at(&format!("later.{kind}.gguf")));
            let to: [&dyn AsRef<std::ffi::OsStr>; 4] = [&"--to", &"gguf", &"--quantize", &kind];
            succeed(&[&to[..], &[&"--model", &model, &"--adapter", &adapter, &"-o", &direct]].concat());
            succeed(&[&to[..], &[&"--model", &at("merged"), &"-o", &later]].concat());
            assert!(File::read(&direct).tensors() == File::read(&later).tensors(), "{name} {kind}");
        }
    }
}

/// A reference model with another `config.json`.
fn with_config(home: &Path, name: &str, keys: &serde_json::Value) -> PathBuf {
    let model = copy(&reference(name).join("model"), &home.join(name));
    let file = model.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    fs::write(file, config.to_string()).unwrap();
    model
}

#[test]
fn what_llama_cpp_takes_for_granted_is_not_lost_in_silence() {
    let home = tempfile::tempdir().unwrap();
    let interval = json!({"no_rope_layers": null, "no_rope_layer_interval": 3});
    for (name, keys, word) in [
        ("gemma2-s18", json!({"query_pre_attn_scalar": 7}), "query_pre_attn_scalar"),
        ("gemma3_text-s20", json!({"query_pre_attn_scalar": 100}), "query_pre_attn_scalar"),
        ("qwen3_moe-s38", json!({"norm_topk_prob": false}), "norm_topk_prob"),
        ("smollm3-s22", interval, "no_rope_layers"),
        ("llama-s0", json!({"hidden_act": "gelu"}), "hidden_act"),
        ("llama_dynamic_rope-s4", json!({}), "rope_scaling"),
        ("gemma2_untied-s19", json!({}), "attention_bias"),
        ("olmo2_bias-s25", json!({}), "attention_bias"),
        ("phi_qk_norm-s33", json!({}), "'norms'"),
        ("qwen3_moe_sparse-s39", json!({}), "layers without experts"),
        ("gpt2_scaled-s29", json!({}), "scale_attn_by_inverse_layer_idx"),
    ] {
        let model = with_config(home.path(), name, &keys);
        let out = home.path().join("out.gguf");
        let (line, code) = failure(&run(&[&"--model", &model, &"--to", &"gguf", &"-o", &out]));
        assert!(code == 1 && line.contains(word) && line.contains("GGUF file can say nothing but"), "{name}: {line}");
        assert!(!out.exists());
    }
}

#[test]
fn a_head_that_was_trained_apart_from_its_embedding_is_refused_where_llama_cpp_has_none() {
    let home = tempfile::tempdir().unwrap();
    let (case, out) = (reference("gemma_tied-s53-save-embedding"), home.path().join("out.gguf"));
    let (model, adapter) = (case.join("model"), case.join("adapter_final"));
    let (line, code) = failure(&run(&[&"--model", &model, &"--adapter", &adapter, &"--to", &"gguf", &"-o", &out]));
    assert!(code == 1 && line.contains("'tie_word_embeddings' is false"), "{line}");
}

#[test]
fn a_window_that_llama_cpp_does_not_have_is_told() {
    let home = tempfile::tempdir().unwrap();
    for name in ["mistral-s9", "phi3-s15"] {
        let out = home.path().join("out.gguf");
        let told =
            succeed(&[&"--model", &reference(name).join("model"), &"--to", &"gguf", &"-o", &out, &"--overwrite"]);
        assert!(
            told.contains("sliding_window is") && told.contains("llama.cpp gives this family none"),
            "{name}: {told}"
        );
    }
}

#[test]
fn only_files_of_this_program_are_replaced() {
    let home = tempfile::tempdir().unwrap();
    let model = copy(&reference("llama-s0").join("model"), &home.path().join("model"));
    let out = home.path().join("out.gguf");
    let to = |more: &[&'static str]| {
        let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"--model", &model, &"--to", &"gguf", &"-o", &out];
        all.extend(more.iter().map(|word| word as &dyn AsRef<std::ffi::OsStr>));
        run(&all)
    };
    assert!(to(&[]).status.success());
    let before = fs::read(&out).unwrap();
    let (line, code) = failure(&to(&[]));
    assert!(code == 1 && line.contains("out.gguf' is not empty"), "{line}");
    assert_eq!(fs::read(&out).unwrap(), before);
    assert!(to(&["--overwrite", "--quantize", "f16"]).status.success());
    assert_ne!(fs::read(&out).unwrap(), before);
    for other in [fs::read(converted("llama3_rope-s5.gguf")).unwrap(), b"my notes".to_vec()] {
        fs::write(&out, &other).unwrap();
        let (line, _) = failure(&to(&["--overwrite"]));
        assert!(line.contains("was not written by this program"), "{line}");
        assert_eq!(fs::read(&out).unwrap(), other);
    }
    let weights = model.join("model.safetensors");
    let (line, code) = failure(&run(&[&"--model", &model, &"--to", &"gguf", &"--overwrite", &"-o", &weights]));
    assert!(code == 2 && line.contains("would take the place of"), "{line}");
}

#[test]
fn arguments_that_do_not_go_together_are_usage_errors() {
    let model = reference("llama-s0").join("model");
    for (arguments, words) in [
        (&["-o", "/tmp/x.gguf"][..], "give --to gguf"),
        (&["-o", "/tmp/x", "--quantize", "f16"], "--quantize is for GGUF files"),
        (&["-o", "/tmp/x", "--pre", "gpt-2"], "--pre is for GGUF files"),
        (&["-o", "/tmp/x.gguf", "--to", "gguf", "--dtype", "f16"], "--dtype is for Hugging Face folders"),
        (&["-o", "/tmp/x.gguf", "--to", "gguf", "--quantize", "q3_k"], "q4_k_m"),
    ] {
        let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"--model", &model];
        all.extend(arguments.iter().map(|word| word as &dyn AsRef<std::ffi::OsStr>));
        let (line, code) = failure(&run(&all));
        assert!(code == 2 && line.contains(words), "{line}");
    }
}

/// A reference model with the small tokenizer, and as many rows of the embedding as that has tokens.
fn with_tokenizer(home: &Path) -> PathBuf {
    let model = copy(&reference("llama-s0").join("model"), &home.join("model"));
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        fs::copy(tokenizer(name), model.join(name)).unwrap();
    }
    model
}

#[test]
fn a_tokenizer_larger_than_the_embedding_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let model = with_tokenizer(home.path());
    let out = home.path().join("out.gguf");
    let (line, code) = failure(&run(&[&"--model", &model, &"--to", &"gguf", &"--pre", &"smollm", &"-o", &out]));
    assert!(code == 1 && line.contains("expected one of the embedding's 256 rows"), "{line}");
}

#[test]
fn smollm2_keeps_its_tokenizer_and_what_is_said_of_it() {
    let home = tempfile::tempdir().unwrap();
    let (folder, file) = (home.path().join("folder"), home.path().join("m.gguf"));
    let base = smollm2();
    succeed(&[&"--model", &base, &"--dtype", &"bf16", &"-o", &folder]);
    succeed(&[&"--model", &folder, &"--to", &"gguf", &"-o", &file]);
    let read = |path: &Path| Content::read(fs::File::open(path).unwrap(), fs::metadata(path).unwrap().len()).unwrap();
    let (ours, theirs) = (read(&file), read(&base));
    // The pre-tokenizer's name is found by its digest; llama.cpp's converter has written the rest as it is here.
    for key in [
        "model",
        "pre",
        "tokens",
        "token_type",
        "merges",
        "bos_token_id",
        "eos_token_id",
        "unknown_token_id",
        "padding_token_id",
        "add_bos_token",
    ] {
        let key = format!("tokenizer.ggml.{key}");
        let (ours, theirs) = (ours.metadata.get(&key), theirs.metadata.get(&key));
        assert!(
            ours == theirs || matches!((ours, theirs), (Some(Value::Bool(false)), None)),
            "{key}: {:?}",
            ours.map(Value::told)
        );
    }
    assert_eq!(ours.string("tokenizer.chat_template"), theirs.string("tokenizer.chat_template"));
    assert_eq!(ours.number("general.file_type"), Some(32));
    assert_eq!(ours.string("ft.tool"), Some("ft-merge"));
    assert_eq!(ours.string("general.name"), Some("folder"));
    assert!(ours.string("ft.inputs").unwrap().contains("model.safetensors"));
    let kinds = |content: &Content, kind: u32| content.tensors.values().filter(|info| info.kind == kind).count();
    assert_eq!((kinds(&ours, 0), kinds(&ours, 30)), (61, 211));
    // From the GGUF file itself the tokenizer comes as it is, and the types are llama.cpp's mixture for rows of 576.
    succeed(&[&"--model", &base, &"--to", &"gguf", &"--quantize", &"q4_k_m", &"-o", &file, &"--overwrite"]);
    let small = read(&file);
    for (key, value) in theirs.metadata.iter().filter(|(key, _)| key.starts_with("tokenizer.")) {
        assert_eq!(small.metadata.get(key), Some(value), "{key}");
    }
    assert_eq!(small.tensors["token_embd.weight"].kind, 8);
    assert_eq!(small.tensors["blk.0.ffn_gate.weight"].kind, 6);
    assert_eq!((small.tensors["blk.0.ffn_down.weight"].kind, small.tensors["blk.3.ffn_down.weight"].kind), (14, 12));
}

#[test]
fn an_unknown_pre_tokenizer_is_named_by_hand() {
    let home = tempfile::tempdir().unwrap();
    let base = smollm2();
    let folder = home.path().join("folder");
    succeed(&[&"--model", &base, &"--dtype", &"bf16", &"-o", &folder]);
    let file = folder.join("tokenizer.json");
    let text = fs::read_to_string(&file).unwrap();
    // Words are no longer cut from each other.
    let other = text.replace("\"use_regex\": true", "\"use_regex\": false");
    assert_ne!(other, text);
    fs::write(&file, other).unwrap();
    let out = home.path().join("out.gguf");
    let (line, code) = failure(&run(&[&"--model", &folder, &"--to", &"gguf", &"-o", &out]));
    assert!(code == 1 && line.contains("llama.cpp has no name") && line.contains("--pre"), "{line}");
    let told = succeed(&[&"--model", &folder, &"--to", &"gguf", &"--pre", &"smollm", &"-o", &out]);
    assert!(told.contains("is the name given with --pre the right one?"), "{told}");
    let told = succeed(&[&"--model", &folder, &"--to", &"gguf", &"--pre", &"newest", &"-o", &out, &"--overwrite"]);
    assert!(told.contains("--pre newest: not among the names"), "{told}");
}

#[test]
fn the_template_and_the_ends_of_training_are_written() {
    let home = tempfile::tempdir().unwrap();
    let base = smollm2();
    let adapter = copy(&reference("llama-s0").join("adapter_final"), &home.path().join("none"));
    fs::remove_dir_all(&adapter).unwrap();
    let folder = home.path().join("folder");
    succeed(&[&"--model", &base, &"--dtype", &"bf16", &"-o", &folder]);
    fs::write(folder.join("chat_template.jinja"), "{{ messages[0].content }}").unwrap();
    let mut settings: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("generation_config.json")).unwrap()).unwrap();
    settings["eos_token_id"] = json!([2, 17, 18, 19]);
    fs::write(folder.join("generation_config.json"), settings.to_string()).unwrap();
    let out = home.path().join("out.gguf");
    succeed(&[&"--model", &folder, &"--to", &"gguf", &"-o", &out]);
    let content = Content::read(fs::File::open(&out).unwrap(), fs::metadata(&out).unwrap().len()).unwrap();
    assert_eq!(content.string("tokenizer.chat_template"), Some("{{ messages[0].content }}"));
    let id = |name: &str| content.number(&format!("tokenizer.ggml.{name}_token_id"));
    assert_eq!((id("eos"), id("eot"), id("eom")), (Some(2), Some(17), Some(18)));
}
