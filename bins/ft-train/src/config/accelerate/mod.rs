//! `--accelerate-config FILE`: what `accelerate config` writes, in our arguments.
//!
//! Every key is one of our arguments, or nothing follows from it here and words say why, or it is refused.

mod agree;
mod deepspeed;
mod fsdp;
mod given;
mod json;
mod section;
mod settings;
mod tables;
mod zero;

use std::path::{Path, PathBuf};

use clap::ArgMatches;

use self::given::Given;
use self::section::Section;
use self::settings::FileSettings;
use super::node::Node;
use crate::environment;

/// What a file says.
#[derive(Debug)]
pub struct Accelerate {
    /// The file's name.
    file: String,
    found: FileSettings,
    /// Ranks that something else has started.
    launched: Option<usize>,
}

impl Accelerate {
    /// The file that `--accelerate-config` names.
    ///
    /// # Errors
    /// One line that names the file, the key, what was expected and what was found.
    pub fn named(flags: &ArgMatches) -> Result<Option<Self>, String> {
        let Some(path) = flags.get_one::<PathBuf>("accelerate_config") else { return Ok(None) };
        let launched = environment::launched().map_err(|error| format!("{error:#}"))?;
        Self::read(path, launched).map(Some)
    }

    /// Reads a file for a process that is one of `launched` ranks, or that nothing but its user has started.
    ///
    /// # Errors
    /// As [`Self::named`].
    pub fn read(path: &Path, launched: Option<usize>) -> Result<Self, String> {
        let mut all = Self { file: path.display().to_string(), found: FileSettings::default(), launched };
        let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read '{}': {e}", all.file))?;
        let node: Node = match path.extension().and_then(|e| e.to_str()) {
            Some("json") => serde_json::from_str(&text).map_err(|e| all.wrong(&e.to_string()))?,
            _ => serde_norway::from_str(&text).map_err(|e| all.wrong(&e.to_string()))?,
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        let read = Section::new("", node).and_then(|top| top_level(top, folder, launched, &mut all.found));
        read.map_err(|message| all.wrong(&message))?;
        Ok(all)
    }

    /// A fault of the file, in one line.
    pub fn wrong(&self, message: &str) -> String {
        format!("'{}': {}", self.file, message.trim())
    }

    /// What it says as it would be typed.
    pub fn words(&self) -> impl Iterator<Item = String> {
        self.found.settings.iter().map(|setting| format!("--{}={}", setting.argument, setting.value))
    }

    /// Which arguments those are, as files call them.
    pub fn keys(&self) -> Vec<String> {
        self.found.settings.iter().map(|setting| setting.argument.replace('-', "_")).collect()
    }

    /// What nothing follows from, a line a reason.
    pub fn notes(&self) -> Vec<String> {
        self.found.notes().map(|note| self.wrong(&note)).collect()
    }
}

/// How processes work together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Alone,
    Cpus,
    Gpus,
    DeepSpeed,
    Fsdp,
}

fn top_level(mut top: Section, folder: &Path, launched: Option<usize>, found: &mut FileSettings) -> Result<(), String> {
    let kind = kind(&mut top)?;
    ranks(&mut top, kind, launched, found)?;
    device(&mut top, kind, found)?;
    precision(&mut top, found)?;
    let deepspeed = top.part("deepspeed_config")?;
    let fsdp = top.part("fsdp_config")?;
    for (part, name, of) in
        [(&deepspeed, "deepspeed_config", (Kind::DeepSpeed, "DEEPSPEED")), (&fsdp, "fsdp_config", (Kind::Fsdp, "FSDP"))]
    {
        if kind != of.0 && !part.is_empty() {
            return Err(format!("{name} needs distributed_type {}; change the one or leave out the other", of.1));
        }
    }
    match kind {
        Kind::DeepSpeed => deepspeed::read(deepspeed, folder, found)?,
        Kind::Fsdp => fsdp::read(fsdp, found)?,
        Kind::Alone | Kind::Cpus | Kind::Gpus => {}
    }
    top.finish(tables::TOP, found)
}

fn kind(top: &mut Section) -> Result<Kind, String> {
    let Some(given) = top.word("distributed_type")? else {
        return Err("distributed_type is missing; expected a file that 'accelerate config' wrote".into());
    };
    match given.word.as_str() {
        "NO" | "no" | "false" => Ok(Kind::Alone),
        "MULTI_CPU" => Ok(Kind::Cpus),
        "MULTI_GPU" => Ok(Kind::Gpus),
        "DEEPSPEED" => Ok(Kind::DeepSpeed),
        "FSDP" => Ok(Kind::Fsdp),
        other => Err(format!(
            "distributed_type {other} is not implemented; expected NO, MULTI_CPU, MULTI_GPU, DEEPSPEED or FSDP"
        )),
    }
}

/// The number of ranks: what was launched must be what the file says, and nothing else starts more than one machine's.
fn ranks(top: &mut Section, kind: Kind, launched: Option<usize>, found: &mut FileSettings) -> Result<(), String> {
    let machines = top.number("num_machines")?.map_or(1.0, |(_, number)| number);
    let Some((given, processes)) = top.number("num_processes")? else { return Ok(()) };
    if kind == Kind::Alone && processes > 1.0 {
        return Err(format!("distributed_type NO is one process, found num_processes {processes}"));
    }
    match launched {
        // accelerate's own default, for what a scheduler tells.
        _ if processes < 0.0 => Ok(()),
        Some(world) if processes.total_cmp(&(world as f64)).is_ne() => Err(format!(
            "num_processes is {processes}, but {world} ranks have been launched; both must be the number of ranks"
        )),
        Some(_) => Ok(()),
        None if machines > 1.0 => Err(format!(
            "num_machines {machines}: start ft-train on each of them with torchrun --no-python, mpirun or srun, which \
             tell each rank its place"
        )),
        None => found.fix("nproc-per-node", given.word.clone(), &given),
    }
}

fn device(top: &mut Section, kind: Kind, found: &mut FileSettings) -> Result<(), String> {
    let use_cpu = top.switch("use_cpu")?;
    let ids = top.word("gpu_ids")?;
    if use_cpu == Some(true) || kind == Kind::Cpus {
        let from = Given { key: "use_cpu".into(), word: "true".into() };
        return found.set("device", "cpu", &from);
    }
    match ids {
        None => Ok(()),
        Some(ids) if ids.word == "all" => {
            found.note("gpu_ids all".into(), tables::EACH_ITS_GPU);
            Ok(())
        }
        Some(ids) if ids.word.parse::<usize>().is_ok() => found.set("device", format!("cuda:{}", ids.word), &ids),
        Some(ids) => Err(format!("gpu_ids {}: set CUDA_VISIBLE_DEVICES={0} instead, and write all", ids.word)),
    }
}

fn precision(top: &mut Section, found: &mut FileSettings) -> Result<(), String> {
    // What very old versions wrote.
    let old = top.switch("fp16")?.filter(|on| *on);
    let old = old.map(|_| Given { key: "fp16".into(), word: "true".into() });
    if let Some(old) = old {
        found.fix("precision", "fp16", &old)?;
    }
    let Some(given) = top.word("mixed_precision")? else { return Ok(()) };
    match given.word.to_ascii_lowercase().as_str() {
        "no" | "false" => found.fix("precision", "f32", &given),
        "fp16" => found.fix("precision", "fp16", &given),
        "bf16" => found.fix("precision", "bf16", &given),
        other => Err(format!("mixed_precision {other} is not implemented; expected no, fp16 or bf16")),
    }
}

#[cfg(test)]
mod tests;
