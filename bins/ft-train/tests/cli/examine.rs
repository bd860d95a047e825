//! `--eval-generate`: answers to prompts at each evaluation.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Builder, ListBuilder, StringArray, UInt32Builder};
use serde_json::Value;

use crate::support::{Row, Scratch, reference, with_base, write_columns};

const END: u32 = 2;
const ROWS: u32 = 6;

/// Row `i` says two words after its own two tokens, and ends.
fn rows() -> Vec<Row> {
    let row = |i: u32| {
        // Letters around a space.
        let ids = vec![10 + i, 20 + i, 70 + i, 223, 80 + i, END];
        let labels = ids.iter().enumerate().map(|(t, &id)| if t < 2 { -100 } else { id as i32 }).collect();
        (ids, labels)
    };
    (0..ROWS).map(row).collect()
}

/// `rows.parquet`, `prompts.parquet` that ask for what it teaches, and `model` with a tokenizer.
fn scratch() -> Scratch {
    let scratch = Scratch::new();
    let model = scratch.copy_model("model");
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"] {
        fs::copy(reference("../tokenizer").join(name), model.join(name)).unwrap();
    }
    scratch.tokens("rows.parquet", &rows());
    let tokenizer = ft_text::TextModel::open(&model).unwrap().tokenizer;
    // The last answer is half wrong, and one prompt has none.
    let answer = |i: usize, ids: &[u32]| match i {
        4 => None,
        5 => Some(tokenizer.decode(&[70 + 5, 223, 92], false).unwrap()),
        _ => Some(tokenizer.decode(ids, false).unwrap()),
    };
    let references: Vec<Option<String>> =
        rows().iter().enumerate().map(|(i, (ids, _))| answer(i, &ids[2..5])).collect();
    prompts(&scratch, "prompts.parquet", &references, -100);
    scratch
}

fn prompts(scratch: &Scratch, name: &str, references: &[Option<String>], label: i32) {
    let (mut ids, mut labels) = (ListBuilder::new(UInt32Builder::new()), ListBuilder::new(Int32Builder::new()));
    for (row, _) in rows() {
        ids.append_value(row[..2].iter().copied().map(Some));
        labels.append_value([Some(-100), Some(label)]);
    }
    let columns: [(&str, ArrayRef); 3] = [
        ("input_ids", Arc::new(ids.finish())),
        ("labels", Arc::new(labels.finish())),
        ("reference", Arc::new(references.iter().map(Option::as_deref).collect::<StringArray>())),
    ];
    write_columns(&scratch.path(name), &columns, &[]);
}

const LINE: &str = "--model model --max-steps 60 --learning-rate 2e-2 --lora-r 8 --per-device-train-batch-size 3 \
                    --save-steps 20 --eval-max-new-tokens 6";
const ASKED: &str = "--eval-generate prompts.parquet --eval-strategy steps --eval-steps 20";

/// What `ft-eval generate` says of the answers of a checkpoint: exact match and F1.
fn evaluated(scratch: &Scratch, adapter: &str) -> [f64; 2] {
    let program = Path::new(env!("CARGO_BIN_EXE_ft-train")).with_file_name("ft-eval");
    assert!(program.is_file(), "'{}' is missing: build the workspace", program.display());
    let report = scratch.path("report.json");
    let _ = fs::remove_file(&report);
    let mut command = Command::new(program);
    command.current_dir(scratch.path(".")).args(["generate", "--model", "model", "--adapter", adapter]);
    let out = command.args(["prompts.parquet", "--max-new-tokens", "6", "--report", "report.json"]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    ["exact_match", "f1"].map(|key| report[key].as_f64().unwrap())
}

fn found(scratch: &Scratch, out: &str) -> Vec<[f64; 2]> {
    let (exact, f1) = (scratch.series(out, "eval_exact_match"), scratch.series(out, "eval_f1"));
    assert_eq!(exact.len(), f1.len());
    exact.into_iter().zip(f1).map(|(exact, f1)| [exact, f1]).collect()
}

#[test]
fn answers_at_each_evaluation_are_those_of_ft_eval_and_change_no_bit_of_the_training() {
    let scratch = scratch();
    let plain = scratch.trained("plain", LINE);
    let asked = scratch.trained("asked", &format!("{LINE} {ASKED}"));
    assert!(plain == asked);
    let marks = found(&scratch, "asked");
    assert_eq!(marks.len(), 3, "{marks:?}");
    for (i, marks) in marks.iter().enumerate() {
        let checkpoint = format!("asked/checkpoint-{}", 20 * (i + 1));
        assert_eq!(evaluated(&scratch, &checkpoint).map(f64::to_bits), marks.map(f64::to_bits), "{checkpoint}");
    }
    // Four of five are learned, and of the fifth one word.
    let [exact, f1] = marks[2];
    assert!(exact > 0.5 && f1 >= exact && f1 < 1.0, "{marks:?}");
    let results = scratch.json("asked/eval_results.json");
    assert_eq!((results["eval_f1"].as_f64(), results.get("eval_loss")), (Some(f1), None));
    // With rows beside the prompts both stand in one entry, and the run can be repeated.
    scratch.train("both", &format!("{LINE} {ASKED} --eval rows.parquet"));
    assert_eq!(found(&scratch, "both"), marks);
    assert_eq!(scratch.series("both", "eval_loss").len(), 3);
    let told = String::from_utf8(scratch.run("--verify both").stdout).unwrap();
    assert!(told.contains("equal: steps 1 to 60"), "{told}");
}

#[test]
fn ranks_find_the_same() {
    let scratch = scratch();
    let line = format!("{LINE} {ASKED} --max-steps 20 --eval-steps 10");
    scratch.train("one", &line);
    let marks = found(&scratch, "one");
    assert_eq!(marks.len(), 2);
    for (out, ranks) in [("two", "--nproc-per-node 2"), ("sharded", "--nproc-per-node 2 --sharding zero3")] {
        let line = line.replace("--per-device-train-batch-size 3", "--per-device-train-batch-size 1");
        scratch.train(out, &format!("{line} {ranks} --gradient-accumulation-steps 2"));
        assert_eq!(found(&scratch, out).len(), 2, "{out}");
    }
    assert_eq!(found(&scratch, "two"), found(&scratch, "sharded"));
    // More ranks than prompts: some have none.
    scratch.train(
        "seven",
        &format!("{line} --nproc-per-node 7 --per-device-train-batch-size 1 --max-steps 2 --eval-steps 2"),
    );
    assert_eq!(found(&scratch, "seven").len(), 1);
}

#[test]
fn the_best_answers_decide() {
    let scratch = scratch();
    let best = "--metric-for-best-model eval_f1 --load-best-model-at-end --save-total-limit 1";
    scratch.train("out", &format!("{LINE} {ASKED} {best}"));
    let marks = found(&scratch, "out");
    let state = scratch.json("out/trainer_state.json");
    let most = marks.iter().map(|[_, f1]| *f1).fold(0.0, f64::max);
    assert_eq!(state["best_metric"].as_f64(), Some(most), "{marks:?}");
    let step = 20 * (1 + marks.iter().position(|[_, f1]| *f1 == most).unwrap());
    assert_eq!(state["best_global_step"].as_u64(), Some(step as u64));
    assert_eq!(evaluated(&scratch, "out")[1], most);
}

#[test]
fn prompts_that_cannot_be_asked() {
    let scratch = scratch();
    let failure = |line: &str, code: i32| scratch.failure(&with_base(&format!("--model model -o out {line}")), code);
    prompts(&scratch, "none.parquet", &vec![None; ROWS as usize], -100);
    let told = failure("--eval-generate none.parquet", 1);
    assert!(told.contains("none.parquet: no prompt has a 'reference'") && told.contains("--mode test"), "{told}");
    prompts(&scratch, "labelled.parquet", &vec![None; ROWS as usize], 5);
    let told = failure("--eval-generate labelled.parquet", 1);
    assert!(told.contains("labelled.parquet, row 1: it has labels"), "{told}");
    assert!(failure("--eval-generate gone.parquet", 1).contains("gone.parquet"));
    assert!(failure("--eval-generate -", 2).contains("--eval-generate reads a file"));
    let told = failure("--eval rows.parquet --eval-steps 2 --metric-for-best-model eval_f1", 2);
    assert!(told.contains("an evaluation has only eval_loss") && told.contains("--eval-generate FILE adds"), "{told}");
    let told = failure("--eval-generate prompts.parquet --eval-steps 2 --metric-for-best-model loss", 2);
    assert!(told.contains("an evaluation has only eval_exact_match, eval_f1"), "{told}");
    let told = failure("--eval-generate prompts.parquet --eval-steps 2 --early-stopping-patience 2", 2);
    assert!(told.contains("an evaluation has only eval_exact_match, eval_f1"), "{told}");
    assert!(!scratch.path("out").exists());
}
