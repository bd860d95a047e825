//! `deepspeed_config`.

use std::path::Path;

use super::given::Given;
use super::section::Section;
use super::settings::FileSettings;
use super::zero::{accumulation_and_clipping, offload_to, sharding};
use super::{json, tables};

/// accelerate's stage where nothing names one.
const STAGE: &str = "2";

/// Reads the part, and DeepSpeed's own file where it points to one; `folder` is where the YAML is.
pub fn read(mut part: Section, folder: &Path, settings: &mut FileSettings) -> Result<(), String> {
    if let Some(stage) = part.word("zero_stage")? {
        sharding(&stage, settings)?;
    }
    offload(&mut part, settings)?;
    accumulation_and_clipping(&mut part, settings)?;
    let file = part.word("deepspeed_config_file")?.filter(|given| given.word != "none");
    part.finish(tables::DEEPSPEED, settings)?;
    if let Some(file) = file {
        let path = folder.join(&file.word);
        let wrong = |message: String| format!("{}: '{}': {message}", file.key, path.display());
        let text = std::fs::read_to_string(&path).map_err(|e| wrong(format!("cannot read it: {e}")))?;
        json::read(&text, settings).map_err(wrong)?;
    }
    if settings.has("sharding") {
        return Ok(());
    }
    sharding(&Given { key: "zero_stage".into(), word: STAGE.into() }, settings)
}

/// Where parameters and moments are.
pub fn offload(part: &mut Section, settings: &mut FileSettings) -> Result<(), String> {
    for (key, argument) in
        [("offload_optimizer_device", "offload-optimizer-device"), ("offload_param_device", "offload-param-device")]
    {
        if let Some(given) = part.word(key)? {
            offload_to(&given, argument, settings)?;
        }
    }
    Ok(())
}
