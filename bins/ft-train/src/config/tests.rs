use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::args::Optim;
use ft_trainer::options::{Interval, SchedulerType};

const FIXED: &str = "--model m --train t -o o";

/// What is read of a line.
fn read(line: &str) -> Result<Cli, String> {
    let words: Vec<OsString> = ["ft-train"].into_iter().chain(line.split_whitespace()).map(Into::into).collect();
    Cli::read(&words).map_err(|e| said(&e))
}

/// What is read of a file and of flags.
fn configured(name: &str, text: &str, flags: &str) -> Result<Cli, String> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    read(&format!("--config {} {flags}", path.display()))
}

fn fault(line: &str) -> String {
    read(&format!("{FIXED} {line}")).unwrap_err()
}

#[test]
fn flags_are_read_as_hugging_faces_parser_reads_them() {
    let cli = read(&format!(
        "{FIXED} --learning_rate 1e-3 --learning-rate 2e-3 --bf16 --packing true --gradient_checkpointing False \
         --target_modules q_proj v_proj --report_to tensorboard jsonl --max_length 64 --r 4 --load_in_4bit"
    ));
    let args = cli.unwrap().args;
    assert_eq!(args.training.learning_rate, 2e-3, "the last one counts");
    assert!(args.precision.bf16 && args.data.packing && !args.memory.gradient_checkpointing);
    assert_eq!(args.lora.target_modules, ["q_proj", "v_proj"]);
    assert_eq!((args.log.report_to.len(), args.data.max_seq_length, args.lora.lora_r), (2, Some(64), 4));
    assert_eq!(args.memory.load_in(args.precision.asked()), ft_model::layers::WeightFormat::FOUR_BIT);
}

#[test]
fn the_three_formats_say_the_same() {
    let yaml = "model: m\ntrain: t\noutput_dir: o\n# a comment\ntraining:\n  learning_rate: 2e-4\n  optim: paged_adamw_8bit\n\
                lora:\n  target_modules: [q_proj, v_proj]\nlr_scheduler_type: cosine_with_restarts\n\
                lr_scheduler_kwargs: {num_cycles: 2}\neval_steps: null\nbf16: true\nseed: 7\n";
    let toml = "model = 'm'\ntrain = 't'\noutput-dir = 'o'\nlr_scheduler_type = 'cosine_with_restarts'\nbf16 = true\n\
                seed = 7\nlr_scheduler_kwargs = { num_cycles = 2 }\n[training]\nlearning_rate = 2e-4\n\
                optim = 'paged_adamw_8bit'\n[lora]\ntarget_modules = ['q_proj', 'v_proj']\n";
    let json = r#"{"model": "m", "train": "t", "output_dir": "o", "learning_rate": 0.0002, "optim": "paged_adamw_8bit",
        "lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 2}, "bf16": true, "seed": 7,
        "target_modules": ["q_proj", "v_proj"]}"#;
    let all =
        [("a.yaml", yaml), ("a.toml", toml), ("a.json", json)].map(|(name, text)| configured(name, text, "").unwrap());
    for cli in &all {
        assert_eq!(cli.resolved.to_json(), all[0].resolved.to_json());
        assert_eq!(cli.resolved.origins()["learning_rate"], "file");
    }
    let args = &all[0].args;
    assert_eq!((args.training.learning_rate, args.training.optim), (2e-4, Optim::PagedAdamW8bit));
    assert_eq!(args.training.lr_scheduler_type, SchedulerType::CosineWithRestarts);
    assert_eq!(args.lora.target_modules, ["q_proj", "v_proj"]);
    assert_eq!(all[0].resolved.to_json()["target_modules"], json!(["q_proj", "v_proj"]));
    assert_eq!(all[0].resolved.to_json()["lr_scheduler_kwargs"], json!({"num_cycles": 2}));
    assert_eq!(all[0].resolved.to_json()["eval_steps"], Value::Null);
}

#[test]
fn flags_win_over_the_file_and_the_origin_says_so() {
    let text = "learning_rate: 1e-4\nmax_steps: 5\npacking: true\nmodel: m\n";
    let cli = configured("a.yaml", text, "--train t -o o --learning-rate 3e-4 --packing false").unwrap();
    assert_eq!((cli.args.training.learning_rate, cli.args.training.max_steps), (3e-4, 5));
    assert!(!cli.args.data.packing);
    let origins = cli.resolved.origins();
    let of = |key: &str| origins[key].as_str().unwrap();
    assert_eq!((of("learning_rate"), of("max_steps"), of("seed"), of("packing")), ("flag", "file", "default", "flag"));
}

#[test]
fn what_is_printed_can_be_fed_back() {
    let line = "--lora-r 4 --learning-rate 1e-7 --adam-epsilon 1e-12 --rank_pattern {\"q_proj\":2} --eval e --eval-steps 0.25 \
                --resume-from-checkpoint --target-modules .*\\.(q|v)_proj --fp16_opt_level O1 --activation-memory 2GB \
                --layers-to-transform 0 1 --greater-is-better false --save-steps 1e3";
    let first = read(&format!("{FIXED} {line}")).unwrap();
    let yaml = first.resolved.to_yaml();
    assert!(yaml.lines().any(|l| l.starts_with("learning_rate: 0.0000001 ") && l.ends_with("# flag")), "{yaml}");
    assert!(yaml.lines().any(|l| l.starts_with("seed: 42 ") && l.ends_with("# default")), "{yaml}");
    let again = configured("again.yaml", &yaml, "").unwrap();
    assert_eq!(again.resolved.to_json(), first.resolved.to_json());
    let json = configured("again.json", &first.resolved.to_json().to_string(), "").unwrap();
    assert_eq!(json.resolved.to_json(), first.resolved.to_json());
    assert_eq!(format!("{:?}", json.args.training), format!("{:?}", first.args.training));
    assert_eq!(format!("{:?}", json.args.lora), format!("{:?}", first.args.lora));
    assert_eq!(again.args.resume_from_checkpoint, Some(PathBuf::new()));
    let adapted = read(&format!("{FIXED} --init-adapter a")).unwrap();
    configured("again.json", &adapted.resolved.to_json().to_string(), "").unwrap();
}

#[test]
fn faults_of_a_file_name_the_file_the_key_and_what_would_do() {
    let fault = |name: &str, text: &str| configured(name, text, FIXED).unwrap_err();
    let told = fault("a.yaml", "learning_rat: 1");
    assert!(told.contains("a.yaml': unknown key 'learning_rat'; did you mean 'learning_rate'?"), "{told}");
    let told = fault("a.yaml", "traning:\n  seed: 1\n");
    assert!(told.contains("unknown key 'traning'"), "{told}");
    let told = fault("a.yaml", "learning_rate: fast\n");
    assert!(told.contains("a.yaml': invalid value 'fast' for '--learning-rate <LR>'"), "{told}");
    let told = fault("a.yaml", "seed: [1, 2]\n");
    assert!(told.contains("'seed': expected a whole number, found a list of 2"), "{told}");
    let told = fault("a.json", r#"{"seed": 1, "seed": 2}"#);
    assert!(told.contains("'seed' stands there twice"), "{told}");
    let told = fault("a.toml", "max_length = 4\nmax_seq_length = 5\n");
    assert!(told.contains("'max_length' and 'max_seq_length' are the same argument"), "{told}");
    assert!(fault("a.yaml", "seed: 1\n  lora_r: 2\n").contains("a.yaml': "));
    assert!(fault("a.txt", "").contains(".yaml, .yml, .toml or .json"));
    assert!(fault("a.yaml", "- 1\n").contains("expected names and values, found a list of 1"));
    assert!(fault("a.yaml", "quiet: true\n").contains("write log_level: warning"));
    assert!(read("--config /nowhere.yaml").unwrap_err().contains("cannot read '/nowhere.yaml'"));
}

/// Every argument of the classes that recipes are written for is one of ours or is known to be none.
#[test]
fn every_argument_of_the_peers_is_known() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/recipes/arguments.json");
    let all: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let command = argv::command();
    let mut of_theirs = BTreeSet::new();
    for (class, arguments) in all["arguments"].as_object().unwrap() {
        for name in arguments.as_object().unwrap().keys() {
            assert!(argv::find(&command, name).is_some(), "{class}.{name}");
            of_theirs.insert(name.as_str());
        }
    }
    assert!(of_theirs.len() > 180, "{}", of_theirs.len());
}

/// Where a default is another than the peers', it stands here.
#[test]
fn defaults_are_those_of_the_peers_but_for_these() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/recipes/arguments.json");
    let all: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let ours = read(FIXED).unwrap().resolved.to_json();
    let mut other = BTreeSet::new();
    let classes = all["arguments"].as_object().unwrap();
    for (name, theirs) in ["SFTConfig", "LoraConfig"].iter().flat_map(|class| classes[*class].as_object().unwrap()) {
        let Some(own) = ours.get(name) else { continue };
        let same = own == theirs || own.as_f64().is_some_and(|x| theirs.as_f64() == Some(x));
        let empty = |value: &Value| value.is_null() || *value == json!({}) || *value == json!(false);
        let word = |value: &Value| value.to_string().trim_matches('"').to_ascii_lowercase();
        if !(same || empty(own) && empty(theirs)) && word(own) != word(theirs) {
            other.insert(name.as_str());
        }
    }
    let known = [
        // Null there says what auto says here.
        "ddp_backend",
        // Ten minutes: half an hour is long to wait for a rank that is gone.
        "ddp_timeout",
        // Null here says what their default says, or what follows from another argument.
        "eval_strategy",
        // trl's, which is slower and, in the budget of activations, needless.
        "gradient_checkpointing",
        // That of LoRA's recipes; trl's 2e-5 is one for training in full.
        "learning_rate",
        // trl's ModelConfig's, as lora_r's 16.
        "lora_alpha",
        // Null here says theirs, or with --init-adapter what that one has.
        "lora_dropout",
        // The same update; fused is how it is computed.
        "optim",
        "output_dir",
        "report_to",
        "target_modules",
        "train_sampling_strategy",
    ];
    assert_eq!(other.into_iter().collect::<Vec<_>>(), known);
}

#[test]
fn what_has_no_use_here_is_accepted_with_a_reason_or_refused() {
    let cli =
        read(&format!("{FIXED} --dataloader_num_workers 4 --torch_compile false --hub-model-id x/y --tf32")).unwrap();
    assert_eq!(cli.notes.len(), 3, "{:?}", cli.notes);
    assert!(
        cli.notes[0].starts_with("dataloader_num_workers 4 is accepted, without effect: rows are in memory"),
        "{:?}",
        cli.notes
    );
    assert!(fault("--push-to-hub").contains("push_to_hub true is refused: this program sends nothing over a network"));
    assert!(fault("--label_smoothing_factor 0.1").contains("refused"));
    read(&format!("{FIXED} --label_smoothing_factor 0.0 --push_to_hub False --fsdp")).unwrap_err();
    assert!(fault("--per_gpu_train_batch_size 4").contains("write per_device_train_batch_size"));
    let recipe =
        "gradient_checkpointing_kwargs:\n  use_reentrant: false\ndataset_kwargs: {a: [1]}\nhub_token: null\nfsdp: ''\n";
    let cli = configured("a.yaml", recipe, FIXED).unwrap();
    assert_eq!(cli.notes.len(), 2, "null and nothing say nothing: {:?}", cli.notes);
}

#[test]
fn use_cpu_is_a_device_in_every_build() {
    use ft_model::device::DeviceName;
    let device = |line: &str| read(&format!("{FIXED} {line}")).unwrap().args.device.device;
    assert_eq!(device(""), DeviceName::Auto);
    for line in ["--use-cpu", "--use_cpu true", "--no_cuda", "--use-cpu --device cpu"] {
        assert_eq!(device(line), DeviceName::Cpu, "{line}");
    }
    assert_eq!(device("--use-cpu false --device cuda:1"), DeviceName::Cuda(1));
    assert_eq!(configured("a.yaml", "use_cpu: true\n", FIXED).unwrap().args.device.device, DeviceName::Cpu);
    assert!(fault("--use-cpu --device cuda:1").contains("--use-cpu and --device cuda:1 contradict each other"));
}

#[test]
fn what_contradicts_itself_is_refused() {
    for (line, expected) in [
        ("--gradient-checkpointing --activation-memory 1GB", "give one of them"),
        ("--bf16 --fp16", "exclude each other"),
        ("--precision f32 --bf16", "--precision f32 and --bf16 exclude each other"),
        ("--mixed-precision bf16 --fp16", "--precision bf16 and --fp16 exclude each other"),
        ("--precision tf32 --tf32 false", "exclude each other"),
        ("--offload-optimizer-device nvme --optim sgd", "no moments in a file"),
        ("--load-in f32 --load-in-4bit", "exclude each other"),
        ("--bnb-4bit-use-double-quant false", "needs --load-in 4bit"),
        ("--packing --group-by-length", "nothing to group"),
        ("--group-by-length --no-shuffle", "--no-shuffle"),
        ("--train-sampling-strategy sequential --group-by-length", "says otherwise"),
        ("--eval-steps 5", "--eval FILE"),
        ("--eval e --early-stopping-patience 2", "--eval-strategy steps or epoch"),
        (
            "--eval e --eval-steps 10 --load-best-model-at-end --save-steps 15",
            "multiple of --eval-steps, found 15 and 10",
        ),
        ("--eval e --eval-strategy epoch --load-best-model-at-end", "--save-strategy as --eval-strategy"),
        ("--lr-scheduler-type warmup_stable_decay", "num_decay_steps"),
        ("--init-adapter a --lora-r 4", "cannot be used with"),
        ("--packing-strategy wrapped", "use bfd"),
        ("--optim-args momentum=0.9", "of --optim sgd"),
        ("--eval-on-start", "--eval FILE"),
        ("--early-stopping-threshold 0.1", "needs --early-stopping-patience"),
        ("--report-to wandb", "tensorboard, jsonl or none"),
        ("--optim galore_adamw", "adamw_8bit"),
        ("--eval-steps 2.5", "a number below 1"),
    ] {
        let told = fault(line);
        assert!(told.contains(expected), "{line}: {told}");
    }
    let told = read("--train t").unwrap_err();
    assert!(told.contains("required arguments are missing: --model --output-dir"), "{told}");
    let cli =
        read(&format!("{FIXED} --optim sgd --adam-beta1 0.8 --warmup-steps 4 --lr-scheduler-type constant")).unwrap();
    assert_eq!(cli.notes.len(), 2, "{:?}", cli.notes);
    let cli = read(&format!("{FIXED} --eval e --eval-steps 5 --load-best-model-at-end --save-steps 10")).unwrap();
    assert_eq!(cli.args.watch.eval_strategy(), Interval::Steps);
}

#[test]
fn the_schema_names_every_key_with_its_type() {
    let schema = schema::schema(&argv::command());
    let of = |key: &str| &schema["properties"][key];
    assert_eq!(of("learning_rate")["type"], json!(["number", "null"]));
    assert_eq!((&of("packing")["type"], &of("packing")["default"]), (&json!(["boolean", "null"]), &json!(false)));
    assert_eq!(of("target_modules")["items"], json!({"type": "string"}));
    assert!(of("optim")["enum"].as_array().unwrap().contains(&json!("paged_adamw_8bit")));
    assert!(of("push_to_hub")["description"].as_str().unwrap().starts_with("only false is accepted"));
    for entry in read(FIXED).unwrap().resolved.to_json().as_object().unwrap().keys() {
        assert!(!of(entry).is_null(), "{entry}");
    }
    assert_eq!(of("config"), &Value::Null);
}
