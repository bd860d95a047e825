//! DeepSpeed's own file.

use super::given::Given;
use super::section::Section;
use super::settings::FileSettings;
use super::tables;
use super::zero::{accumulation_and_clipping, offload_to, sharding};
use crate::config::node::Node;

/// Reads the file's text.
pub fn read(text: &str, settings: &mut FileSettings) -> Result<(), String> {
    let node: Node = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let mut top = Section::new("", node)?;
    zero(top.part("zero_optimization")?, settings)?;
    precision(&mut top, settings)?;
    if !top.has("gradient_clipping") && !settings.has("max-grad-norm") {
        settings.set("max-grad-norm", "0", &absent("gradient_clipping", "0"))?;
    }
    accumulation_and_clipping(&mut top, settings)?;
    if let Some((given, _)) = top.number("train_micro_batch_size_per_gpu")? {
        settings.fix("per-device-train-batch-size", given.word.clone(), &given)?;
    }
    settings.train_batch_size = top.number("train_batch_size")?.map(|(_, number)| number as u64);
    optimizer(top.part("optimizer")?, settings)?;
    scheduler(top.part("scheduler")?, settings)?;
    top.finish(tables::JSON, settings)
}

fn zero(mut part: Section, settings: &mut FileSettings) -> Result<(), String> {
    // Without a stage DeepSpeed shares nothing.
    let stage = part.word("stage")?.unwrap_or(Given { key: "zero_optimization.stage".into(), word: "0".into() });
    sharding(&stage, settings)?;
    let offloads = [
        ("offload_optimizer", "cpu_offload", "offload-optimizer-device"),
        ("offload_param", "cpu_offload_params", "offload-param-device"),
    ];
    for (name, old, argument) in offloads {
        let mut offload = part.part(name)?;
        if let Some(device) = offload.word("device")? {
            offload_to(&device, argument, settings)?;
        }
        offload.finish(tables::OFFLOAD, settings)?;
        // What versions before 0.3.16 called it.
        if part.switch(old)? == Some(true) {
            let from = Given { key: format!("zero_optimization.{old}"), word: "true".into() };
            settings.set(argument, "cpu", &from)?;
        }
    }
    part.finish(tables::ZERO, settings)
}

/// `bf16` and `fp16`: one of them on, both off, or left to our arguments.
fn precision(top: &mut Section, settings: &mut FileSettings) -> Result<(), String> {
    let (mut off, mut ours) = (None, false);
    for (name, precision) in [("bf16", "bf16"), ("bfloat16", "bf16"), ("fp16", "fp16")] {
        let mut part = top.part(name)?;
        let said = !part.is_empty();
        let enabled = part.switch("enabled")?;
        part.finish(if precision == "fp16" { tables::FP16 } else { tables::BF16 }, settings)?;
        let given = |word: &str| Given { key: format!("{name}.enabled"), word: word.into() };
        match enabled {
            Some(true) => settings.fix("precision", precision, &given("true"))?,
            Some(false) => off = off.or(Some(given("false"))),
            // auto: ours decide.
            None => ours = ours || said,
        }
    }
    match off {
        Some(given) if !ours && !settings.has("precision") => settings.fix("precision", "f32", &given),
        _ => Ok(()),
    }
}

fn optimizer(mut part: Section, settings: &mut FileSettings) -> Result<(), String> {
    if let Some(given) = part.word("type")? {
        let optim = match given.word.to_ascii_lowercase().as_str() {
            // DeepSpeed's Adam is AdamW unless adam_w_mode says otherwise, which is refused below.
            "adamw" | "adam" => "adamw_torch",
            "lion" => "lion",
            "sgd" => "sgd",
            _ => {
                return Err(format!("{} {} is not implemented; expected AdamW, Lion or SGD", given.key, given.word));
            }
        };
        settings.set("optim", optim, &given)?;
    }
    let mut params = part.part("params")?;
    for (key, argument) in [("lr", "learning-rate"), ("eps", "adam-epsilon"), ("weight_decay", "weight-decay")] {
        if let Some((given, _)) = params.number(key)? {
            settings.fix(argument, given.word.clone(), &given)?;
        }
    }
    if let Some([first, second]) = params.pair("betas")? {
        settings.fix("adam-beta1", first.word.clone(), &first)?;
        settings.fix("adam-beta2", second.word.clone(), &second)?;
    }
    params.finish(tables::OPTIMIZER, settings)?;
    part.finish(&[], settings)
}

fn scheduler(mut part: Section, settings: &mut FileSettings) -> Result<(), String> {
    let kind = part.word("type")?;
    let mut params = part.part("params")?;
    let log = warms_up_by_logarithm(&mut params)?;
    if let Some(given) = kind {
        let schedule = match (given.word.as_str(), log) {
            ("WarmupLR", false) => "constant_with_warmup",
            ("WarmupDecayLR", false) => "linear",
            ("WarmupLR", true) => "constant_with_log_warmup",
            ("WarmupDecayLR", true) => "linear_with_log_warmup",
            (other, _) => {
                return Err(format!(
                    "{} {other} is not implemented; expected WarmupLR or WarmupDecayLR, or none, and --lr-scheduler-type",
                    given.key
                ));
            }
        };
        settings.set("lr-scheduler-type", schedule, &given)?;
        if !params.has("warmup_num_steps") {
            settings.set("warmup-steps", "1000", &absent("scheduler.params.warmup_num_steps", "1000"))?;
        }
    }
    for (key, argument) in [("warmup_max_lr", "learning-rate"), ("warmup_num_steps", "warmup-steps")] {
        if let Some((given, _)) = params.number(key)? {
            settings.fix(argument, given.word.clone(), &given)?;
        }
    }
    settings.total_steps = params.number("total_num_steps")?.map(|(_, number)| number as u64);
    params.finish(tables::SCHEDULER, settings)?;
    part.finish(&[], settings)
}

/// `warmup_type`, whose default is log.
fn warms_up_by_logarithm(params: &mut Section) -> Result<bool, String> {
    match params.word("warmup_type")? {
        None => Ok(true),
        Some(given) if given.word == "log" => Ok(true),
        Some(given) if given.word == "linear" => Ok(false),
        Some(given) => Err(format!("{} is {}, expected log or linear", given.key, given.word)),
    }
}

/// A key that is not there, and what DeepSpeed takes then; a flag wins over it.
fn absent(key: &str, default: &str) -> Given {
    Given { key: key.into(), word: format!("is absent, which is {default} in DeepSpeed") }
}
