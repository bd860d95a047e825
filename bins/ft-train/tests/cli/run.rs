//! A whole run: what it writes, what it says, what its options do.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Scratch, read_safetensors, reference, rows, stderr, with_base, write_tokens};

#[test]
fn a_run_writes_all_its_files_and_learns() {
    let scratch = Scratch::with_rows();
    scratch.tokens("held.parquet", &rows(5));
    let told = scratch.train("out", "--eval held.parquet --eval-steps 3 --max-steps 12");
    assert!(told.contains("18 rows") && told.contains("12 steps of 4 sequences"), "{told}");
    assert!(told.contains("rows.parquet: nothing says which tokenizer made these tokens"), "{told}");
    let mut files: Vec<_> =
        fs::read_dir(scratch.path("out")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    let expected = [
        "adapter_config.json",
        "adapter_model.safetensors",
        "all_results.json",
        "checkpoint-12",
        "eval_results.json",
        "loss.png",
        "loss.svg",
        "metrics.jsonl",
        "run.json",
        "train_results.json",
        "trainer_state.json",
    ];
    assert_eq!(files, expected);

    let losses = scratch.series("out", "loss");
    assert_eq!(losses.len(), 12);
    assert!(losses[11] < 0.8 * losses[0], "{losses:?}");
    let held = scratch.series("out", "eval_loss");
    assert_eq!(held.len(), 4, "after 3, 6 and 9 steps and at the end");
    assert!(held[3] < held[0], "{held:?}");
}

#[test]
fn the_logs_have_trainers_keys() {
    let scratch = Scratch::with_rows();
    scratch.train("out", "--logging-steps 2");
    let metrics = scratch.metrics("out");
    assert_eq!(metrics.len(), 4, "three logs and the summary: {metrics:?}");
    for (i, entry) in metrics[..3].iter().enumerate() {
        for key in ["loss", "grad_norm", "learning_rate", "epoch", "num_tokens", "mean_token_accuracy"] {
            assert!(entry[key].is_number(), "{key} in {entry}");
        }
        assert_eq!(entry["step"], 2 * (i + 1));
    }
    let state = scratch.json("out/trainer_state.json");
    assert_eq!((&state["global_step"], &state["max_steps"]), (&6.into(), &6.into()));
    assert_eq!(state["log_history"].as_array().unwrap(), &metrics);
    assert_eq!(state["train_batch_size"], 4);
    let results = scratch.json("out/train_results.json");
    for key in
        ["train_loss", "train_runtime", "train_samples_per_second", "train_steps_per_second", "epoch", "total_flos"]
    {
        assert!(results[key].is_number(), "{key} in {results}");
    }
    assert_eq!(results["epoch"], 1.2, "18 rows are five steps, the last one short");
    assert_eq!(scratch.json("out/all_results.json"), results, "nothing was evaluated");
    let config = scratch.json("out/adapter_config.json");
    assert_eq!((&config["peft_type"], &config["r"]), (&"LORA".into(), &4.into()));
    let run = scratch.json("out/run.json");
    assert_eq!((&run["tool"], &run["steps"]), (&"ft-train".into(), &6.into()));
    assert_ne!(run["initial_adapter_sha256"], run["final_adapter_sha256"]);
    assert!(run["peak_memory_bytes"].as_u64().unwrap() > 1 << 20);
}

#[test]
fn a_pipe_takes_tokens_and_gives_one_file_with_its_configuration() {
    let scratch = Scratch::with_rows();
    let piped = |line: &str| {
        let mut command = scratch.command(&with_base(&format!("--train - -o - {line}")));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let rows = fs::read(scratch.path("rows.parquet")).unwrap();
        child.stdin.take().unwrap().write_all(&rows).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        output.stdout
    };
    let (metadata, tensors) = read_safetensors(&piped(""));
    let config: Value = serde_json::from_str(&metadata["adapter_config"]).unwrap();
    assert_eq!(config["lora_alpha"], 32.0);
    assert_eq!((metadata["ft.tool"].as_str(), metadata["format"].as_str()), ("ft-train", "pt"));
    assert_eq!(tensors.len(), 3 * 7 * 2);
    scratch.train("out", "");
    let (_, same) = read_safetensors(&scratch.adapter("out"));
    assert_eq!(tensors, same, "a folder holds the same tensors");
    assert_eq!(config, scratch.json("out/adapter_config.json"));
}

/// Ten steps from peft's initial adapter on its rows: losses and gradient norms are those of transformers and peft.
#[test]
fn ten_steps_reach_pefts_losses() {
    let scratch = Scratch::new();
    let reference = reference("llama-s1");
    let meta: Value = serde_json::from_slice(&fs::read(reference.join("meta.json")).unwrap()).unwrap();
    let data = fs::read(reference.join("data.safetensors")).unwrap();
    let (_, tensors) = read_safetensors(&data);
    let numbers = |name: &str| -> Vec<i64> {
        tensors[name].as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
    };
    let (ids, labels, mask) = (numbers("input_ids"), numbers("labels"), numbers("attention_mask"));
    let width = ids.len() / 3;
    let row = |i: usize| {
        let length = mask[i * width..][..width].iter().filter(|&&m| m == 1).count();
        let span = i * width..i * width + length;
        (ids[span.clone()].iter().map(|&id| id as u32).collect(), labels[span].iter().map(|&l| l as i32).collect())
    };
    write_tokens(&scratch.path("rows.parquet"), &[row(0), row(1), row(2)], &[]);
    let adapter = reference.join("adapter_init");
    let line = "--model MODEL --train rows.parquet -o out --max-steps 10 --per-device-train-batch-size 3 --no-shuffle \
                --learning-rate 1e-3 --lr-scheduler-type constant --max-grad-norm 0 --logging-steps 1 --init-adapter";
    let output = scratch.command(line).arg(&adapter).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    for (key, expected, tolerance) in [("loss", "losses", 1e-4), ("grad_norm", "grad_norms", 1e-3)] {
        let expected: Vec<f64> = meta[expected].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        let found = scratch.series("out", key);
        assert_eq!(found.len(), expected.len());
        for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!((found - expected).abs() < tolerance * expected, "{key} of step {step}: {found} for {expected}");
        }
    }
}

#[test]
fn warm_up_begins_at_zero_and_the_schedule_ends_low() {
    let scratch = Scratch::with_rows();
    scratch.train("ratio", "--warmup-ratio 0.5 --lr-scheduler-type linear");
    let rates = scratch.series("ratio", "learning_rate");
    let expected = [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0, 2.0 / 3.0, 1.0 / 3.0].map(|x| x * 1e-2);
    assert!(rates.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{rates:?}");
    // A step with learning rate 0 leaves the adapter as it was.
    let losses = scratch.series("ratio", "loss");
    scratch.train("frozen", "--learning-rate 0");
    assert!(
        (losses[0] - scratch.series("frozen", "loss")[0]).abs() == 0.0,
        "the first step starts from the same adapter"
    );
    let run = scratch.json("frozen/run.json");
    assert_eq!(run["initial_adapter_sha256"], run["final_adapter_sha256"]);
    scratch.train("steps", "--warmup-steps 3 --lr-scheduler-type linear");
    assert_eq!(scratch.adapter("steps"), scratch.adapter("ratio"), "both say the same");
}

#[test]
fn clipping_is_told_before_it_is_done_and_zero_is_none() {
    let scratch = Scratch::with_rows();
    let free = scratch.trained("free", "--max-grad-norm 0");
    let wide = scratch.trained("wide", "--max-grad-norm 1e9");
    let tight = scratch.trained("tight", "--max-grad-norm 1e-6");
    assert_eq!(free, wide, "what is not reached clips nothing");
    assert_ne!(free, tight);
    let (free, tight) = (scratch.series("free", "grad_norm"), scratch.series("tight", "grad_norm"));
    assert_eq!(free[0].to_bits(), tight[0].to_bits());
    assert!(free[0] > 1e-6);
}

#[test]
fn epochs_end_a_run_where_no_steps_are_given() {
    let scratch = Scratch::with_rows();
    scratch.train(
        "out",
        "--max-steps -1 --num-train-epochs 2 --per-device-train-batch-size 5 --gradient-accumulation-steps 2",
    );
    let state = scratch.json("out/trainer_state.json");
    assert_eq!((&state["global_step"], &state["epoch"]), (&4.into(), &2.0.into()));
    let tokens: usize = rows(18).iter().map(|(ids, _)| ids.len()).sum();
    assert_eq!(state["num_input_tokens_seen"], 2 * tokens);
}

#[test]
fn logs_for_machines_are_json_lines() {
    let scratch = Scratch::with_rows();
    let told = scratch.train("out", "--log-format json");
    assert!(told.lines().count() > 6);
    for line in told.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(entry["message"].is_string(), "{line}");
    }
    // A logged step is an object: its figures are the line's own keys.
    let steps: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps: Vec<&Value> = steps.iter().filter(|entry| entry["loss"].is_f64()).collect();
    assert!(
        steps
            .iter()
            .all(|entry| entry["learning_rate"].is_f64() && entry["message"] == format!("step {}", entry["step"]))
    );
    assert_eq!(
        steps.iter().map(|entry| entry["step"].as_u64().unwrap()).max(),
        scratch.json("out/trainer_state.json")["global_step"].as_u64()
    );
    assert_eq!(scratch.train("quiet", "--quiet").lines().count(), 1, "a warning: nothing says which tokenizer");
}

/// A scratch folder whose `model` has a tokenizer, and that tokenizer's fingerprint.
fn with_tokenizer() -> (Scratch, String) {
    let scratch = Scratch::new();
    let model = scratch.copy_model("model");
    let tokenizer = reference("../tokenizer");
    for file in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        fs::copy(tokenizer.join(file), model.join(file)).unwrap();
    }
    let fingerprint = ft_text::fingerprint(&model).unwrap().unwrap();
    (scratch, fingerprint)
}

#[test]
fn tokens_of_the_models_own_tokenizer_are_taken_without_a_word() {
    let (scratch, fingerprint) = with_tokenizer();
    write_tokens(&scratch.path("rows.parquet"), &rows(6), &[("ft.tokenizer_sha256", &fingerprint)]);
    let output = scratch.run("--model model --train rows.parquet -o out --max-steps 1 --quiet");
    assert!(output.status.success());
    assert_eq!(stderr(&output), "");
    let (metadata, _) = read_safetensors(&scratch.adapter("out"));
    assert_eq!(metadata["ft.tokenizer_sha256"], fingerprint);
}

/// F17: what a prompt must look like goes from the tokens into the adapter's folder, and into its checkpoints.
#[test]
fn f17_template_system_text_and_tokenizer_travel_into_the_adapters_folder() {
    let (scratch, fingerprint) = with_tokenizer();
    let pairs = [
        ("ft.tokenizer_sha256", fingerprint.as_str()),
        ("ft.chat_template", "[{{ messages[0].content }}]\n"),
        ("ft.chat_template_sha256", "d"),
        ("ft.system", "Be brief."),
        ("ft.end_ids", "[2,7]"),
        ("ft.other", "x"),
    ];
    write_tokens(&scratch.path("rows.parquet"), &rows(6), &pairs);
    let output = scratch.run("--model model --train rows.parquet -o out --max-steps 1 --save-steps 1 --quiet");
    assert_eq!((output.status.success(), stderr(&output)), (true, String::new()));
    for folder in ["out", "out/checkpoint-1"] {
        let template = fs::read_to_string(scratch.path(folder).join("chat_template.jinja")).unwrap();
        assert_eq!(template, pairs[1].1);
        let (metadata, _) = read_safetensors(&scratch.adapter(folder));
        for (key, value) in &pairs[1..5] {
            assert_eq!(metadata[*key], *value, "{folder}");
        }
        assert!(!metadata.contains_key("ft.other"));
    }
    let bytes = |folder: &str, file: &str| fs::read(scratch.path(folder).join(file)).unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        assert_eq!(bytes("out", file), bytes("model", file));
    }
    // A run over it with other tokens leaves nothing of the old template.
    write_tokens(&scratch.path("rows.parquet"), &rows(6), &pairs[..1]);
    let again = "--model model --train rows.parquet -o out --max-steps 1 --overwrite-output-dir --quiet";
    assert!(scratch.run(again).status.success());
    assert!(!scratch.path("out/chat_template.jinja").exists());
    // A run into the model's own folder changes nothing of the model.
    write_tokens(&scratch.path("rows.parquet"), &rows(6), &pairs);
    let before = bytes("model", "tokenizer_config.json");
    assert!(scratch.run("--model model --train rows.parquet -o model --max-steps 1 --quiet").status.success());
    assert!(!scratch.path("model/chat_template.jinja").exists());
    assert_eq!(bytes("model", "tokenizer_config.json"), before);
}

#[test]
fn a_row_without_a_label_is_told_and_taken() {
    let scratch = Scratch::new();
    let mut rows = rows(4);
    rows[2].1.fill(-100);
    scratch.tokens("rows.parquet", &rows);
    let told = scratch.train("out", "--max-steps 1");
    assert!(told.contains("rows.parquet: 1 of 4 rows have no label"), "{told}");
}

#[test]
fn help_teaches() {
    let scratch = Scratch::new();
    let output = scratch.run("--help");
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for word in ["--lora-r", "--init-adapter", "--activation-memory", "--resume-from-checkpoint", "ft-template --model"]
    {
        assert!(help.contains(word), "{word}");
    }
}

#[test]
fn usage_errors_for_machines_are_json_too() {
    let scratch = Scratch::with_rows();
    for line in ["--log-format json --no-such-flag", "--log-format=json --lora-r nothing"] {
        let output = scratch.run(line);
        assert_eq!(output.status.code(), Some(2));
        let entry: Value = serde_json::from_str(&stderr(&output)).unwrap();
        assert_eq!((&entry["level"], &entry["tool"]), (&"error".into(), &"ft-train".into()));
        assert!(entry["message"].as_str().unwrap().contains("see 'ft-train --help'"), "{entry}");
    }
}

#[test]
fn rust_log_says_what_is_told() {
    let scratch = Scratch::with_rows();
    let line = "--model MODEL --train rows.parquet --max-steps 1 -o";
    let told = |log: &str, out: &str| {
        let output = scratch.command(line).arg(out).env("RUST_LOG", log).output().unwrap();
        assert!(output.status.success());
        stderr(&output)
    };
    assert!(told("error", "a").is_empty());
    assert!(told("ft_trainer=info", "b").contains("\"loss\":"));
    assert!(told("a=b=c", "c").contains("RUST_LOG is not understood"));
}

#[test]
fn a_secret_in_a_refusal_is_not_repeated() {
    let scratch = Scratch::with_rows();
    let secret = "hf_abcdefghijklmnopqrstuvwxyz012345";
    fs::write(scratch.path("run.yaml"), format!("hub_token: {secret}\n")).unwrap();
    let flags = "--model MODEL --train rows.parquet -o out";
    for line in [
        format!("{flags} --hub-token {secret}"),
        format!("{flags} --push-to-hub-token plain-words"),
        format!("{flags} --config run.yaml"),
        format!("{flags} --hub-model-id {secret}"),
    ] {
        let output = scratch.run(&line);
        let told = stderr(&output);
        assert!(!told.contains("hf_abc") && !told.contains("plain-words"), "{told}");
        assert!(told.contains("(not shown)"), "{told}");
    }
}

#[test]
fn absurd_steps_are_told_or_planned_at_once() {
    let scratch = Scratch::with_rows();
    let flags = "--model MODEL --train rows.parquet -o out";
    let absurd = "--per-device-train-batch-size 2147483648 --gradient-accumulation-steps 2147483648 --nproc-per-node 4";
    let told = scratch.failure(&format!("{flags} --max-steps 1 {absurd}"), 2);
    assert!(told.contains("2147483648 times") && told.contains("give smaller ones"), "{told}");
    for steps in ["4294967295", "9223372036854775807"] {
        let begun = std::time::Instant::now();
        let output = scratch.run(&format!("{flags} --dry-run --max-steps {steps} --log-format json"));
        assert!(output.status.success(), "{}", stderr(&output));
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(plan["steps"].to_string(), steps);
        assert!(begun.elapsed().as_secs() < 20);
        let output = scratch.run(&format!("{flags} --dry-run --max-steps {steps}"));
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains(steps));
    }
}

#[test]
fn overwriting_never_deletes_what_the_run_reads() {
    let scratch = Scratch::with_rows();
    let base = "--model MODEL --train rows.parquet --max-steps 1 -q";
    assert!(scratch.run(&format!("{base} --save-steps 1 -o out")).status.success());
    fs::copy(scratch.path("rows.parquet"), scratch.path("out/checkpoint-1/rows.parquet")).unwrap();
    let before = scratch.adapter("out");
    for line in [
        format!("{base} --init-adapter out"),
        format!("{base} --init-adapter out/../out"),
        format!("{base} --init-adapter out/checkpoint-1"),
        format!("{base} --init-adapter out/adapter_model.safetensors"),
        base.replace("rows.parquet", "out/checkpoint-1/rows.parquet"),
        format!("{base} --eval out/checkpoint-1/rows.parquet"),
    ] {
        let told = scratch.failure(&format!("{line} -o out --overwrite-output-dir"), 2);
        assert!(told.contains("--output-dir: ") && told.contains("would take the place of"), "{line}: {told}");
    }
    assert_eq!(scratch.adapter("out"), before);
    assert!(scratch.path("out/checkpoint-1/rows.parquet").exists());
    fs::copy(scratch.path("rows.parquet"), scratch.path("out/rows.parquet")).unwrap();
    let line = base.replace("rows.parquet", "out/rows.parquet");
    assert!(
        scratch.run(&format!("{line} -o out --overwrite-output-dir")).status.success(),
        "rows beside a run are left alone"
    );
    assert!(scratch.path("out/rows.parquet").exists() && !scratch.path("out/checkpoint-1/rows.parquet").exists());
}
