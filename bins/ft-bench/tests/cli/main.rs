//! Drives the built program. What it measures is only held to be plausible: times are nobody's promise.

mod plan;
mod precision;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

/// A model of 3 layers with 128 positions.
const MODEL: &str = "llama-s0";

fn model() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/reference").join(MODEL).join("model");
    path.to_str().unwrap().to_owned()
}

struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs the program; `MODEL` in `line` is the small model's folder.
    fn run(&self, line: &str) -> Output {
        let model = model();
        let words = line.split_whitespace().map(|word| if word == "MODEL" { &model } else { word });
        let mut command = Command::new(env!("CARGO_BIN_EXE_ft-bench"));
        command.current_dir(self.0.path()).args(words).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs, expects success, and gives stdout.
    fn succeed(&self, line: &str) -> String {
        let output = self.run(line);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{line}: {told}");
        assert!(!told.contains("error"), "{told}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// Runs, expects failure with `code`, and gives the one line on stderr.
    fn failure(&self, line: &str, code: i32) -> String {
        let output = self.run(line);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{line}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(output.stdout.is_empty(), "nothing on stdout");
        told.trim_end().strip_prefix("ft-bench: error: ").unwrap_or_else(|| panic!("{told}")).to_owned()
    }
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is no number in {value}"))
}

fn positive(value: &Value, keys: &[&str]) {
    for key in keys {
        let x = number(value, key);
        assert!(x.is_finite() && x > 0.0, "{key}: {x}");
    }
}

/// Every tag that is opened is closed, in the right order.
fn assert_well_formed(svg: &str) {
    assert!(svg.trim_start().starts_with("<svg"), "{}", &svg[..60.min(svg.len())]);
    let mut open: Vec<&str> = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').expect("a tag ends");
        assert!(!text.contains('&') || text.contains(';'), "an unescaped &: {text}");
        let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{tag}");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?} never end");
}

fn assert_machine(json: &Value, benchmark: &str, threads: u64) {
    assert_eq!((json["tool"].as_str(), json["benchmark"].as_str()), (Some("ft-bench"), Some(benchmark)));
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json["machine"]["threads"], threads);
    assert!(["avx512", "avx2", "plain"].contains(&json["machine"]["instruction_set"].as_str().unwrap()));
}

#[test]
fn products_are_measured_on_one_thread_and_on_all() {
    let scratch = Scratch::new();
    let table = scratch.succeed("matmul --model MODEL --tokens 40 --repeats 1 --threads 2 --json m.json --svg m.svg");
    assert!(
        table.contains("1 thread") && table.contains("2 threads") && table.contains("best on 2 threads"),
        "{table}"
    );
    let json = scratch.json("m.json");
    assert_machine(&json, "matmul", 2);
    let products = json["products"].as_array().unwrap();
    assert!(products.iter().all(|p| number(p, "gflops") > 0.0));
    for (rhs, threads) in [("f32", 1), ("f32", 2), ("bf16", 2), ("f16", 1)] {
        assert!(products.iter().any(|p| p["rhs"] == rhs && p["threads"] == threads), "{rhs} on {threads}");
    }
    // The sizes are the model's.
    let head = products.iter().find(|p| p["name"] == "head, x·Wᵀ").unwrap();
    let config = std::fs::read(Path::new(&model()).join("config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!((&head["k"], &head["n"]), (&config["hidden_size"], &config["vocab_size"]));
    assert_eq!(head["m"], 40);
    let best = json["best"].as_array().unwrap();
    assert_eq!(best.len(), 2);
    let most = products.iter().filter(|p| p["threads"] == 1 && p["rhs"] == "f32").map(|p| number(p, "gflops"));
    assert_eq!(number(&best[0], "gflops"), most.fold(0.0, f64::max), "the best is the largest");
    assert_well_formed(&std::fs::read_to_string(scratch.path("m.svg")).unwrap());
}

#[test]
fn training_steps_are_measured() {
    let scratch = Scratch::new();
    let line = "train --model MODEL --max-steps 3 --batch-size 2 --seq-len 64 --lora-r 4 --threads 1";
    let table = scratch.succeed(&format!("{line} --json t.json --svg t.svg"));
    for name in ["tokens/s", "GFLOP/s", "share of the best product", "time to the first step", "peak memory"] {
        assert!(table.contains(name), "{name} in {table}");
    }
    let json = scratch.json("t.json");
    assert_machine(&json, "train", 1);
    let keys = ["tokens_per_second", "gflops", "gflop_per_token", "best_product_gflops", "share_of_best_product"];
    positive(&json, &keys);
    positive(&json, &["peak_memory_bytes", "seconds_to_first_step", "median_step_seconds", "activation_memory"]);
    assert_eq!(json["model"], "model");
    assert_eq!(json["step_seconds"].as_array().unwrap().len(), 3);
    // Tokens are drawn evenly, so a model can do no better than the vocabulary's logarithm.
    let losses: Vec<f64> = json["losses"].as_array().unwrap().iter().map(|l| l.as_f64().unwrap()).collect();
    assert!(losses.len() == 3 && losses.iter().all(|l| (4.0..40.0).contains(l)), "{losses:?}");
    let share = number(&json, "gflops") / number(&json, "best_product_gflops");
    assert!((share - number(&json, "share_of_best_product")).abs() < 1e-9);
    let speed = 128.0 / number(&json, "median_step_seconds");
    assert!((speed - number(&json, "tokens_per_second")).abs() < 1e-6 * speed);
    let parts = json["flops_per_step"].as_object().unwrap();
    let sum: f64 = parts.values().map(|v| v.as_f64().unwrap()).sum();
    assert!((sum / 128.0 / 1e9 - number(&json, "gflop_per_token")).abs() < 1e-12);
    assert_eq!(json["recomputed_layers"], 0);
    assert_well_formed(&std::fs::read_to_string(scratch.path("t.svg")).unwrap());
}

#[test]
fn what_is_trained_does_not_depend_on_memory_and_threads() {
    let scratch = Scratch::new();
    let line = "train --model MODEL --max-steps 2 --batch-size 2 --seq-len 32 --json -";
    let losses = |more: &str| {
        let json: Value = serde_json::from_str(&scratch.succeed(&format!("{line} {more}"))).unwrap();
        (json["losses"].clone(), json["recomputed_layers"].as_u64().unwrap())
    };
    let (kept, none) = losses("--threads 1");
    let (recomputed, some) = losses("--threads 2 --activation-memory 0");
    assert_eq!(kept, recomputed);
    assert!(none == 0 && some > 0, "{none} {some}");
    assert_ne!(losses("--seed 7").0, kept);
    let (narrow, _) = losses("--load-in bf16");
    assert_ne!(narrow, kept);
    let (a, b) = (narrow[0].as_f64().unwrap(), kept[0].as_f64().unwrap());
    assert!((a - b).abs() < 0.1 * b, "{a} {b}");
}

#[test]
fn a_profile_says_where_the_time_of_a_step_goes() {
    let scratch = Scratch::new();
    let line = "train --model MODEL --max-steps 2 --batch-size 2 --seq-len 32 --lora-r 4 --threads 1 --profile";
    let table = scratch.succeed(&format!("{line} --json p.json"));
    assert!(table.contains("where a step's time goes") && table.contains("everything else"), "{table}");
    let parts = scratch.json("p.json")["profile"].as_array().unwrap().clone();
    let of = |name: &str, pass: &str| {
        let found = parts.iter().find(|part| part["operator"] == name && part["pass"] == pass);
        found.unwrap_or_else(|| panic!("{name} {pass} of {parts:?}")).clone()
    };
    for name in ["qkv", "o", "gate_up", "down", "attention", "norm", "rotation", "activation", "head"] {
        for pass in ["forward", "backward"] {
            positive(&of(name, pass), &["seconds_a_step", "share", "least_seconds"]);
        }
    }
    positive(&of("gradient sums", "backward"), &["seconds_a_step"]);
    positive(&of("optimizer", ""), &["seconds_a_step"]);
    let shares: f64 = parts.iter().map(|part| number(part, "share")).sum();
    assert!((shares - 1.0).abs() < 0.01, "{shares}");
    // Without the flag nothing listens.
    scratch.succeed(&format!("{} --json q.json", line.replace(" --profile", "")));
    assert!(scratch.json("q.json").get("profile").is_none());
}

#[test]
fn generation_is_measured_for_each_batch_size() {
    let scratch = Scratch::new();
    let line = "generate --model MODEL --batch-sizes 1,3 --prompt-len 20 --max-new-tokens 5 --repeats 2 --threads 1";
    let table = scratch.succeed(&format!("{line} --json g.json --svg g.svg"));
    assert!(table.contains("prefill tokens/s") && table.contains("decode tokens/s"), "{table}");
    assert!(table.contains("prompts of 20 tokens, answers of 5") && table.contains("peak memory"), "{table}");
    let json = scratch.json("g.json");
    assert_machine(&json, "generate", 1);
    positive(&json, &["best_product_gflops", "peak_memory_bytes", "seconds_to_first_step", "seconds_to_first_token"]);
    let batches = json["batches"].as_array().unwrap();
    assert_eq!(batches.iter().map(|b| number(b, "batch_size")).collect::<Vec<_>>(), [1.0, 3.0]);
    for batch in batches {
        positive(batch, &["prefill_gflops", "decode_gflops", "prefill_tokens_per_second"]);
        let seconds: Vec<f64> =
            batch["decode_seconds"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
        assert_eq!(seconds.len(), 2);
        // Of five tokens the first one comes with the prompt.
        let speed = 4.0 * number(batch, "batch_size") / f64::midpoint(seconds[0], seconds[1]);
        assert!((speed - number(batch, "decode_tokens_per_second")).abs() < 1e-6 * speed);
    }
    assert_well_formed(&std::fs::read_to_string(scratch.path("g.svg")).unwrap());
    let told = scratch.failure("generate --model MODEL --prompt-len 127", 2);
    assert!(told.contains("make 159 tokens, but") && told.contains("takes 128"), "{told}");
    let told = scratch.failure("generate --model MODEL --batch-sizes 1,0", 2);
    assert!(told.contains("--batch-sizes") && told.contains("at least 1"), "{told}");
}

#[test]
fn a_drawing_on_stdout_takes_the_tables_place() {
    let scratch = Scratch::new();
    let svg = scratch.succeed("train --model MODEL --max-steps 1 --batch-size 1 --seq-len 8 --svg -");
    assert_well_formed(&svg);
}

#[test]
fn faults_are_told_on_one_line() {
    let scratch = Scratch::new();
    let told = scratch.failure("train --model nowhere", 1);
    assert!(told.contains("'nowhere'"), "{told}");
    let told = scratch.failure("train --model MODEL", 2);
    assert!(told.contains("--seq-len 256 is longer than the 128 tokens"), "{told}");
    let told = scratch.failure("train --model MODEL --seq-len 1", 2);
    assert!(told.contains("--seq-len") && told.contains("at least 2"), "{told}");
    let told = scratch.failure("train --model MODEL --activation-memory lots", 2);
    assert!(told.contains("expected a number of bytes"), "{told}");
    let told = scratch.failure("matmul --json no/such/folder.json", 1);
    assert!(told.contains("no/such/folder.json"), "{told}");
    let told = scratch.failure("matmul --json a --svg b --svg c", 2);
    assert!(told.contains("--svg"), "{told}");
    let told = scratch.failure("matmul --json same --svg same", 2);
    assert!(told.contains("--svg: 'same' would take the place of 'same', which is written too (--json)"), "{told}");
    let told = scratch.failure("matmul --wide", 2);
    assert!(told.contains("--wide") && told.contains("ft-bench --help"), "{told}");
    let told = scratch.failure("", 2);
    assert!(told.contains("arguments are missing"), "{told}");
    let left: Vec<_> = std::fs::read_dir(scratch.0.path()).unwrap().collect();
    assert!(left.is_empty(), "a failed run leaves nothing: {left:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_and_a_closed_pipe_is_not() {
    let scratch = Scratch::new();
    let told =
        scratch.failure("train --model MODEL --max-steps 1 --batch-size 1 --seq-len 8 --quiet --json /dev/full", 1);
    assert!(told.contains("cannot write '/dev/full'") && told.contains("No space left"), "{told}");
    let mut command = Command::new("sh");
    let line = format!(
        "'{}' train --model '{}' --max-steps 1 --batch-size 1 --seq-len 8 -q | true",
        env!("CARGO_BIN_EXE_ft-bench"),
        model()
    );
    let output = command.arg("-c").arg(line).output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn help_teaches() {
    let scratch = Scratch::new();
    assert!(scratch.succeed("--help").contains("ft-bench train --model"));
    let help = scratch.succeed("train --help");
    for flag in
        ["--max-steps", "--batch-size", "--seq-len", "--lora-r", "--activation-memory", "--load-in", "--json", "--svg"]
    {
        assert!(help.contains(flag), "{flag}");
    }
}

const METRICS: &str = "{\"step\":1,\"loss\":2.5,\"learning_rate\":1e-3}\n{\"step\":2,\"loss\":1.5,\"learning_rate\":5e-4}\n\
                       {\"step\":2,\"eval_loss\":1.75}\n{\"step\":3,\"lo";

#[test]
fn plot_draws_the_curves_of_a_run() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("tax-run")).unwrap();
    std::fs::write(scratch.path("tax-run/metrics.jsonl"), METRICS).unwrap();
    assert_eq!(scratch.succeed("plot tax-run/metrics.jsonl -o loss.svg"), "");
    let svg = std::fs::read_to_string(scratch.path("loss.svg")).unwrap();
    for word in ["tax-run", "loss", "training", "evaluation", "learning rate"] {
        assert!(svg.contains(word), "{word}: {svg}");
    }
    scratch.succeed("plot tax-run/metrics.jsonl -o loss.png");
    let png = std::fs::read(scratch.path("loss.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n") && png.len() > 4000, "{} bytes", png.len());
    assert!(scratch.succeed("plot tax-run/metrics.jsonl --format svg --title mine -o -").contains("mine"));
}

#[test]
fn plot_says_what_it_cannot_draw() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path("a.jsonl"), "{\"step\":1}\n").unwrap();
    std::fs::write(scratch.path("b.jsonl"), "{\"step\":1}\nno\n").unwrap();
    let told = scratch.failure("plot a.jsonl -o x.svg", 1);
    assert!(told.contains("a.jsonl") && told.contains("'eval_loss'"), "{told}");
    let told = scratch.failure("plot b.jsonl -o x.svg", 1);
    assert!(told.contains("b.jsonl, line 2: expected a JSON object"), "{told}");
    let told = scratch.failure("plot a.jsonl -o x.gif", 2);
    assert!(told.contains("'x.gif' ends in neither .svg nor .png"), "{told}");
    let told = scratch.failure("plot nowhere.jsonl -o x.svg", 1);
    assert!(told.contains("cannot read 'nowhere.jsonl'"), "{told}");
    assert!(!scratch.path("x.svg").exists());
}

#[test]
fn the_plain_operators_compute_what_the_fused_ones_do() {
    let scratch = Scratch::new();
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/reference");
    let reference = reference.to_str().unwrap();
    let line = format!("check --device cpu --reference {reference} --only llama-s40,gpt2-s28 --json check.json");
    let table = scratch.succeed(&line);
    assert!(table.contains("attention backward, window") && table.contains("llama-s40-dora"), "{table}");
    let found = scratch.json("check.json");
    assert_eq!(found["device"], "cpu");
    let operators = found["operators"].as_array().unwrap();
    assert!(operators.len() > 60, "{}", operators.len());
    // Where all agree to the last bit nothing was compared.
    assert!(operators.iter().any(|one| number(one, "share") > 0.0));
    assert_eq!(found["models"].as_array().unwrap().len(), 2);
    assert!(found["models"][0]["losses"].as_array().unwrap().len() == 10, "{found}");
}

#[test]
fn what_cannot_be_checked() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("empty")).unwrap();
    let told = scratch.failure("check --device cpu --reference empty -q", 1);
    assert!(told.contains("'empty'") && told.contains("meta.json"), "{told}");
    let told = scratch.failure("train --model MODEL --device cuda:9 -q", 1);
    assert!(told.starts_with("there is no device cuda:9: "), "{told}");
}

#[test]
fn a_shape_without_weights_is_trained() {
    let scratch = Scratch::new();
    let line = "train --model MODEL --random-weights --max-steps 1 --batch-size 1 --seq-len 8 -q --json train.json";
    scratch.succeed(line);
    let found = scratch.json("train.json");
    // Random weights say nothing, so that every token is about as likely as another.
    let loss = found["losses"][0].as_f64().unwrap();
    assert!((loss - 256f64.ln()).abs() < 1.0, "{loss}");
}

#[test]
fn absurd_sizes_are_told_before_anything_is_allocated() {
    let scratch = Scratch::new();
    for (line, word) in [
        ("train --model MODEL --seq-len 100 --batch-size 1000000000", "--batch-size 1000000000"),
        ("train --model MODEL --seq-len 100 --batch-size 4294967295 --no-best-product", "GB are free"),
        ("train --model MODEL --batch-size 18446744073709551615", "4294967295 at most"),
        ("matmul --tokens 4294967295", "--tokens 4294967295"),
        ("matmul --lora-r 4294967295", "--lora-r 4294967295"),
        ("matmul --tokens 99999999999999999999", "at least 1"),
        ("generate --model MODEL --batch-sizes 1000000000 --prompt-len 8 --max-new-tokens 8", "--batch-sizes"),
        ("plan --model MODEL --world 18446744073709551615", "ranks from 1 to 4096"),
        ("plan --model MODEL --world 4294967296", "ranks from 1 to 4096"),
        (
            "plan --model MODEL --per-device-train-batch-size 4294967295 --gradient-accumulation-steps 4294967295",
            "ask for less",
        ),
    ] {
        let told = scratch.failure(line, 2);
        assert!(told.contains(word), "{line}: {told}");
    }
}

/// Each of the ranks is planned for itself, in every way of sharding.
#[test]
fn a_plan_for_very_many_ranks_ends() {
    let scratch = Scratch::new();
    let started = std::time::Instant::now();
    let table = scratch.succeed("plan --model MODEL --world 4096 --batch-size 2 --max-length 64 --json plan.json");
    assert!(table.contains("4096") && started.elapsed().as_secs() < 60, "{:?}: {table}", started.elapsed());
}

#[test]
fn a_plot_over_an_absurd_step_ends() {
    let scratch = Scratch::new();
    let line = |step: &str, loss: &str| format!("{{\"step\": {step}, \"loss\": {loss}}}\n");
    for (i, (step, loss)) in [
        ("1e300", "2.0"),
        ("9007199254740992", "1"),
        ("18446744073709551615", "1"),
        ("2", "1e308"),
        ("-1e308", "1e-320"),
    ]
    .iter()
    .enumerate()
    {
        std::fs::write(scratch.0.path().join("m.jsonl"), line("1", "3.0") + &line(step, loss)).unwrap();
        let began = Instant::now();
        let output = scratch.run(&format!("plot m.jsonl -o {i}.svg"));
        assert!(output.status.success(), "{step}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(began.elapsed().as_secs() < 20, "{step}");
    }
}
