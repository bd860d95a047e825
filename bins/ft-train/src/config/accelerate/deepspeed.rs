//! `deepspeed_config`.

use std::path::Path;

use super::found::Found;
use super::section::{Given, Section};
use super::{json, tables};

/// accelerate's stage where nothing names one.
const STAGE: &str = "2";

/// Reads the part, and DeepSpeed's own file where it points to one; `folder` is where the YAML is.
pub fn read(mut part: Section, folder: &Path, found: &mut Found) -> Result<(), String> {
    if let Some(stage) = part.word("zero_stage")? {
        sharding(&stage, found)?;
    }
    offload(&mut part, found)?;
    accumulation_and_clipping(&mut part, found)?;
    let file = part.word("deepspeed_config_file")?.filter(|given| given.word != "none");
    part.finish(tables::DEEPSPEED, found)?;
    if let Some(file) = file {
        let path = folder.join(&file.word);
        let wrong = |message: String| format!("{}: '{}': {message}", file.key, path.display());
        let text = std::fs::read_to_string(&path).map_err(|e| wrong(format!("cannot read it: {e}")))?;
        json::read(&text, found).map_err(wrong)?;
    }
    if found.has("sharding") {
        return Ok(());
    }
    sharding(&Given { key: "zero_stage".into(), word: STAGE.into() }, found)
}

/// ZeRO's stage.
pub fn sharding(stage: &Given, found: &mut Found) -> Result<(), String> {
    let name = match stage.word.as_str() {
        "0" => "none",
        "1" => "zero1",
        "2" => "zero2",
        "3" => "zero3",
        other => return Err(format!("{} is {other}, expected 0, 1, 2 or 3", stage.key)),
    };
    found.set("sharding", name, stage)
}

/// Where parameters and moments are.
pub fn offload(part: &mut Section, found: &mut Found) -> Result<(), String> {
    for (key, argument) in
        [("offload_optimizer_device", "offload-optimizer-device"), ("offload_param_device", "offload-param-device")]
    {
        if let Some(given) = part.word(key)? {
            to(&given, argument, found)?;
        }
    }
    Ok(())
}

/// One of them.
pub fn to(given: &Given, argument: &'static str, found: &mut Found) -> Result<(), String> {
    match given.word.as_str() {
        "none" | "cpu" => found.set(argument, given.word.clone(), given),
        "nvme" => found.set(argument, "disk", given),
        other => Err(format!("{} is {other}, expected none, cpu or nvme", given.key)),
    }
}

/// What both of DeepSpeed's files say of a step.
pub fn accumulation_and_clipping(part: &mut Section, found: &mut Found) -> Result<(), String> {
    for (key, argument) in
        [("gradient_accumulation_steps", "gradient-accumulation-steps"), ("gradient_clipping", "max-grad-norm")]
    {
        if let Some((given, _)) = part.number(key)? {
            found.fix(argument, given.word.clone(), &given)?;
        }
    }
    Ok(())
}
