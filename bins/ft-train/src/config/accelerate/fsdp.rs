//! `fsdp_config`.

use super::given::Given;
use super::section::Section;
use super::settings::FileSettings;
use super::tables;

/// Reads the part: in the first version a strategy says what is shared out, in the second all is, and only when a layer
/// is given up is asked.
pub fn read(mut part: Section, settings: &mut FileSettings) -> Result<(), String> {
    let second = match part.word("fsdp_version")? {
        None => false,
        Some(version) if version.word == "1" => false,
        Some(version) if version.word == "2" => true,
        Some(version) => return Err(format!("{} is {}, expected 1 or 2", version.key, version.word)),
    };
    let strategy = part.word("fsdp_sharding_strategy")?;
    let reshard = part.word("fsdp_reshard_after_forward")?;
    if second {
        all_shared(strategy, reshard, settings)?;
    } else {
        let missing = || Given { key: "fsdp_sharding_strategy".into(), word: "FULL_SHARD".into() };
        by_strategy(&strategy.or(reshard).unwrap_or_else(missing), settings)?;
    }
    if part.switch("fsdp_offload_params")? == Some(true) {
        let from = Given { key: "fsdp_offload_params".into(), word: "true".into() };
        settings.set("offload-param-device", "cpu", &from)?;
        settings.set("offload-optimizer-device", "cpu", &from)?;
    }
    if part.switch("fsdp_activation_checkpointing")? == Some(true) {
        let from = Given { key: "fsdp_activation_checkpointing".into(), word: "true".into() };
        settings.set("gradient-checkpointing", "true", &from)?;
    }
    part.finish(tables::FSDP, settings)
}

/// The second version.
fn all_shared(strategy: Option<Given>, reshard: Option<Given>, settings: &mut FileSettings) -> Result<(), String> {
    if let Some(strategy) = strategy {
        return Err(format!("{} is of fsdp_version 1; leave it out, or write fsdp_version 1", strategy.key));
    }
    settings.set("sharding", "zero3", &Given { key: "fsdp_version".into(), word: "2".into() })?;
    let Some(reshard) = reshard else { return Ok(()) };
    match reshard.word.to_ascii_lowercase().as_str() {
        on @ ("true" | "false") => settings.set("fsdp-reshard-after-forward", on, &reshard),
        other => Err(format!("{} is {other}, expected true or false with fsdp_version 2", reshard.key)),
    }
}

/// The first version, in which recent files say the strategy under the name of the second one's switch.
fn by_strategy(given: &Given, settings: &mut FileSettings) -> Result<(), String> {
    match given.word.as_str() {
        "FULL_SHARD" | "1" | "true" => {
            settings.set("sharding", "zero3", given)?;
            settings.set("fsdp-reshard-after-forward", "true", given)
        }
        "SHARD_GRAD_OP" | "2" | "false" => settings.set("sharding", "zero2", given),
        "NO_SHARD" | "3" => settings.set("sharding", "none", given),
        "HYBRID_SHARD" | "4" | "HYBRID_SHARD_ZERO2" | "5" => Err(format!(
            "{} {} is not implemented: ranks share among all of them; take FULL_SHARD or SHARD_GRAD_OP",
            given.key, given.word
        )),
        other => Err(format!("{} is {other}, expected FULL_SHARD, SHARD_GRAD_OP or NO_SHARD", given.key)),
    }
}
