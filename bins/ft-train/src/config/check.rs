//! Arguments that do not go together, before anything is read.

use ft_kernels::quant::Kind;
use ft_model::layers::WeightFormat;

use super::resolved::Resolved;
use crate::args::{Args, Optim, SamplingStrategy};
use ft_io::{NamedValue, Target};
use ft_trainer::engine::evaluation::EVALUATION_KEYS;
use ft_trainer::options::{EXAMINATION_KEYS, Interval, Offload, SaveStrategy, SchedulerType};
use ft_trainer::plan::schedule::Schedule;

/// Refuses what contradicts itself; the message is one line.
pub fn check(args: &Args, resolved: &Resolved) -> Result<(), String> {
    let missing: Vec<&str> = [("--model", &args.model), ("--train", &args.train), ("--output-dir", &args.output_dir)]
        .iter()
        .filter(|(_, path)| path.as_os_str().is_empty())
        .map(|(flag, _)| *flag)
        .collect();
    if !missing.is_empty() {
        return Err(format!("required arguments are missing: {}; give flags or a --config", missing.join(" ")));
    }
    step(args)?;
    adapter(args, resolved)?;
    memory(args, resolved)?;
    rows(args)?;
    if args.training.max_steps <= 0 && args.training.num_train_epochs <= 0.0 {
        return Err("--num-train-epochs 0 trains nothing; give more than 0, or --max-steps".into());
    }
    watch(args)?;
    if args.training.optim_args.is_some() && args.training.optim != Optim::Sgd {
        return Err("--optim-args are momentum, dampening and nesterov of --optim sgd; leave them out".into());
    }
    let options = args.options().map_err(|e| format!("{e:#}"))?;
    Schedule::new(&options.training, 1).map(|_| ()).map_err(|e| format!("{e:#}"))
}

/// A step of more sequences than their numbers can count is a slip of the keyboard.
fn step(args: &Args) -> Result<(), String> {
    let (micro, accumulation) = (args.training.per_device_train_batch_size, args.training.gradient_accumulation_steps);
    let ranks = args.ranks.nproc_per_node as usize;
    if u32::try_from(args.training.sequences_a_step(ranks)).is_ok() {
        return Ok(());
    }
    Err(format!(
        "--per-device-train-batch-size {micro} times --gradient-accumulation-steps {accumulation} times {ranks} ranks \
         makes a step of more than {} sequences; give smaller ones",
        u32::MAX
    ))
}

fn adapter(args: &Args, resolved: &Resolved) -> Result<(), String> {
    let decided = [
        "lora_r",
        "lora_alpha",
        "target_modules",
        "exclude_modules",
        "rank_pattern",
        "alpha_pattern",
        "use_rslora",
        "use_dora",
        "bias",
        "modules_to_save",
        "layers_to_transform",
        "target_parameters",
        "init_lora_weights",
    ];
    match decided.iter().find(|key| resolved.given(key) && !is_default(resolved, key)) {
        Some(key) if args.lora.init_adapter.is_some() => Err(format!(
            "--init-adapter decides {key}: the argument '--{}' cannot be used with it",
            key.replace('_', "-")
        )),
        _ => Ok(()),
    }
}

/// Switches that are off and words that say the default, as a configuration that is fed back has them.
fn is_default(resolved: &Resolved, key: &str) -> bool {
    match resolved.get(key) {
        None => true,
        Some(value) => match key {
            "use_rslora" | "use_dora" => *value == false,
            "bias" => *value == "none",
            "init_lora_weights" => *value == "true",
            _ => false,
        },
    }
}

fn memory(args: &Args, resolved: &Resolved) -> Result<(), String> {
    let m = &args.memory;
    if m.gradient_checkpointing && m.activation_memory.is_some_and(|bytes| bytes > 0) {
        return Err("--gradient-checkpointing is --activation-memory 0; give one of them".into());
    }
    args.precision.check()?;
    let load_in = m.load_in(args.precision.asked());
    if m.offload_optimizer_device == Offload::Disk && args.training.optim == Optim::Sgd {
        return Err(
            "--offload-optimizer-device disk is for adamw and lion: --optim sgd has no moments in a file".into()
        );
    }
    if m.load_in_8bit && m.load_in_4bit {
        return Err("--load-in-8bit and --load-in-4bit exclude each other".into());
    }
    let quantised = [(m.load_in_8bit, WeightFormat::EIGHT_BIT), (m.load_in_4bit, WeightFormat::FOUR_BIT)];
    for (said, short) in quantised {
        if said && load_in.name() != short.name() {
            return Err(format!("--load-in {} and --load-in-{} exclude each other", load_in.name(), short.name()));
        }
    }
    let of_four_bits = ["bnb_4bit_quant_type", "bnb_4bit_use_double_quant"].iter().find(|key| resolved.given(key));
    match of_four_bits {
        Some(key) if !load_in.is_four_bit() && !harmless(args, key) => {
            Err(format!("{key} needs --load-in 4bit, found --load-in {}", load_in.name()))
        }
        _ => Ok(()),
    }
}

/// What a configuration that is fed back says of 4 bits that are not used.
fn harmless(args: &Args, key: &str) -> bool {
    match key {
        "bnb_4bit_quant_type" => args.memory.four_bit.bnb_4bit_quant_type == Kind::Nf4,
        _ => args.memory.four_bit.bnb_4bit_use_double_quant,
    }
}

fn rows(args: &Args) -> Result<(), String> {
    let data = &args.data;
    if data.grouped() && data.packing {
        return Err("--packing makes sequences of one length, so --group-by-length has nothing to group".into());
    }
    let contradicts = match data.train_sampling_strategy {
        Some(SamplingStrategy::Random) => data.group_by_length || data.no_shuffle,
        Some(SamplingStrategy::Sequential) => data.group_by_length,
        Some(SamplingStrategy::GroupByLength) | None => false,
    };
    if contradicts {
        return Err("--train-sampling-strategy says otherwise than --group-by-length or --no-shuffle".into());
    }
    if data.grouped() && !data.shuffled() {
        return Err("--group-by-length shuffles; it excludes --no-shuffle".into());
    }
    Ok(())
}

fn watch(args: &Args) -> Result<(), String> {
    if args.log.log_rows && Target::parse(&args.output_dir) == Target::Stdout {
        return Err("--log-rows writes rows.jsonl beside the adapter, and that goes to a pipe; give a folder".into());
    }
    let watch = &args.watch;
    let when = watch.eval_strategy();
    let evaluates = args.eval.is_some() || watch.eval_generate.is_some();
    if when != Interval::No && !evaluates {
        return Err("--eval-strategy and --eval-steps need rows to evaluate on: --eval FILE".into());
    }
    if watch.eval_on_start && !evaluates {
        return Err("--eval-on-start needs rows to evaluate on: --eval FILE".into());
    }
    if watch.eval_generate.as_ref().is_some_and(|path| path.as_os_str() == "-") {
        return Err("--eval-generate reads a file, and '-' is none".into());
    }
    if watch.early_stopping_threshold > 0.0 && watch.early_stopping_patience.is_none() {
        return Err("--early-stopping-threshold needs --early-stopping-patience".into());
    }
    metric(args)?;
    let needs = [
        (watch.load_best_model_at_end, "--load-best-model-at-end"),
        (watch.early_stopping_patience.is_some(), "--early-stopping-patience"),
        (watch.save_best_k.is_some(), "--save-best-k"),
        (watch.save_strategy == SaveStrategy::Best, "--save-strategy best"),
    ];
    match needs.iter().find(|(asked, _)| *asked) {
        Some((_, flag)) if when == Interval::No => {
            Err(format!("{flag} needs evaluations to compare: --eval-strategy steps or epoch"))
        }
        _ => best(args, when),
    }
}

/// What says which checkpoint is best is among what an evaluation finds.
fn metric(args: &Args) -> Result<(), String> {
    let watch = &args.watch;
    let metric = watch.options().best_metric();
    let compared = watch.load_best_model_at_end
        || watch.early_stopping_patience.is_some()
        || watch.save_best_k.is_some()
        || watch.save_strategy == SaveStrategy::Best;
    if watch.metric_for_best_model.is_none() && !(compared && args.eval.is_none() && watch.eval_generate.is_some()) {
        return Ok(());
    }
    let losses = EVALUATION_KEYS.into_iter().filter(|_| args.eval.is_some() || watch.eval_generate.is_none());
    let answers = EXAMINATION_KEYS.into_iter().filter(|_| watch.eval_generate.is_some());
    let there: Vec<&str> = losses.chain(answers).collect();
    if there.contains(&metric.as_str()) {
        return Ok(());
    }
    let more =
        if EXAMINATION_KEYS.contains(&metric.as_str()) { "; --eval-generate FILE adds exact_match and f1" } else { "" };
    let named = watch.metric_for_best_model.as_deref().unwrap_or("loss");
    Err(format!("--metric-for-best-model {named}: an evaluation has only {}{more}", there.join(", ")))
}

/// The best model can only be kept where one is saved whenever one is evaluated.
fn best(args: &Args, when: Interval) -> Result<(), String> {
    let watch = &args.watch;
    if !watch.load_best_model_at_end {
        return Ok(());
    }
    let agree = match watch.save_strategy {
        SaveStrategy::Best => true,
        SaveStrategy::Steps => when == Interval::Steps,
        SaveStrategy::Epoch => when == Interval::Epoch,
        SaveStrategy::No => false,
    };
    if !agree && watch.save_best_k.is_none() {
        return Err(
            "--load-best-model-at-end needs --save-strategy as --eval-strategy, or best, or --save-best-k".into()
        );
    }
    let (save, eval) = (watch.save_steps, watch.eval_steps.unwrap_or(args.log.logging_steps));
    let by_steps = watch.save_strategy == SaveStrategy::Steps && watch.save_best_k.is_none();
    if by_steps && !is_multiple(save, eval) {
        return Err(format!(
            "--load-best-model-at-end needs --save-steps to be a multiple of --eval-steps, found {save} and {eval}"
        ));
    }
    Ok(())
}

/// Whether `save` is a multiple of `eval`; a share of all steps is none of a number of steps, and the other way round.
/// As Trainer, which compares millionths of shares: 0.3 is three times 0.1.
fn is_multiple(save: f64, eval: f64) -> bool {
    let times = save / eval;
    (save < 1.0) == (eval < 1.0) && times.round() >= 1.0 && (times - times.round()).abs() < 1e-6
}

/// What is to be said of arguments that do nothing beside others.
pub fn notes(args: &Args, resolved: &Resolved) -> Vec<String> {
    let mut notes = Vec::new();
    let m = &args.memory;
    let asked = args.precision.asked();
    if asked.operators().is_some_and(|found| found.products.is_some()) {
        let load_in = m.load_in(asked);
        let kept = if load_in == asked.weight_format() { "in it" } else { "as --load-in says" };
        notes.push(format!("{}: the frozen matrices are kept {kept}", asked.name()));
    }
    if m.offload_optimizer_device == Offload::Cpu {
        notes.push("--offload-optimizer-device cpu is without effect: the optimizer is in the host's memory".into());
    }
    let t = &args.training;
    if t.lr_scheduler_type == SchedulerType::Constant && t.warmup_steps.max(t.warmup_ratio) > 0.0 {
        notes.push(
            "the warm-up is without effect: --lr-scheduler-type constant has none, constant_with_warmup has".into(),
        );
    }
    let unused: &[&str] = match t.optim {
        Optim::Sgd => &["adam_beta1", "adam_beta2", "adam_epsilon"],
        Optim::Lion => &["adam_epsilon"],
        _ => &[],
    };
    let given = unused.iter().filter(|key| resolved.given(key));
    notes.extend(given.map(|key| format!("{key} is without effect: the optimizer has none")));
    notes
}
