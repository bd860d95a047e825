//! `ft-eval loss`.

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, UInt32Type, UInt64Type};
use candle_core::{DType, Device};
use serde_json::Value;

use crate::bench::{Bench, Row, testdata};

/// The rows of a reference model, and what transformers and peft found on them.
fn reference(name: &str) -> (Vec<Row>, Value) {
    let folder = testdata("reference").join(name);
    let data = candle_core::safetensors::load(folder.join("data.safetensors"), &Device::Cpu).unwrap();
    let rows = |name: &str| data[name].to_dtype(DType::I64).unwrap().to_vec2::<i64>().unwrap();
    let (ids, labels, mask) = (rows("input_ids"), rows("labels"), rows("attention_mask"));
    let row = |i: usize| {
        let length = mask[i].iter().filter(|&&m| m == 1).count();
        let ids: Vec<u32> = ids[i][..length].iter().map(|&id| id as u32).collect();
        let labels: Vec<i32> = labels[i][..length].iter().map(|&l| l as i32).collect();
        Row::labelled(&ids, &labels)
    };
    let meta = serde_json::from_slice(&std::fs::read(folder.join("meta.json")).unwrap()).unwrap();
    ((0..ids.len()).map(row).collect(), meta)
}

#[test]
fn the_loss_is_that_of_transformers_and_peft() {
    let bench = Bench::new();
    let folder = testdata("reference").canonicalize().unwrap();
    for name in ["llama-s0", "llama_tied_bias-s2"] {
        let (rows, meta) = reference(name);
        bench.tokens("t.parquet", &rows, None);
        let model = folder.join(name).join("model");
        for (adapter, key) in [("adapter_init", "loss"), ("adapter_final", "final_loss")] {
            let adapter = folder.join(name).join(adapter);
            let adapter = adapter.to_str().unwrap();
            let out = bench.run_on("loss", &model, &["--adapter", adapter, "t.parquet"], b"");
            let figures = out.figures();
            let (found, expected) = (figures["loss"].as_f64().unwrap(), meta[key].as_f64().unwrap());
            assert!((found - expected).abs() < 1e-4, "{name}, {key}: {found}, expected {expected}");
            let perplexity = figures["perplexity"].as_f64().unwrap();
            assert!((perplexity.ln() - found).abs() < 1e-9);
            assert!(out.stderr.contains("nothing says which tokenizer"), "{}", out.stderr);
        }
    }
}

#[test]
fn every_row_has_its_loss_and_they_make_up_the_whole() {
    let bench = Bench::new();
    let rows = [
        Row::labelled(&[5, 6, 7, 8], &[-100, 6, 7, 8]),
        Row::labelled(&[9, 10], &[-100, -100]),
        Row::labelled(&[11, 12, 13], &[-100, -100, 13]),
    ];
    bench.tokens("t.parquet", &rows, None);
    let args = ["t.parquet", "--per-example", "-o", "rows.parquet", "--report", "f.json"];
    let out = bench.run("loss", &args);
    assert_eq!((out.code, out.stdout.len()), (0, 0), "{}", out.stderr);
    let figures: Value = serde_json::from_slice(&std::fs::read(bench.path("f.json")).unwrap()).unwrap();
    let batch = bench.rows("rows.parquet");
    let column = |name: &str| batch.column_by_name(name).unwrap();
    assert_eq!(column("row").as_primitive::<UInt64Type>().values(), &[1, 2, 3]);
    assert_eq!(column("labels").as_primitive::<UInt32Type>().values(), &[3, 0, 1]);
    let losses: Vec<Option<f64>> = column("loss").as_primitive::<Float64Type>().iter().collect();
    assert_eq!(losses[1], None);
    let whole = (3.0 * losses[0].unwrap() + losses[2].unwrap()) / 4.0;
    assert!((whole - figures["loss"].as_f64().unwrap()).abs() < 1e-12);
    assert_eq!((&figures["tokens"], &figures["labels"], &figures["rows"]), (&9.into(), &4.into(), &3.into()));
    assert!(figures["peak_memory_bytes"].as_u64() > Some(1 << 20));
}

#[test]
fn figures_do_not_depend_on_batches_threads_or_the_way_in() {
    let bench = Bench::new();
    let rows: Vec<Row> = (0..7u32)
        .map(|i| (3..8 + i).map(|t| (t * 13 + i) % 400).collect::<Vec<u32>>())
        .map(|ids| Row::labelled(&ids, &ids.iter().map(|&id| id as i32).collect::<Vec<_>>()))
        .collect();
    bench.tokens("t.parquet", &rows, None);
    let bytes = std::fs::read(bench.path("t.parquet")).unwrap();
    let loss = |args: &[&str]| bench.run_on("loss", "model".as_ref(), args, &bytes).figures()["loss"].clone();
    let expected = loss(&["t.parquet"]);
    assert_eq!(loss(&["t.parquet", "--batch-size", "1"]), expected);
    assert_eq!(loss(&["--threads", "1", "--batch-size", "3", "-"]), expected);
    assert_eq!(loss(&[]), expected);
    assert_ne!(loss(&["--limit", "2"]), expected);
}

#[test]
fn narrow_weights_come_close() {
    let bench = Bench::new();
    bench.tokens("t.parquet", &[Row::labelled(&[5, 6, 7, 8, 9], &[5, 6, 7, 8, 9])], None);
    let loss = |dtype: &str| bench.run("loss", &["t.parquet", "--load-in", dtype]).figures()["loss"].as_f64().unwrap();
    let exact = loss("f32");
    for dtype in ["bf16", "f16"] {
        let found = loss(dtype);
        assert!(found != exact && (found - exact).abs() < 0.05, "{dtype}: {found}, f32 {exact}");
    }
}

/// What the file has in blocks is the same numbers, widened at once or layer by layer; fewer bits are near them.
#[test]
fn fewer_bits_are_near_and_the_files_own_are_equal() {
    let bench = Bench::new();
    let (rows, _) = reference("llama3_rope-s5");
    bench.tokens("t.parquet", &rows, None);
    let model = testdata("gguf").canonicalize().unwrap().join("llama3_rope-s5.q8_0.gguf");
    let told = |flags: &str| {
        let arguments: Vec<&str> = ["t.parquet", "--load-in"].into_iter().chain(flags.split(' ')).collect();
        bench.run_on("loss", &model, &arguments, b"").figures()["loss"].as_f64().unwrap()
    };
    let whole = told("f32");
    assert_eq!(told("as-is").to_bits(), whole.to_bits());
    // Most of the file is Q8_0 already; what it has in f16 is rounded.
    let eight = (told("8bit") - whole).abs();
    assert!(eight > 1e-6 && eight < 1e-2 * whole, "{eight} of {whole}");
    let four = ["4bit", "4bit --bnb-4bit-quant-type fp4", "4bit --bnb-4bit-use-double-quant false"].map(told);
    for (i, loss) in four.iter().enumerate() {
        assert!((loss - whole).abs() > 1e-6 && (loss - whole).abs() < 0.2 * whole, "{i}: {loss}, in f32 {whole}");
        assert!(four[..i].iter().all(|other| other != loss), "{four:?}");
    }
}
