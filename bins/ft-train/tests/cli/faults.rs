//! Bad input and bad circumstances: each on one line that says where, what, and what to do.

use std::fs;
use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Builder, ListBuilder, StringArray, UInt32Builder, UInt64Array};
use serde_json::{Value, json};

use crate::support::{
    POSITIONS, Row, Scratch, VOCABULARY, model, reference, rewrite_safetensors, rows, stderr, with_base, write_columns,
    write_tokens,
};

const LINE: &str = "--model MODEL --train rows.parquet --output-dir out --max-steps 2";

fn told(rows: &[Row]) -> String {
    let scratch = Scratch::new();
    scratch.tokens("rows.parquet", rows);
    scratch.failure(LINE, 1)
}

#[test]
fn a_missing_column_is_named_with_those_there_are() {
    let scratch = Scratch::new();
    let mut ids = ListBuilder::new(UInt32Builder::new());
    ids.append_value([Some(1), Some(2)]);
    let columns: [(&str, ArrayRef); 2] =
        [("input_ids", Arc::new(ids.finish())), ("text", Arc::new(StringArray::from(vec!["a"])))];
    write_columns(&scratch.path("rows.parquet"), &columns, &[]);
    let told = scratch.failure(LINE, 1);
    assert!(told.contains("rows.parquet") && told.contains("'labels'"), "{told}");
    assert!(told.contains("input_ids") && told.contains("text"), "{told}");
}

#[test]
fn rows_that_cannot_be_are_named() {
    let scratch = Scratch::new();
    let ids = || {
        let mut ids = ListBuilder::new(Int32Builder::new());
        ids.append_value([Some(1), Some(2)]);
        ids.append_value([Some(1), Some(-7)]);
        Arc::new(ids.finish()) as ArrayRef
    };
    let labels = |rows: [&[i32]; 2]| {
        let mut labels = ListBuilder::new(Int32Builder::new());
        rows.iter().for_each(|row| labels.append_value(row.iter().copied().map(Some)));
        Arc::new(labels.finish()) as ArrayRef
    };
    let write = |columns: [(&str, ArrayRef); 2]| write_columns(&scratch.path("rows.parquet"), &columns, &[]);
    write([("input_ids", ids()), ("labels", labels([&[1, 2], &[1, 2]]))]);
    let told = scratch.failure(LINE, 1);
    assert!(told.contains("rows.parquet, row 2") && told.contains("-7"), "{told}");
    write([("input_ids", ids()), ("labels", labels([&[1, 2, 3], &[1, 2]]))]);
    let told = scratch.failure(LINE, 1);
    assert!(told.contains("rows.parquet, row 1") && told.contains("3 labels for 2 ids"), "{told}");
}

#[test]
fn nothing_to_learn() {
    let mut all = rows(3);
    all.iter_mut().for_each(|row| row.1.fill(-100));
    let told = told(&all);
    assert!(told.contains("rows.parquet: no row has a label") && told.contains("ft-template --labels"), "{told}");
}

#[test]
fn a_label_on_the_first_token_alone_is_none() {
    let told = told(&[(vec![4, 5], vec![4, -100])]);
    assert!(told.contains("no row has a label"), "{told}");
}

/// A batch without a label would be a division by zero.
#[test]
fn tokens_outside_the_vocabulary() {
    let mut all = rows(3);
    all[1].0[2] = VOCABULARY;
    let told = told(&all);
    assert!(told.contains("rows.parquet, row 2: token 320, but the model's vocabulary has 320"), "{told}");
    assert!(told.contains("another tokenizer"), "{told}");
}

#[test]
fn labels_outside_the_vocabulary() {
    let mut all = rows(3);
    all[2].1[2] = 4000;
    assert!(told(&all).contains("row 3: token 4000"));
}

#[test]
fn rows_over_the_models_length() {
    let long = POSITIONS as u32 + 1;
    let all = [rows(1).remove(0), ((0..long).collect(), (0..long as i32).collect())];
    let scratch = Scratch::new();
    scratch.tokens("rows.parquet", &all);
    let told = scratch.train("out", "--max-steps 1");
    assert!(told.contains("rows.parquet: up to 129 tokens in a row, but the model was made for 128"), "{told}");
    let learned = format!("--model {} --train rows.parquet -o other", reference("gpt2-s28").join("model").display());
    let told = scratch.failure(&learned, 1);
    assert!(told.contains("rows.parquet, row 2: 129 tokens, but the model takes "), "{told}");
    assert!(told.contains("--max-seq-length "), "{told}");
}

#[test]
fn files_that_are_no_tokens() {
    let scratch = Scratch::with_rows();
    let bytes = fs::read(scratch.path("rows.parquet")).unwrap();
    let failure = |bytes: &[u8]| {
        fs::write(scratch.path("rows.parquet"), bytes).unwrap();
        scratch.failure(LINE, 1)
    };
    let told = failure(&bytes[..bytes.len() - 20]);
    assert!(told.contains("rows.parquet") && told.contains("truncated"), "{told}");
    let told = failure(b"");
    assert!(told.contains("rows.parquet") && told.contains("empty"), "{told}");
    let told = failure(b"input_ids,labels\n1,2\n");
    assert!(told.contains("rows.parquet") && told.contains("Parquet"), "{told}");
    fs::remove_file(scratch.path("rows.parquet")).unwrap();
    let told = scratch.failure(LINE, 1);
    assert!(told.contains("cannot read 'rows.parquet'") && told.contains("No such file"), "{told}");
    write_tokens(&scratch.path("rows.parquet"), &[], &[]);
    let told = scratch.failure(LINE, 1);
    assert!(told.contains("rows.parquet") && told.contains("no rows"), "{told}");
}

#[test]
fn tokens_of_another_tokenizer() {
    let scratch = Scratch::new();
    scratch.copy_model("model");
    let tokenizer = reference("../tokenizer/tokenizer.json");
    fs::copy(tokenizer, scratch.path("model/tokenizer.json")).unwrap();
    let other = "0123456789abcdef".repeat(4);
    write_tokens(&scratch.path("rows.parquet"), &rows(3), &[("ft.tokenizer_sha256", &other)]);
    let told = scratch.failure("--model model --train rows.parquet -o out", 1);
    assert!(told.contains("rows.parquet: its tokens were made with another tokenizer (0123456789ab…)"), "{told}");
    assert!(told.contains("ft-template --model model"), "{told}");
}

#[test]
fn models_that_are_not_whole() {
    let scratch = Scratch::with_rows();
    let weights = scratch.copy_model("model").join("model.safetensors");
    let line = LINE.replace("MODEL", "model");
    let whole = fs::read(&weights).unwrap();

    fs::write(&weights, &whole[..whole.len() - 4]).unwrap();
    let told = scratch.failure(&line, 1);
    assert!(told.contains("model.safetensors") && told.contains("cut short"), "{told}");

    fs::write(&weights, &whole).unwrap();
    rewrite_safetensors(&weights, |header, data| {
        // Four bytes that belong to no tensor, before the last one.
        let end = data.len();
        let last = header.values_mut().find(|t| t["data_offsets"][1] == end).unwrap();
        let begin = last["data_offsets"][0].as_u64().unwrap();
        last["data_offsets"] = json!([begin + 4, end + 4]);
        data.splice(begin as usize..begin as usize, [0; 4]);
    });
    let told = scratch.failure(&line, 1);
    assert!(told.contains("model.safetensors") && told.contains("a hole of 4 bytes before the tensor '"), "{told}");

    fs::write(&weights, &whole).unwrap();
    let mut missing = String::new();
    rewrite_safetensors(&weights, |header, data| {
        let last = header.iter().find(|(_, t)| t["data_offsets"][1] == data.len()).unwrap().0.clone();
        data.truncate(header[&last]["data_offsets"][0].as_u64().unwrap() as usize);
        header.remove(&last);
        missing = last;
    });
    let told = scratch.failure(&line, 1);
    assert!(told.contains(&format!("has no tensor '{missing}', expected one of shape [")), "{told}");

    fs::remove_file(&weights).unwrap();
    let told = scratch.failure(&line, 1);
    assert!(told.contains("'model'") && told.contains("safetensors"), "{told}");
}

#[test]
fn models_that_are_not_known() {
    let scratch = Scratch::with_rows();
    let config = scratch.copy_model("model").join("config.json");
    let line = LINE.replace("MODEL", "model");
    let known = fs::read_to_string(&config).unwrap();
    let other = known.replace("\"model_type\": \"llama\"", "\"model_type\": \"mamba\"").replace("LlamaFor", "MambaFor");
    fs::write(&config, other).unwrap();
    let told = scratch.failure(&line, 1);
    assert!(told.contains("config.json") && told.contains("mamba") && told.contains("llama"), "{told}");
    fs::write(&config, known.replace("\"silu\"", "\"snake\"")).unwrap();
    let told = scratch.failure(&line, 1);
    assert!(told.contains("config.json") && told.contains("hidden_act") && told.contains("snake"), "{told}");
    fs::write(&config, &known[..known.len() / 2]).unwrap();
    let told = scratch.failure(&line, 1);
    assert!(told.contains("config.json"), "{told}");
    let told = scratch.failure(&LINE.replace("MODEL", "nowhere"), 1);
    assert!(told.contains("'nowhere'"), "{told}");
}

#[test]
fn an_output_folder_in_use() {
    let scratch = Scratch::with_rows();
    scratch.train("out", "");
    let before = scratch.adapter("out");
    let told = scratch.failure(LINE, 1);
    assert!(told.contains("'out' already holds a run") && told.contains("--overwrite-output-dir"), "{told}");
    assert_eq!(scratch.adapter("out"), before);
    scratch.train("out", "--overwrite-output-dir --seed 5");
    assert_ne!(scratch.adapter("out"), before);
}

#[test]
fn a_loss_that_is_not_finite_ends_the_run_with_its_step_micro_batch_and_row() {
    let scratch = Scratch::with_rows();
    let line =
        "-o out --learning-rate 1e30 --max-grad-norm 0 --per-device-train-batch-size 2 --gradient-accumulation-steps 2";
    let told = scratch.failure(&with_base(line), 1);
    assert!(told.contains("step 2, micro-batch 1, row ") && told.contains("not finite"), "{told}");
    assert!(!scratch.path("out/adapter_model.safetensors").exists());
}

/// One row meets a weight that is not a number; the others do not.
#[test]
fn the_row_that_is_not_finite_is_found_among_the_others() {
    let scratch = Scratch::new();
    let mut all: Vec<Row> = rows(6);
    for row in &mut all {
        row.0.iter_mut().for_each(|id| *id %= 300);
        row.1.iter_mut().for_each(|label| *label = (*label).min(299));
    }
    all[4].0[0] = 310;
    scratch.tokens("rows.parquet", &all);
    let weights = scratch.copy_model("model").join("model.safetensors");
    rewrite_safetensors(&weights, |header, data| {
        let embedding = &header["model.embed_tokens.weight"];
        let (first, width) = (embedding["data_offsets"][0].as_u64().unwrap(), embedding["shape"][1].as_u64().unwrap());
        let at = (first + 310 * width * 4) as usize;
        data[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let line = "--model model --no-shuffle --per-device-train-batch-size 3 --gradient-accumulation-steps 2 -o out";
    let told = scratch.failure(&with_base(line), 1);
    assert!(told.contains("step 1, micro-batch 2, row 5: its loss is not finite"), "{told}");
}

/// `rows.parquet` of `all`, with what `ft-prep --lineage` and ft-template keep: row `i` is line `10 + i` of one of two files,
/// but for one row, of which only the file is known.
fn write_with_lineage(scratch: &Scratch, all: &[Row], without_line: usize) {
    let (mut ids, mut labels) = (ListBuilder::new(UInt32Builder::new()), ListBuilder::new(Int32Builder::new()));
    for (row_ids, row_labels) in all {
        ids.append_value(row_ids.iter().copied().map(Some));
        labels.append_value(row_labels.iter().copied().map(Some));
    }
    let files = (0..all.len()).map(|i| Some(if i < 4 { "first.csv" } else { "second.jsonl" }));
    let lines = (0..all.len()).map(|i| (i != without_line).then_some(10 + i as u64));
    let columns: [(&str, ArrayRef); 4] = [
        ("input_ids", Arc::new(ids.finish())),
        ("labels", Arc::new(labels.finish())),
        ("source_file", Arc::new(files.collect::<StringArray>())),
        ("source_row", Arc::new(lines.collect::<UInt64Array>())),
    ];
    write_columns(&scratch.path("rows.parquet"), &columns, &[]);
}

#[test]
fn a_fault_names_the_source_of_its_row() {
    let scratch = Scratch::new();
    let mut all = rows(6);
    all[2].0[1] = VOCABULARY;
    write_with_lineage(&scratch, &all, 5);
    let told = scratch.failure(LINE, 1);
    assert!(told.contains("rows.parquet, row 3 (first.csv, row 12): token 320, but"), "{told}");
    write_with_lineage(&scratch, &rows(6), 5);
    let told = scratch.failure(&format!("{LINE} --max-seq-length 5 --overlong error"), 1);
    assert!(told.contains("rows.parquet, row 2 (first.csv, row 11): 10 tokens, and"), "{told}");
    let line = "--max-grad-norm 0 --learning-rate 1e30 --per-device-train-batch-size 1 --no-shuffle -o out";
    let told = scratch.failure(&with_base(line), 1);
    assert!(told.contains("not finite") && told.contains("(first.csv, row 1"), "{told}");
}

#[test]
fn rows_that_each_step_saw_are_written_down_where_asked_for() {
    let scratch = Scratch::new();
    write_with_lineage(&scratch, &rows(7), 1);
    let told = scratch.failure(&format!("{LINE} --log-rows --output-dir -"), 2);
    assert!(told.contains("--log-rows writes rows.jsonl beside the adapter"), "{told}");
    let seen = |out: &str| -> Vec<Value> {
        let text = fs::read_to_string(scratch.path(out).join("rows.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let line = "--log-rows --no-shuffle --per-device-train-batch-size 2 --gradient-accumulation-steps 2 --max-steps 3";
    scratch.train("plain", &line.replace("--log-rows", ""));
    assert!(!scratch.path("plain/rows.jsonl").exists());
    let adapter = scratch.trained("out", &format!("{line} --save-steps 1"));
    assert_eq!(adapter, scratch.adapter("plain"));
    let rows = seen("out");
    assert_eq!(rows.iter().map(|row| row["step"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(rows[0]["rows"][0], json!({"row": 1, "source_file": "first.csv", "source_row": 10}));
    assert_eq!(rows[0]["rows"][1], json!({"row": 2, "source_file": "first.csv", "source_row": null}));
    assert_eq!(rows[1]["rows"][0], json!({"row": 5, "source_file": "second.jsonl", "source_row": 14}));
    assert_eq!((rows[0]["rows"].as_array().unwrap().len(), rows[1]["rows"].as_array().unwrap().len()), (4, 3));
    scratch.train("ranks", &line.replace("2 --max", "1 --nproc-per-node 2 --max"));
    assert_eq!(seen("ranks"), rows);
    // A resume goes on where its checkpoint stands, and a line that a kill cut off is no line.
    let mut file = fs::OpenOptions::new().append(true).open(scratch.path("out/rows.jsonl")).unwrap();
    file.write_all(b"{\"step\": 4, \"ro").unwrap();
    fs::remove_dir_all(scratch.path("out/checkpoint-3")).unwrap();
    scratch.train("out", &format!("{line} --save-steps 1 --resume-from-checkpoint"));
    assert_eq!(seen("out"), rows);
    scratch.tokens("rows.parquet", &crate::support::rows(3));
    scratch.train("unknown", "--log-rows --max-steps 1 --no-shuffle");
    assert_eq!(seen("unknown")[0]["rows"], json!([{"row": 1}, {"row": 2}, {"row": 3}]));
}

#[test]
fn modules_that_no_model_has() {
    let scratch = Scratch::with_rows();
    let told = scratch.failure(&format!("{LINE} --target-modules gate"), 1);
    assert!(told.contains("gate") && told.contains("gate_proj"), "{told}");
    let told = scratch.failure(&format!("{LINE} --target-modules ((("), 1);
    assert!(told.contains("((("), "{told}");
}

#[test]
fn wrong_usage() {
    let scratch = Scratch::with_rows();
    for (line, word) in [
        ("--lora-rank 4", "--lora-rank"),
        ("--lora-r 0", "--lora-r"),
        ("--lora-dropout 1.5", "--lora-dropout"),
        ("--learning-rate=-1", "expected a number of at least 0"),
        ("--lr-scheduler-type steep", "cosine"),
        ("--activation-memory lots", "expected a number of bytes"),
        ("--threads 0", "--threads"),
    ] {
        let told = scratch.failure(&format!("{LINE} {line}"), 2);
        assert!(told.contains(word) && told.contains("ft-train --help"), "{line}: {told}");
    }
    let told = scratch.failure("", 2);
    assert!(told.contains("--model") || told.contains("missing"), "{told}");
    assert!(!scratch.path("out").exists(), "a wrong line leaves nothing");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk() {
    let scratch = Scratch::with_rows();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = scratch.command("--model MODEL --train rows.parquet -o - --max-steps 1 -q");
    let output = command.stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    let last = told.lines().last().unwrap();
    assert!(last.starts_with("ft-train: error: cannot write") && last.contains("No space left"), "{told}");
}

/// No file may grow beyond a few blocks: as on a disk that fills up while a checkpoint is written.
#[test]
#[cfg(target_os = "linux")]
fn a_checkpoint_that_cannot_be_written_leaves_the_last_one_whole() {
    let scratch = Scratch::with_rows();
    scratch.train("out", "--save-steps 2 --max-steps 2");
    let whole = fs::read(scratch.path("out/checkpoint-2/optimizer.safetensors")).unwrap();
    let line = with_base("--output-dir out --save-steps 2 --resume-from-checkpoint")
        .replace("MODEL", &model().display().to_string());
    let script = format!("trap '' XFSZ; ulimit -f 24; exec '{}' {line}", env!("CARGO_BIN_EXE_ft-train"));
    let mut shell = Command::new("sh");
    let output = shell.current_dir(scratch.path("")).args(["-c", &script]).output().unwrap();
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let last = told.lines().last().unwrap();
    assert!(last.contains("cannot write 'out/checkpoint-4'") && last.contains("File too large"), "{told}");
    assert_eq!(fs::read(scratch.path("out/checkpoint-2/optimizer.safetensors")).unwrap(), whole);
    assert!(!scratch.path("out/checkpoint-4").exists());
    assert!(!crate::support::names(&scratch.path("out")).iter().any(|name| name.contains(".tmp-")));
    scratch.train("out", "--save-steps 2 --resume-from-checkpoint");
}

#[test]
fn a_folder_that_cannot_be_written() {
    let scratch = Scratch::with_rows();
    fs::write(scratch.path("file"), "").unwrap();
    let told = scratch.failure(&with_base("-o file/out"), 1);
    assert!(told.contains("cannot make the folder 'file/out'"), "{told}");
    // Gone while the run goes on.
    let line = with_base("--output-dir out --max-steps 1000000 --save-steps 20");
    let mut child = scratch.command(&line).stderr(std::process::Stdio::piped()).spawn().unwrap();
    while !scratch.path("out/checkpoint-20").exists() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    fs::rename(scratch.path("out"), scratch.path("away")).unwrap();
    fs::write(scratch.path("out"), "").unwrap();
    let mut told = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut told).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{told}");
    assert!(told.lines().last().unwrap().contains("error: cannot write 'out/checkpoint-"), "{told}");
}

#[test]
#[cfg(unix)]
fn a_closed_pipe_is_an_error() {
    let scratch = Scratch::with_rows();
    let line = format!(
        "'{}' --model '{}' --train rows.parquet -o - --max-steps 3 -q 2>told; echo $? >code",
        env!("CARGO_BIN_EXE_ft-train"),
        model().display()
    );
    let status =
        Command::new("sh").current_dir(scratch.path("")).args(["-c", &format!("({line}) | true")]).status().unwrap();
    assert!(status.success());
    let read = |name: &str| fs::read_to_string(scratch.path(name)).unwrap();
    assert_eq!(read("code").trim(), "1");
    assert!(read("told").contains("standard output has no reader any more"), "{}", read("told"));
}
