//! What an adapter brings along: its template, the form of its messages, its end tokens.

use std::collections::HashMap;
use std::fs;
use std::io::Write;

use arrow::array::AsArray;
use arrow::datatypes::UInt32Type;
use candle_core::{Device, Tensor};
use ft_text::{Encoder, Scratch, TextModel};
use serde_json::{Value, json};

use crate::bench::{Bench, Row};

/// Writes `adapter` for the bench's model, with this metadata in its weights and this template beside them.
fn write_adapter(bench: &Bench, metadata: &[(&str, &str)], template: Option<&str>) {
    let folder = bench.path("adapter");
    fs::create_dir_all(&folder).unwrap();
    let config =
        json!({"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]});
    fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
    let wave = |rows: usize, columns: usize| {
        let values: Vec<f32> = (0..rows * columns).map(|i| 0.3 * (i as f32 * 0.7).sin()).collect();
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
    };
    let mut tensors = HashMap::new();
    for layer in 0..2 {
        let name = |side: &str| format!("base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{side}.weight");
        tensors.insert(name("A"), wave(2, 32));
        tensors.insert(name("B"), wave(32, 2));
    }
    let file = folder.join("adapter_model.safetensors");
    candle_core::safetensors::save(&tensors, &file).unwrap();
    // The header again, with the metadata in it.
    let bytes = fs::read(&file).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    header["__metadata__"] = metadata.iter().map(|(key, text)| ((*key).to_owned(), json!(text))).collect();
    let header = header.to_string();
    let rewritten = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[8 + length..]].concat();
    fs::write(&file, rewritten).unwrap();
    match template {
        Some(template) => fs::write(folder.join("chat_template.jinja"), template).unwrap(),
        None => drop(fs::remove_file(folder.join("chat_template.jinja"))),
    }
}

/// The answer to one prompt of these tokens: its tokens, its text, and whether it ended.
fn answer(bench: &Bench, ids: &[u32]) -> (Vec<u32>, String, bool) {
    bench.tokens("rows.parquet", &[Row::prompt(ids, "x")], None);
    let args = ["rows.parquet", "-o", "a.parquet", "--adapter", "adapter", "--max-new-tokens", "14"];
    let out = bench.run("generate", &args);
    assert_eq!(out.code, 0, "{}", out.stderr);
    let rows = bench.rows("a.parquet");
    let column = |name: &str| rows.column_by_name(name).unwrap().clone();
    (
        column("output_ids").as_list::<i32>().value(0).as_primitive::<UInt32Type>().values().to_vec(),
        column("prediction").as_string::<i32>().value(0).to_owned(),
        column("ended").as_boolean().value(0),
    )
}

#[test]
fn an_adapters_end_tokens_end_its_answers() {
    let bench = Bench::new();
    write_adapter(&bench, &[], None);
    let (long, _, _) = answer(&bench, &[5, 6, 7]);
    let end = *long[2..].iter().find(|id| !long[..2].contains(id)).unwrap();
    let at = long.iter().position(|&id| id == end).unwrap();
    write_adapter(&bench, &[("ft.end_ids", &format!("[{end}]"))], None);
    let (short, _, ended) = answer(&bench, &[5, 6, 7]);
    assert_eq!((short.as_slice(), ended), (&long[..=at], true));
    let args = ["model", "model", "--adapter-b", "adapter", "--on", "rows.parquet", "--max-new-tokens", "14"];
    let figures = bench.run_bare("compare", &args).figures();
    assert_eq!((&figures["a"], &figures["b"]), (&"model".into(), &"model + adapter".into()));
    assert!(figures["models"]["b"]["adapter_sha256"].is_string(), "{figures}");
}

#[test]
fn a_question_looks_as_the_adapter_learned_to_see_it() {
    let bench = Bench::new();
    let template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:";
    write_adapter(&bench, &[("ft.system", "Be brief."), ("ft.prefix", "Tax")], Some(template));
    let tokenizer = TextModel::open(&bench.path("model")).unwrap().tokenizer;
    let ids = |text: &str| Encoder::new(tokenizer.clone()).encode(text, &mut Scratch::default()).unwrap().ids;
    let expected = |text: &str| answer(&bench, &ids(text)).1 + "\n";
    let own = expected("system: Be brief.\nuser: Tax: [What?]\nassistant:");
    let other = expected("system: Be kind.\nuser: Tax: [What?]\nassistant:");
    assert_ne!(own, other);
    let args = ["--adapter", "adapter", "--max-new-tokens", "14"];
    let said = |more: &[&str]| {
        let out = bench.run("generate", &[&["--prompt", "What?"], &args[..], more].concat());
        assert_eq!(out.code, 0, "{}", out.stderr);
        String::from_utf8(out.stdout).unwrap()
    };
    assert_eq!(said(&[]), own);
    assert_eq!(said(&["--system", "Be kind."]), other);
    let mut command = bench.command("chat");
    command.args(["--model", "model"]).args(args);
    let mut child = command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"What?\n").unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(out.stdout).unwrap(), own);
}
