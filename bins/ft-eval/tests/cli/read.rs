//! Models and adapters as transformers and peft read them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

use crate::bench::{Bench, Row, testdata};

type Tensors = HashMap<String, Tensor>;

fn load(file: &Path) -> Tensors {
    candle_core::safetensors::load(file, &Device::Cpu).unwrap()
}

fn json_of(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// A bench with `rows.parquet`, and a model of the reference values, to be changed.
struct Case {
    bench: Bench,
    model: PathBuf,
}

impl Case {
    fn new(reference: &str) -> Self {
        let bench = Bench::new();
        let row = |from: u32| {
            let ids: Vec<u32> = (0..12).map(|t| (from + 5 * t) % 90).collect();
            Row::labelled(&ids, &ids.iter().map(|&id| id as i32).collect::<Vec<_>>())
        };
        bench.tokens("rows.parquet", &[row(1), row(40), row(77)], None);
        let (from, model) = (testdata("reference").join(reference).join("model"), bench.path("copy"));
        fs::create_dir(&model).unwrap();
        for name in ["config.json", "model.safetensors"] {
            fs::copy(from.join(name), model.join(name)).unwrap();
        }
        Self { bench, model }
    }

    fn weights(&self, change: impl FnOnce(Tensors) -> Tensors) -> &Self {
        let file = self.model.join("model.safetensors");
        candle_core::safetensors::save(&change(load(&file)), file).unwrap();
        self
    }

    fn config(&self, change: impl FnOnce(&mut Value)) -> &Self {
        let file = self.model.join("config.json");
        let mut config = json_of(&file);
        change(&mut config);
        fs::write(file, config.to_string()).unwrap();
        self
    }

    /// The loss, and what was said.
    fn loss(&self, args: &[&str]) -> (f64, String) {
        let out = self.bench.run_on("loss", &self.model, &[args, &["rows.parquet"]].concat(), b"");
        (out.figures()["loss"].as_f64().unwrap(), out.stderr)
    }

    fn refused(&self) -> String {
        self.bench.run_on("loss", &self.model, &["rows.parquet"], b"").failure().to_owned()
    }

    /// The adapter `reference/name`, changed, as a folder.
    fn adapter(&self, name: &str, change: impl FnOnce(&mut Value, &mut Tensors)) -> PathBuf {
        let (from, to) = (testdata("reference").join(name), self.bench.path("adapter"));
        let (mut config, mut tensors) =
            (json_of(&from.join("adapter_config.json")), load(&from.join("adapter_model.safetensors")));
        change(&mut config, &mut tensors);
        fs::create_dir_all(&to).unwrap();
        fs::write(to.join("adapter_config.json"), config.to_string()).unwrap();
        candle_core::safetensors::save(&tensors, to.join("adapter_model.safetensors")).unwrap();
        to
    }

    fn adapted(&self, adapter: &Path) -> (f64, String) {
        self.loss(&["--adapter", adapter.to_str().unwrap()])
    }
}

#[test]
fn a_base_model_without_its_prefix_is_the_model() {
    let folders = ["gpt2-s28", "gpt_neox-s30", "llama-s0", "gemma3_text-s20", "phi-s32", "qwen2-s11", "mixtral-s36"];
    for (name, prefix) in folders.iter().zip(["transformer", "gpt_neox", "model", "model", "model", "model", "model"]) {
        let case = Case::new(name);
        let expected = case.loss(&[]).0;
        let bare = |key: String| key.strip_prefix(&format!("{prefix}.")).map_or(key.clone(), str::to_owned);
        case.weights(|all| all.into_iter().map(|(key, tensor)| (bare(key), tensor)).collect());
        assert_eq!(case.loss(&[]).0, expected, "{name}");
    }
}

#[test]
fn a_folder_saved_from_the_model_without_a_head_is_read_where_the_head_is_the_embedding() {
    for (name, class) in [("llama_tied_bias-s0", "LlamaModel"), ("gpt2-s28", "GPT2Model"), ("gemma-s17", "GemmaModel")]
    {
        let case = Case::new(name);
        let expected = case.loss(&[]).0;
        case.config(|config| config["architectures"] = json!([class]));
        assert_eq!(case.loss(&[]).0, expected, "{name}");
    }
    let case = Case::new("llama-s0");
    case.config(|config| config["architectures"] = json!(["LlamaModel"]));
    case.weights(|mut all| {
        all.remove("lm_head.weight");
        all
    });
    assert!(case.refused().contains("no tensor 'lm_head.weight'"));
}

#[test]
fn buffers_of_old_files_are_left_unread_and_nothing_else() {
    let mask = Tensor::ones((1, 1, 8, 8), DType::U8, &Device::Cpu).unwrap();
    let number = Tensor::new(-1e9f32, &Device::Cpu).unwrap();
    for (name, buffers, unknown) in [
        ("gpt2-s28", &["transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias"][..], "h.0.attn.more"),
        ("gpt_neox-s30", &["gpt_neox.layers.0.attention.bias", "gpt_neox.layers.0.attention.masked_bias"], "more.bias"),
        ("gpt_neox-s30", &["gpt_neox.layers.0.attention.rotary_emb.inv_freq"], "layers.0.mlp.bias"),
        (
            "llama-s0",
            &["model.layers.0.self_attn.rotary_emb.inv_freq", "rotary_emb.inv_freq"],
            "model.layers.0.attn.bias",
        ),
    ] {
        let case = Case::new(name);
        let expected = case.loss(&[]).0;
        case.weights(|mut all| {
            let kinds = [&mask, &number];
            all.extend(buffers.iter().zip(kinds).map(|(name, tensor)| ((*name).to_owned(), tensor.clone())));
            all
        });
        assert_eq!(case.loss(&[]).0, expected, "{name}");
        case.weights(|mut all| {
            all.insert(unknown.to_owned(), mask.clone());
            all
        });
        assert!(case.refused().contains(unknown), "{name}");
    }
}

#[test]
fn a_tied_model_with_another_head_in_its_file_uses_it() {
    let case = Case::new("llama-s0");
    let own = case.loss(&[]).0;
    case.config(|config| config["tie_word_embeddings"] = json!(true));
    let (loss, told) = case.loss(&[]);
    assert_eq!(loss, own);
    assert!(
        told.contains("tie_word_embeddings true, but 'lm_head.weight' and 'model.embed_tokens.weight' differ"),
        "{told}"
    );
    // The same matrix twice is one, and either name will do.
    case.weights(|mut all| {
        all.insert("lm_head.weight".into(), all["model.embed_tokens.weight"].clone());
        all
    });
    let (tied, told) = case.loss(&[]);
    assert!(tied != own && !told.contains("differ"), "{told}");
    case.weights(|mut all| {
        all.remove("model.embed_tokens.weight");
        all
    });
    assert_eq!(case.loss(&[]).0, tied);
}

#[test]
fn of_two_words_on_rotations_the_old_one_counts() {
    let case = Case::new("llama-s0");
    let plain = case.loss(&[]).0;
    let scaling = json!({"rope_type": "linear", "factor": 8.0});
    case.config(|config| {
        config["rope_theta"] = json!(10000.0);
        config["rope_scaling"] = scaling.clone();
    });
    let (both, told) = case.loss(&[]);
    assert!(told.contains("both rope_scaling and rope_parameters"), "{told}");
    case.config(|config| drop(config.as_object_mut().unwrap().remove("rope_parameters")));
    let (old, told) = case.loss(&[]);
    assert!(both == old && old != plain && !told.contains("rope_scaling"), "{both} {old} {plain} {told}");
    let case = Case::new("gemma3_text-s20");
    let plain = case.loss(&[]).0;
    case.config(|config| config["rope_scaling"] = json!({"rope_type": "linear", "factor": 3.0}));
    let (both, told) = case.loss(&[]);
    assert!(both != plain && told.contains("both rope_scaling and rope_parameters"), "{told}");
}

#[test]
fn a_single_file_comes_before_an_index() {
    let case = Case::new("llama-s0");
    let expected = case.loss(&[]).0;
    fs::write(case.model.join("model.safetensors.index.json"), r#"{"weight_map": {"x": "absent.safetensors"}}"#)
        .unwrap();
    let (loss, told) = case.loss(&[]);
    assert_eq!(loss, expected);
    assert!(told.contains("both model.safetensors and model.safetensors.index.json"), "{told}");
}

#[test]
fn rows_go_as_far_as_rotations_reach() {
    let long = |case: &Case, tokens: u32| {
        let ids: Vec<u32> = (0..tokens).map(|t| t % 90).collect();
        let row = Row::labelled(&ids, &ids.iter().map(|&id| id as i32).collect::<Vec<_>>());
        case.bench.tokens("rows.parquet", &[row], None);
        case.bench.run_on("loss", &case.model, &["rows.parquet"], b"")
    };
    for (name, tokens, expected) in [
        ("llama_yarn_factor-s8", 384, None),
        ("llama_yarn_factor-s8", 385, Some("the model was made for 384")),
        ("llama_dynamic_rope-s4", 300, None),
        ("llama-s0", 129, Some("up to 129 tokens in a row, but the model was made for 128")),
    ] {
        let out = long(&Case::new(name), tokens);
        assert!(out.figures()["loss"].as_f64().is_some());
        let told = out.stderr.lines().find(|line| line.contains("the model was made for"));
        assert_eq!(told.is_some(), expected.is_some(), "{name}: {told:?}");
        assert!(expected.is_none_or(|words| told.is_some_and(|line| line.contains(words))), "{name}: {told:?}");
    }
    let case = Case::new("gpt2-s28");
    let positions = json_of(&case.model.join("config.json"))["n_positions"].as_u64().unwrap() as u32;
    let told = long(&case, positions + 1).failure().to_owned();
    assert!(told.contains(&format!("{} tokens, but the model takes {positions}", positions + 1)), "{told}");
}

#[test]
fn answers_go_beyond_the_context_where_positions_are_not_learned() {
    let bench = Bench::new();
    bench.tokens("p.parquet", &[Row::prompt(&[7; 1020], "x")], None);
    let out = bench.run("generate", &["p.parquet", "-o", "out.parquet", "--max-new-tokens", "8"]);
    assert_eq!(out.code, 0, "{}", out.stderr);
    assert!(out.stderr.contains("but the model was made for 1024"), "{}", out.stderr);
}

/// The model's tensor `name` with all its numbers `value`.
fn spoil(model: &Path, name: &str, value: f32) {
    let file = model.join("model.safetensors");
    let mut all = load(&file);
    let spoiled = Tensor::full(value, all[name].shape(), &Device::Cpu).unwrap();
    all.insert(name.into(), spoiled);
    candle_core::safetensors::save(&all, file).unwrap();
}

#[test]
fn a_loss_that_is_not_finite_is_an_error_that_names_its_place() {
    for (tensor, place) in [
        ("model.embed_tokens.weight", "what goes into the model's 'model.layers.0' gives"),
        ("model.layers.1.mlp.down_proj.weight", "the model's 'model.layers.1' gives"),
        ("model.layers.0.input_layernorm.weight", "the model's 'model.layers.0' gives"),
        ("lm_head.weight", "rows.parquet, row 1"),
    ] {
        for value in [f32::NAN, f32::INFINITY] {
            let case = Case::new("llama-s0");
            spoil(&case.model, tensor, value);
            assert!(case.refused().contains(place), "{tensor}: {}", case.refused());
        }
    }
}

#[test]
fn answers_of_weights_that_are_not_finite_are_an_error_that_names_their_place() {
    for (tensor, place) in [
        ("model.embed_tokens.weight", "what goes into the model's 'model.layers.0' gives"),
        ("model.layers.1.self_attn.o_proj.weight", "the model's 'model.layers.1' gives"),
        ("model.norm.weight", "finite"),
    ] {
        let bench = Bench::new();
        spoil(&bench.path("model"), tensor, f32::NAN);
        bench.prompts("p.parquet");
        let out = bench.run("generate", &["p.parquet", "-o", "out.parquet"]);
        assert!(out.failure().contains(place), "{tensor}: {}", out.stderr);
        std::fs::write(bench.path("q.jsonl"), r#"{"question": "?", "choices": ["a", "b"], "answer": 0}"#).unwrap();
        for format in ["letters", "text"] {
            let out = bench.run("choice", &["q.jsonl", "--format", format]);
            assert!(out.failure().contains(place), "{tensor}: {}", out.stderr);
        }
    }
}

#[test]
fn how_a_trained_adapter_began_does_not_matter() {
    let case = Case::new("llama-s0");
    let expected = case.adapted(&testdata("reference/llama-s0/adapter_final").canonicalize().unwrap()).0;
    for start in [json!(null), json!("eva"), json!("mica"), json!("gaussian"), json!(false)] {
        let adapter = case.adapter("llama-s0/adapter_final", |config, _| {
            config["init_lora_weights"] = start.clone();
            config["loftq_config"] = json!({"loftq_bits": 4, "loftq_iter": 1});
            config["eva_config"] = json!({"rho": 2.0, "tau": 0.99});
        });
        assert_eq!(case.adapted(&adapter).0, expected, "{start}");
    }
    let start = json!("pissa_niter_4");
    let adapter = case.adapter("llama-s0/adapter_final", |config, _| config["init_lora_weights"] = start);
    let told = case.bench.run_on("loss", &case.model, &["--adapter", adapter.to_str().unwrap(), "rows.parquet"], b"");
    assert!(told.failure().contains("another one each time it reads it"), "{}", told.stderr);
}

/// `scripts/make_unconverted_reference.py`
#[test]
fn an_adapter_that_was_saved_without_conversion_is_read_as_peft_reads_it() {
    let folder = testdata("unconverted");
    let cases: HashMap<String, Value> = serde_json::from_value(json_of(&folder.join("reference.json"))).unwrap();
    assert_eq!(cases.len(), 6);
    for (name, expected) in cases {
        let case = Case::new(expected["model"].as_str().unwrap());
        let of = |key: &str| expected[key].as_f64().unwrap();
        assert!((case.loss(&[]).0 - of("base")).abs() < 1e-5, "{name}");
        let loss = case.adapted(&folder.join(&name)).0;
        assert!((loss - of("read_again")).abs() < 1e-5, "{name}: {loss}, {expected}");
        assert!((of("pairs_alone") - of("read_again")).abs() > 1e-3, "{name}: the part matters");
    }
}

#[test]
fn what_is_left_of_a_base_is_no_start_where_its_part_cannot_be_found_again() {
    let case = Case::new("gpt2-s28");
    let folder = testdata("unconverted");
    let refused = |case: &Case, adapter: &Path| {
        let args = ["--adapter", adapter.to_str().unwrap(), "rows.parquet"];
        case.bench.run_on("loss", &case.model, &args, b"").failure().to_owned()
    };
    let turned = case.bench.path("turned");
    fs::create_dir(&turned).unwrap();
    let mut config = json_of(&folder.join("pissa_turned/adapter_config.json"));
    config["init_lora_weights"] = json!("olora");
    fs::write(turned.join("adapter_config.json"), config.to_string()).unwrap();
    fs::copy(folder.join("pissa_turned/adapter_model.safetensors"), turned.join("adapter_model.safetensors")).unwrap();
    let told = refused(&case, &turned);
    assert!(told.contains("cannot be found again") && told.contains("path_initial_model"), "{told}");
    // A weight of zeros has no first columns.
    let case = Case::new("llama-s0");
    case.weights(|all| {
        let zeros = |(key, tensor): (String, Tensor)| {
            let tensor = if key.contains("q_proj") { tensor.zeros_like().unwrap() } else { tensor };
            (key, tensor)
        };
        all.into_iter().map(zeros).collect()
    });
    let told = refused(&case, &folder.join("olora"));
    assert!(told.contains("depend on each other"), "{told}");
}

#[test]
fn adapters_in_f64_are_read() {
    let case = Case::new("llama-s0");
    let expected = case.adapted(&testdata("reference/llama-s0/adapter_final").canonicalize().unwrap()).0;
    let adapter = case.adapter("llama-s0/adapter_final", |_, tensors| {
        tensors.values_mut().for_each(|tensor| *tensor = tensor.to_dtype(DType::F64).unwrap());
    });
    assert_eq!(case.adapted(&adapter).0, expected);
}

#[test]
fn names_of_an_adapter_that_match_nothing_are_said_and_ignored() {
    let case = Case::new("llama-s0");
    let expected = case.adapted(&testdata("reference/llama-s0/adapter_final").canonicalize().unwrap()).0;
    let adapter = case.adapter("llama-s0/adapter_final", |config, _| {
        config["target_modules"].as_array_mut().unwrap().push(json!("query_key_value"));
        config["modules_to_save"] = json!(["classifier", "score"]);
        config["exclude_modules"] = json!(["visual"]);
        config["rank_pattern"] = json!({"dense": 2});
    });
    let (loss, told) = case.adapted(&adapter);
    assert_eq!(loss, expected);
    for name in [
        "'query_key_value' in target_modules",
        "'classifier' in modules_to_save",
        "'score' in modules_to_save",
        "'visual' in exclude_modules",
        "'dense' in rank_pattern",
    ] {
        assert!(told.contains(name), "{name}: {told}");
    }
}

#[test]
fn layers_pattern_says_which_number_is_the_layers() {
    let case = Case::new("llama-s0");
    let expected = case.adapted(&testdata("reference/llama-s0/adapter_final").canonicalize().unwrap()).0;
    for pattern in [json!("layers"), json!(["h", "layers"])] {
        let adapter = case.adapter("llama-s0/adapter_final", |config, _| {
            config["layers_pattern"] = pattern.clone();
            config["layers_to_transform"] = json!([0, 1]);
        });
        assert_eq!(case.adapted(&adapter).0, expected, "{pattern}");
    }
    let adapter = case.adapter("llama-s0/adapter_final", |config, _| {
        config["layers_pattern"] = json!("h");
        config["layers_to_transform"] = json!([0, 1]);
    });
    let out = case.bench.run_on("loss", &case.model, &["--adapter", adapter.to_str().unwrap(), "rows.parquet"], b"");
    assert!(out.failure().contains("target_modules"), "{}", out.stderr);
}

#[test]
fn a_head_beside_an_adapter_takes_the_place_of_the_base() {
    for (name, model, tied) in [("llama-s0", "llama-s0", false), ("llama_tied_bias-s0", "llama_tied_bias-s0", true)] {
        let case = Case::new(model);
        let embedding = load(&case.model.join("model.safetensors"))["model.embed_tokens.weight"].clone();
        let head = (embedding * 0.5).unwrap();
        let final_adapter = format!("{name}/adapter_final");
        let plain = case.adapter(&final_adapter, |_, _| {});
        case.weights(|mut all| {
            all.insert(if tied { "model.embed_tokens.weight" } else { "lm_head.weight" }.into(), head.clone());
            all
        });
        let expected = case.adapted(&plain).0;
        let case = Case::new(model);
        let own = case.adapted(&case.adapter(&final_adapter, |_, _| {})).0;
        let adapter = case.adapter(&final_adapter, |_, tensors| {
            tensors.insert("base_model.model.lm_head.weight".into(), head.clone());
        });
        assert_eq!(case.adapted(&adapter).0, expected, "{name}");
        assert_ne!(own, expected);
    }
}

#[test]
fn a_pattern_that_cannot_be_matched_is_an_error() {
    let case = Case::new("llama-s0");
    let adapter = case.adapter("llama-s0/adapter_final", |config, _| {
        config["alpha_pattern"] = json!({"(?=(.+)+)(([a-z_.0-9]+)+)+!": 4});
    });
    let out = case.bench.run_on("loss", &case.model, &["--adapter", adapter.to_str().unwrap(), "rows.parquet"], b"");
    assert!(out.failure().contains("cannot be matched with 'model.layers.0."), "{}", out.stderr);
}

#[test]
fn absurd_sizes_are_refused_in_words() {
    for (key, value) in [
        ("num_hidden_layers", json!(1_000_000_000_000u64)),
        ("num_hidden_layers", json!(100_000_000)),
        ("num_hidden_layers", json!(9000)),
        ("num_hidden_layers", json!(-1)),
        ("num_hidden_layers", json!("2")),
        ("hidden_size", json!(1u64 << 39)),
        ("vocab_size", json!(1u64 << 39)),
        ("intermediate_size", json!(1u64 << 39)),
        ("num_attention_heads", json!(1u64 << 39)),
        ("head_dim", json!(1u64 << 39)),
        ("rms_norm_eps", json!(-1e-5)),
        ("rope_theta", json!("x")),
    ] {
        let case = Case::new("llama-s0");
        case.config(|config| config[key] = value.clone());
        let told = case.refused();
        assert!(told.contains("config.json") || told.contains("expected"), "{key} {value}: {told}");
    }
    let case = Case::new("mixtral-s36");
    case.config(|config| config["num_local_experts"] = json!(1_000_000_000));
    assert!(case.refused().contains("'num_local_experts' is 1000000000"));
    case.config(|config| config["num_local_experts"] = json!(5000));
    assert!(case.refused().contains("the number of tensors in the folder's files"));
}
