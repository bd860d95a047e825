//! What `deepspeed_config` and DeepSpeed's own file say alike.

use super::given::Given;
use super::section::Section;
use super::settings::FileSettings;

/// ZeRO's stage.
pub fn sharding(stage: &Given, settings: &mut FileSettings) -> Result<(), String> {
    let name = match stage.word.as_str() {
        "0" => "none",
        "1" => "zero1",
        "2" => "zero2",
        "3" => "zero3",
        other => return Err(format!("{} is {other}, expected 0, 1, 2 or 3", stage.key)),
    };
    settings.set("sharding", name, stage)
}

/// Where one of parameters and moments is.
pub fn offload_to(given: &Given, argument: &'static str, settings: &mut FileSettings) -> Result<(), String> {
    match given.word.as_str() {
        "none" | "cpu" => settings.set(argument, given.word.clone(), given),
        "nvme" => settings.set(argument, "disk", given),
        other => Err(format!("{} is {other}, expected none, cpu or nvme", given.key)),
    }
}

/// What both of DeepSpeed's files say of a step.
pub fn accumulation_and_clipping(part: &mut Section, settings: &mut FileSettings) -> Result<(), String> {
    for (key, argument) in
        [("gradient_accumulation_steps", "gradient-accumulation-steps"), ("gradient_clipping", "max-grad-norm")]
    {
        if let Some((given, _)) = part.number(key)? {
            settings.fix(argument, given.word.clone(), &given)?;
        }
    }
    Ok(())
}
