//! Several adapters with weights: merged, as one adapter, as llama.cpp's file of one.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use ft_io::gguf::Content;

use crate::common::{Stored, failure, metadata, reference, run, succeed, tensors, workspace};

/// The three adapters of `scripts/make_combine_reference.py` with their weights.
fn three() -> Vec<String> {
    [("llama-s0", "0.7"), ("llama-s0-qv-wd", "-0.3"), ("llama-s0-rslora", "0.5")]
        .into_iter()
        .flat_map(|(name, weight)| {
            ["--adapter".into(), format!("{}={weight}", reference(name).join("adapter_final").display())]
        })
        .collect()
}

fn with<'a>(fixed: &[&'a dyn AsRef<OsStr>], more: &'a [String]) -> Vec<&'a dyn AsRef<OsStr>> {
    fixed.iter().copied().chain(more.iter().map(|word| word as &dyn AsRef<OsStr>)).collect()
}

fn model() -> PathBuf {
    reference("llama-s0").join("model")
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// `B·A` of an adapter of scale 1, for a module.
fn product(adapter: &BTreeMap<String, Stored>, module: &str) -> Vec<f32> {
    let part = |name: &str| &adapter[&format!("base_model.model.{module}.lora_{name}.weight")];
    let (a, b) = (part("A"), part("B"));
    let (rank, inner) = (a.shape[0], a.shape[1]);
    let element = |i: usize, j: usize| (0..rank).map(|r| b.values[i * rank + r] * a.values[r * inner + j]).sum();
    (0..b.shape[0]).flat_map(|i| (0..inner).map(move |j| (i, j))).map(|(i, j)| element(i, j)).collect()
}

#[test]
fn every_way_to_combine_is_pefts() {
    let home = tempfile::tempdir().unwrap();
    let expected = tensors(&workspace().join("testdata/combine.safetensors"));
    let three = three();
    for (way, more) in [
        ("linear", &["--combine", "linear"][..]),
        ("ties", &["--combine", "ties", "--density", "0.4"]),
        ("ties_frequency", &["--combine", "ties", "--density", "0.4", "--majority-sign-method", "frequency"]),
        ("svd", &["--combine", "svd", "--svd-rank", "3"]),
        ("cat", &["--combine", "cat"]),
        ("dare_linear", &["--combine", "dare_linear", "--density", "1"]),
        ("dare_ties", &["--combine", "dare_ties", "--density", "1"]),
    ] {
        let (model, out, merged) = (model(), home.path().join(way), home.path().join(format!("{way}-merged")));
        let fixed: Vec<&dyn AsRef<OsStr>> = vec![&"--model", &model, &"--to", &"adapter", &"-o", &out];
        let fixed: Vec<_> = fixed.into_iter().chain(more.iter().map(|word| word as &dyn AsRef<OsStr>)).collect();
        succeed(&with(&fixed, &three));
        let adapter = tensors(&out.join("adapter_model.safetensors"));
        // Merged they change the base by the same.
        let fixed: Vec<&dyn AsRef<OsStr>> = vec![&"--model", &model, &"-o", &merged];
        let fixed: Vec<_> = fixed.into_iter().chain(more.iter().map(|word| word as &dyn AsRef<OsStr>)).collect();
        succeed(&with(&fixed, &three));
        let (after, before) = (tensors(&merged.join("model.safetensors")), tensors(&model.join("model.safetensors")));
        for module in ["model.layers.1.self_attn.q_proj", "model.layers.1.mlp.down_proj"] {
            let expected = &expected[&format!("{way}.{module}")].values;
            let size = expected.iter().map(|x| x.abs()).fold(0.0, f32::max);
            let apart = largest_difference(&product(&adapter, module), expected);
            // What torch's decomposition in f32 cuts off has its own last bits.
            let close = if way == "svd" { 1e-4 } else { 1e-5 };
            assert!(apart < close * size, "{way} {module}: {apart} of {size}");
            let name = format!("{module}.weight");
            let change: Vec<f32> = after[&name].values.iter().zip(&before[&name].values).map(|(a, b)| a - b).collect();
            let apart = largest_difference(&change, expected);
            assert!(apart < close * size.max(1.0), "{way} {module} merged: {apart} of {size}");
        }
    }
}

#[test]
fn weights_without_a_way_add_up_the_products() {
    let home = tempfile::tempdir().unwrap();
    let (model, three) = (model(), three());
    let at = |name: &str| home.path().join(name);
    succeed(&with(&[&"--model", &model, &"-o", &at("sum")], &three));
    succeed(&with(&[&"--model", &model, &"--combine", &"cat", &"-o", &at("cat")], &three));
    let (sum, cat) = (tensors(&at("sum/model.safetensors")), tensors(&at("cat/model.safetensors")));
    for (name, tensor) in &sum {
        let apart = largest_difference(&tensor.values, &cat[name].values);
        assert!(apart < 1e-6, "{name}: {apart}");
    }
}

#[test]
fn a_combined_adapter_says_where_it_comes_from_and_only_it_is_replaced() {
    let home = tempfile::tempdir().unwrap();
    let (model, three, out) = (model(), three(), home.path().join("out"));
    let to: Vec<&dyn AsRef<OsStr>> = vec![&"--model", &model, &"--to", &"adapter", &"-o", &out];
    succeed(&with(&to, &three));
    let said = metadata(&out.join("adapter_model.safetensors"));
    assert!(said["ft.tool"] == "ft-merge" && said["ft.inputs"].matches("sha256").count() == 3, "{said:?}");
    assert!(said["ft.inputs"].contains("adapter_final=0.7") && !said["ft.arguments"].contains('/'), "{said:?}");
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!((&config["r"], &config["lora_alpha"], &config["use_rslora"]), (&12.into(), &12.into(), &false.into()));
    let (line, _) = failure(&run(&with(&to, &three)));
    assert!(line.contains("is not empty"), "{line}");
    let again: Vec<_> = to.iter().copied().chain([&"--overwrite" as &dyn AsRef<OsStr>]).collect();
    succeed(&with(&again, &three));
    fs::copy(
        reference("llama-s0").join("adapter_final/adapter_model.safetensors"),
        out.join("adapter_model.safetensors"),
    )
    .unwrap();
    let (line, _) = failure(&run(&with(&again, &three)));
    assert!(line.contains("was not written by this program"), "{line}");
}

#[test]
fn what_has_no_weight_is_told() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    for (name, words) in [("llama-s40-dora", "DoRA"), ("llama-s48-save-head", "trained whole")] {
        let (model, adapter) = (reference(name).join("model"), reference(name).join("adapter_final"));
        let weighted = format!("{}=0.5", adapter.display());
        let (line, code) = failure(&run(&[&"--model", &model, &"--adapter", &weighted, &"-o", &out]));
        assert!(code == 1 && line.contains(words), "{line}");
        let to: [&dyn AsRef<OsStr>; 6] = [&"--model", &model, &"--adapter", &weighted, &"--combine", &"linear"];
        let (line, code) = failure(&run(&[&to[..], &[&"-o", &out]].concat()));
        assert!(code == 1 && line.contains(words), "{line}");
    }
    let (line, code) = failure(&run(&[&"--model", &model(), &"--to", &"adapter", &"-o", &out]));
    assert!(code == 2 && line.contains("needs --adapter"), "{line}");
}

fn content(path: &Path) -> Content {
    let bytes = fs::read(path).unwrap();
    Content::read(bytes.as_slice(), bytes.len() as u64).unwrap()
}

#[test]
fn an_adapter_apart_holds_its_scale_and_the_files_order_of_rows() {
    let home = tempfile::tempdir().unwrap();
    for (name, alpha) in [("llama-s0", 8.0), ("llama-s0-rslora", 16.0)] {
        let (case, out) = (reference(name), home.path().join(format!("{name}.gguf")));
        let (model, adapter) = (case.join("model"), case.join("adapter_final"));
        succeed(&[&"--model", &model, &"--adapter", &adapter, &"--to", &"gguf-lora", &"-o", &out]);
        let read = content(&out);
        assert_eq!(read.string("general.type"), Some("adapter"));
        assert_eq!((read.string("adapter.type"), read.string("general.architecture")), (Some("lora"), Some("llama")));
        assert_eq!(read.metadata["adapter.lora.alpha"], ft_io::gguf::Value::F32(alpha));
        let own = tensors(&adapter.join("adapter_model.safetensors"));
        let bytes = fs::read(&out).unwrap();
        let values = |name: &str| -> Vec<f32> {
            let info = &read.tensors[name];
            let start = (read.data_offset + info.offset) as usize;
            let len = 4 * info.shape.iter().product::<usize>();
            bytes[start..start + len].as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        };
        let part =
            |module: &str, half: &str| &own[&format!("base_model.model.model.layers.0.{module}.lora_{half}.weight")];
        assert_eq!(values("blk.0.attn_q.weight.lora_a"), part("self_attn.q_proj", "A").values);
        assert_eq!(values("blk.0.ffn_down.weight.lora_b"), part("mlp.down_proj", "B").values);
        // Of queries the halves of a head are interleaved: its second row is the second half's first.
        let config: serde_json::Value = serde_json::from_slice(&fs::read(model.join("config.json")).unwrap()).unwrap();
        let heads = config["num_attention_heads"].as_u64().unwrap() as usize;
        let head = part("self_attn.q_proj", "B").shape[0] / heads;
        let (file, rows) = (values("blk.0.attn_q.weight.lora_b"), &part("self_attn.q_proj", "B").values);
        assert_eq!(file[4..8], rows[head / 2 * 4..][..4]);
        assert_eq!(file[8..12], rows[4..8]);
    }
}

#[test]
fn what_an_adapters_file_cannot_say_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out.gguf");
    for (name, words) in [
        ("llama-s40-dora", "'use_dora' is true"),
        ("llama-s48-save-head", "trained whole"),
        ("llama-s56-bias-all", "trained whole"),
    ] {
        let (model, adapter) = (reference(name).join("model"), reference(name).join("adapter_final"));
        let (line, code) =
            failure(&run(&[&"--model", &model, &"--adapter", &adapter, &"--to", &"gguf-lora", &"-o", &out]));
        assert!(code == 1 && line.contains(words), "{name}: {line}");
    }
    let adapter = reference("llama-s0").join("adapter_final");
    let to: [&dyn AsRef<OsStr>; 8] = [&"--model", &model(), &"--adapter", &adapter, &"--to", &"gguf-lora", &"-o", &out];
    let (line, code) = failure(&run(&[&to[..], &[&"--quantize", &"q8_0"]].concat()));
    assert!(code == 2 && line.contains("takes --quantize f32, f16 or bf16"), "{line}");
}
