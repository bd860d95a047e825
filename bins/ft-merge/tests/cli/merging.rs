//! The numbers of a merge.

use std::collections::BTreeMap;
use std::fs;

use ft_model::batch::{Batch, Sequence};
use ft_model::decoder::Decoder;
use ft_model::layers::Resident;
use ft_model::{Adapter, Checkpoint};
use safetensors::Dtype;

use crate::common::{
    Stored, contents, copy, failure, metadata, reference, run, run_with, said, succeed, tensors, workspace,
};

/// `scaling · B·A` in f64 for every tensor that an adapter changes.
fn deltas(adapter: &std::path::Path, scaling: f64) -> BTreeMap<String, Vec<f64>> {
    let file = tensors(&adapter.join("adapter_model.safetensors"));
    let mut deltas = BTreeMap::new();
    for (name, a) in file.iter().filter(|(name, _)| name.contains("lora_A")) {
        let b = &file[&name.replace("lora_A", "lora_B")];
        let (rank, columns) = (a.shape[0], a.shape[1]);
        let mut delta = vec![0.0; b.shape[0] * columns];
        for (i, row) in delta.chunks_mut(columns).enumerate() {
            for (j, x) in row.iter_mut().enumerate() {
                *x = scaling
                    * (0..rank)
                        .map(|k| f64::from(b.values[i * rank + k]) * f64::from(a.values[k * columns + j]))
                        .sum::<f64>();
            }
        }
        let module = name.strip_prefix("base_model.model.").unwrap().replace(".lora_A", "");
        deltas.insert(module, delta);
    }
    deltas
}

/// Fails unless each number is the right one rounded once to `digits` bits, give or take the f32 arithmetic.
fn expect_rounded(name: &str, found: &Stored, exact: &[f64], digits: i32) {
    for (i, (x, y)) in found.values.iter().zip(exact).enumerate() {
        let unit = 2f64.powi(y.abs().max(2f64.powi(-14)).log2().floor() as i32 + 1 - digits);
        let slack = 1e-6 * (1.0 + y.abs());
        assert!((f64::from(*x) - y).abs() <= unit / 2.0 + slack, "{name}[{i}]: {x} for {y}");
    }
}

#[test]
fn merged_weights_are_base_plus_scaled_product_rounded_once() {
    for (case, scaling) in [("llama-s0", 2.0), ("llama-s0-rslora", 4.0), ("llama-s0-qv-wd", 2.0)] {
        let adapter = reference(case).join("adapter_final");
        let base = tensors(&reference(case).join("model/model.safetensors"));
        let deltas = deltas(&adapter, scaling);
        for (dtype, stored, digits) in [("f32", Dtype::F32, 24), ("bf16", Dtype::BF16, 8), ("f16", Dtype::F16, 11)] {
            let home = tempfile::tempdir().unwrap();
            let out = home.path().join("merged");
            let model = reference(case).join("model");
            let told = succeed(&[&"--model", &model, &"--adapter", &adapter, &"--dtype", &dtype, &"-o", &out]);
            assert!(told.contains(&format!("changed {} of 21 tensors: largest change ", deltas.len())), "{told}");
            assert_eq!(told.contains("rounding the sums to"), dtype != "f32", "{told}");
            let merged = tensors(&out.join("model.safetensors"));
            assert_eq!(merged.len(), base.len());
            for (name, found) in &merged {
                let mut exact: Vec<f64> = base[name].values.iter().map(|x| f64::from(*x)).collect();
                if let Some(delta) = deltas.get(name) {
                    exact.iter_mut().zip(delta).for_each(|(x, d)| *x += d);
                }
                assert_eq!((&found.shape, found.dtype), (&base[name].shape, stored), "{name}");
                expect_rounded(name, found, &exact, digits);
            }
            let config: serde_json::Value =
                serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
            let named = [("f32", "float32"), ("bf16", "bfloat16"), ("f16", "float16")];
            assert_eq!(config["dtype"], named.iter().find(|(d, _)| *d == dtype).unwrap().1);
        }
    }
}

/// The mean loss of a model's folder on three rows of 12 tokens.
fn loss(model: &std::path::Path) -> f64 {
    let checkpoint = Checkpoint::open(model).unwrap();
    let arch = checkpoint.architecture().clone();
    let source = Resident::load(&checkpoint, candle_core::DType::F32, |_| {}).unwrap();
    let rows = [1, 40, 77].map(|first: u32| {
        let input_ids: Vec<u32> = (0..12).map(|t| (first + 5 * t) % 90).collect();
        let labels = input_ids.iter().map(|&id| id as i32).collect();
        Sequence { input_ids, labels }
    });
    let decoder = Decoder { compute: ft_kernels::Compute::cpu(), arch: &arch, source: &source, adapter: None };
    let losses = decoder.losses(&Batch::new(&rows)).unwrap();
    losses.iter().map(|l| l.sum).sum::<f64>() / losses.iter().map(|l| l.labels).sum::<usize>() as f64
}

/// `scripts/make_unconverted_reference.py`
#[test]
fn an_adapter_that_was_saved_without_conversion_is_merged_as_peft_reads_it() {
    let folder = workspace().join("testdata/unconverted");
    let told: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("reference.json")).unwrap()).unwrap();
    let cases = told.as_object().unwrap();
    assert_eq!(cases.len(), 6);
    for (name, expected) in cases {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("merged");
        let model = reference(expected["model"].as_str().unwrap()).join("model");
        succeed(&[&"--model", &model, &"--adapter", &folder.join(name), &"-o", &out]);
        let found = loss(&out);
        assert!((found - expected["read_again"].as_f64().unwrap()).abs() < 1e-5, "{name}: {found}, {expected}");
    }
}

#[test]
fn the_report_has_the_largest_and_the_rms_change() {
    let case = reference("llama-s0");
    let home = tempfile::tempdir().unwrap();
    let all: Vec<f64> = deltas(&case.join("adapter_final"), 2.0).into_values().flatten().collect();
    let largest = all.iter().fold(0f64, |m, x| m.max(x.abs()));
    let rms = (all.iter().map(|x| x * x).sum::<f64>() / all.len() as f64).sqrt();
    let (model, adapter, out) = (case.join("model"), case.join("adapter_final"), home.path().join("o"));
    let told = succeed(&[&"--model", &model, &"--adapter", &adapter, &"-o", &out]);
    assert!(told.contains(&format!("largest change {largest:.3e}, RMS {rms:.3e}")), "{told}");
    // An adapter that was never trained changes nothing, which is said.
    let (fresh, out) = (case.join("adapter_init"), home.path().join("p"));
    let told = succeed(&[&"--model", &model, &"--adapter", &fresh, &"-o", &out]);
    assert!(told.contains("change nothing"), "{told}");
    let merged = tensors(&out.join("model.safetensors"));
    assert_eq!(merged, tensors(&model.join("model.safetensors")));
}

#[test]
fn several_adapters_add_up() {
    let case = reference("llama-s0");
    let home = tempfile::tempdir().unwrap();
    let (model, first, out) = (case.join("model"), case.join("adapter_final"), home.path().join("o"));
    let second = reference("llama-s0-qv-wd").join("adapter_final");
    succeed(&[&"--model", &model, &"--adapter", &first, &"--adapter", &second, &"-o", &out]);
    let merged = tensors(&out.join("model.safetensors"));
    let (one, two) = (deltas(&first, 2.0), deltas(&second, 2.0));
    for (name, base) in tensors(&model.join("model.safetensors")) {
        let exact: Vec<f64> = base
            .values
            .iter()
            .enumerate()
            .map(|(i, x)| f64::from(*x) + one.get(&name).map_or(0.0, |d| d[i]) + two.get(&name).map_or(0.0, |d| d[i]))
            .collect();
        expect_rounded(&name, &merged[&name], &exact, 24);
    }
}

#[test]
fn an_adapter_comes_through_a_pipe_or_as_a_file() {
    let case = reference("llama-s0-rslora");
    let home = tempfile::tempdir().unwrap();
    let (model, folder) = (case.join("model"), case.join("adapter_final"));
    let bytes = Adapter::load(&folder).unwrap().to_bytes(&BTreeMap::new()).unwrap();
    let file = home.path().join("adapter.safetensors");
    fs::write(&file, &bytes).unwrap();
    let outs = ["folder", "pipe", "file"].map(|name| home.path().join(name));
    succeed(&[&"--model", &model, &"--adapter", &folder, &"-o", &outs[0]]);
    said(&run_with(&[&"--model", &model, &"--adapter", &"-", &"-o", &outs[1]], &bytes));
    succeed(&[&"--model", &model, &"--adapter", &file, &"-o", &outs[2]]);
    let merged = outs.each_ref().map(|out| tensors(&out.join("model.safetensors")));
    assert!(merged[0] == merged[1] && merged[0] == merged[2]);
    let inputs = metadata(&outs[1].join("model.safetensors"))["ft.inputs"].clone();
    assert!(inputs.contains(&ft_io::sha256_hex(&bytes)), "{inputs}");
}

#[test]
fn a_rerun_gives_the_same_bytes_wherever_the_files_lie() {
    let case = reference("llama-s0");
    let home = tempfile::tempdir().unwrap();
    let once = |place: &str, threads: &str| {
        let at = home.path().join(place);
        let model = copy(&case.join("model"), &at.join("model"));
        let adapter = copy(&case.join("adapter_final"), &at.join("adapter"));
        let out = at.join("merged");
        succeed(&[
            &"--model",
            &model,
            &"--adapter",
            &adapter,
            &"--dtype",
            &"bf16",
            &"--threads",
            &threads,
            &"-o",
            &out,
        ]);
        contents(&out)
    };
    let first = once("a", "1");
    assert!(first.contains_key("model.safetensors"));
    assert_eq!(first, once("b/c", "3"));
}

#[test]
fn a_narrow_base_keeps_its_type_and_untouched_weights_their_bits() {
    let case = reference("llama-s0-qv-wd");
    let home = tempfile::tempdir().unwrap();
    let (model, adapter) = (case.join("model"), case.join("adapter_final"));
    let (narrow, merged) = (home.path().join("narrow"), home.path().join("merged"));
    succeed(&[&"--model", &model, &"--dtype", &"bf16", &"-o", &narrow]);
    succeed(&[&"--model", &narrow, &"--adapter", &adapter, &"-o", &merged]);
    let (before, after) = (tensors(&narrow.join("model.safetensors")), tensors(&merged.join("model.safetensors")));
    let deltas = deltas(&adapter, 2.0);
    for (name, found) in &after {
        assert_eq!(found.dtype, Dtype::BF16, "{name}");
        match deltas.get(name) {
            None => assert_eq!(found, &before[name], "{name}"),
            Some(delta) => {
                let exact: Vec<f64> = before[name].values.iter().zip(delta).map(|(x, d)| f64::from(*x) + d).collect();
                expect_rounded(name, found, &exact, 8);
            }
        }
    }
}

/// A head that was trained whole is the result's own, though the base's is its embedding.
#[test]
fn a_trained_head_unties_the_model() {
    let case = reference("qwen2_tied-s51-save-head");
    let home = tempfile::tempdir().unwrap();
    let (model, adapter, out) = (case.join("model"), case.join("adapter_final"), home.path().join("o"));
    succeed(&[&"--model", &model, &"--adapter", &adapter, &"-o", &out]);
    let config: serde_json::Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["tie_word_embeddings"], false);
    let (merged, base) = (tensors(&out.join("model.safetensors")), tensors(&model.join("model.safetensors")));
    let trained = tensors(&adapter.join("adapter_model.safetensors"));
    assert_eq!(merged["lm_head.weight"], trained["base_model.model.lm_head.weight"]);
    assert_eq!(merged["model.embed_tokens.weight"], base["model.embed_tokens.weight"]);
    assert_ne!(merged["lm_head.weight"], merged["model.embed_tokens.weight"]);
}

/// DoRA's factors are of one adapter alone, and two trained heads exclude each other.
#[test]
fn adapters_that_cannot_be_added_are_refused() {
    for (name, expected) in [
        ("llama-s40-dora", "one of them is DoRA, which scales what is there: merge one, and the next into the result"),
        ("llama-s48-save-head", "both hold 'lm_head.weight' whole"),
    ] {
        let case = reference(name);
        let home = tempfile::tempdir().unwrap();
        let (model, adapter, out) = (case.join("model"), case.join("adapter_final"), home.path().join("o"));
        let (line, code) =
            failure(&run(&[&"--model", &model, &"--adapter", &adapter, &"--adapter", &adapter, &"-o", &out]));
        assert!(code == 1 && line.contains(expected), "{line}");
        assert!(!out.exists());
    }
}

#[test]
fn a_tied_model_with_another_head_in_its_file_keeps_both() {
    let home = tempfile::tempdir().unwrap();
    let model = copy(&reference("llama-s0").join("model"), &home.path().join("model"));
    let file = model.join("config.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true")).unwrap();
    let out = home.path().join("out");
    let told = succeed(&[&"--model", &model, &"-o", &out]);
    assert!(told.contains("both are used"), "{told}");
    let (before, after) = (tensors(&model.join("model.safetensors")), tensors(&out.join("model.safetensors")));
    assert_eq!(before["lm_head.weight"], after["lm_head.weight"]);
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["tie_word_embeddings"], false);
}
