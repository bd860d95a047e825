//! `run.json`: what a run is, from its first moment on, and what came of it.

use std::path::{Path, PathBuf};

use ft_text::Form;
use serde_json::{Value, json};

use crate::engine::setup::Setup;
use crate::error::Result;
use crate::json::{Entry, entry, write_json};
use crate::options::{Configuration, Options};
use crate::output::digest::{InputFile, ModelDigests};
use crate::output::identity::{Identity, Resume};

/// The file's name in the output folder.
pub const FILE: &str = "run.json";

/// Everything about a run that does not change while it runs.
pub struct RunRecord {
    /// None where nothing is written but the adapter, to a pipe.
    digests: Option<ModelDigests>,
    train: InputFile,
    eval: Option<InputFile>,
    tokenizer: Option<String>,
    pub model: PathBuf,
    /// How a prompt must look for what is learned.
    pub form: Form,
    initial_adapter: String,
    pub configuration: Configuration,
    seed: u64,
    threads: usize,
    /// Ranks that train together, and what carries their bytes.
    rank: usize,
    world_size: usize,
    backend: &'static str,
    /// What computes, as reports call it.
    device: String,
    /// What products are made in, as `--precision` calls it.
    precision: &'static str,
    /// Steps that the schedule is laid out for.
    pub max_steps: u64,
    resumed: Vec<Resume>,
}

impl RunRecord {
    /// Of a run that is ready to start; `kept` says whether there is a folder for it.
    ///
    /// # Errors
    /// If the adapter's digest cannot be taken.
    pub fn new(options: &Options, configuration: Configuration, setup: &Setup, kept: bool) -> Result<Self> {
        let input = |data: &crate::data::dataset::Dataset| InputFile {
            name: data.name.clone(),
            bytes: None,
            sha256: data.sha256.clone(),
        };
        Ok(Self {
            digests: kept.then(|| ModelDigests::start(&options.model)),
            train: input(&setup.train),
            eval: setup.eval.as_ref().map(input),
            tokenizer: setup.tokenizer.clone(),
            model: options.model.clone(),
            form: setup.train.form.clone(),
            initial_adapter: setup.adapter.sha256()?,
            configuration,
            seed: options.training.seed,
            threads: options.threads,
            rank: setup.ranks.rank(),
            world_size: setup.ranks.world(),
            backend: setup.ranks.kind(),
            device: ft_model::device::describe(setup.source.device()),
            precision: setup.compute.precision.name(),
            max_steps: 0,
            resumed: Vec::new(),
        })
    }

    /// What a checkpoint says of its run. Waits for the digests of the model.
    ///
    /// # Errors
    /// If a file of the model cannot be read.
    pub fn identity(&self, max_steps: u64) -> Result<Identity> {
        let model = self.digests.as_ref().map_or(Ok(&[][..]), ModelDigests::get)?;
        Ok(Identity {
            train_sha256: self.train.sha256.clone(),
            initial_adapter_sha256: self.initial_adapter.clone(),
            model: model.to_vec(),
            max_steps,
            world_size: self.world_size as u64,
            resumed: self.resumed.clone(),
            configuration: self.configuration.values.clone(),
            without_effect: self.configuration.without_effect.clone(),
        })
    }

    /// What the checkpoint in `path` says of its run, which must be this one. The first rank, which knows the model's
    /// digests, holds it against this run.
    ///
    /// # Errors
    /// Names what differs.
    pub fn require_same(&self, path: &Path) -> Result<Identity> {
        let saved = Identity::load(path)?;
        if self.rank > 0 {
            return Ok(saved);
        }
        self.identity(saved.max_steps)?.require_same(&saved, &format!("'{}'", path.display()))?;
        Ok(saved)
    }

    /// The run goes on after `step` of a run that was `saved` until then.
    pub fn resumed(&mut self, step: u64, saved: Identity) {
        self.resumed = saved.resumed;
        self.resumed.push(Resume { after_step: step, max_steps_before: saved.max_steps });
    }

    /// Writes the file, with `status` and what else is known by now.
    ///
    /// # Errors
    /// If a file of the model cannot be read, or the record not written.
    pub fn write(&self, output: Option<&Path>, status: &str, found: &Entry) -> Result<()> {
        let Some(output) = output else { return Ok(()) };
        let model = if status == "running" { None } else { Some(self.identity(0)?.model) };
        let mut all = entry(json!({
            "tool": "ft-train",
            "version": env!("CARGO_PKG_VERSION"),
            "status": status,
            "arguments": self.configuration.typed,
            "train": self.train,
            "eval": self.eval,
            "model": model,
            "tokenizer_sha256": self.tokenizer,
            "initial_adapter_sha256": self.initial_adapter,
            "seed": self.seed,
            "max_steps": self.max_steps,
            "resumed": self.resumed,
            "threads": self.threads,
            "world_size": self.world_size,
            "backend": self.backend,
            "device": self.device,
            "precision": self.precision,
            "instruction_set": ft_kernels::gemm::instruction_set(),
            "platform": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            "cpu_features": cpu_features(),
            "configuration": self.configuration.values,
            "origins": self.configuration.origins,
        }));
        all.extend(found.clone());
        write_json(&output.join(FILE), &Value::Object(all))
    }
}

/// What this processor can do of what numeric code asks for.
fn cpu_features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! there {
            ($($name:tt),*) => { [$(($name, std::arch::is_x86_feature_detected!($name))),*] };
        }
        let all = there!(
            "sse4.2",
            "avx",
            "avx2",
            "fma",
            "f16c",
            "avx512f",
            "avx512bw",
            "avx512dq",
            "avx512vl",
            "avx512bf16",
            "avx512vnni",
            "sha"
        );
        all.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        vec![std::env::consts::ARCH]
    }
}
