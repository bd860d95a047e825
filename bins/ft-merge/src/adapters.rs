//! The adapters to add, and what they add to each tensor.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use ft_cli::{InputDigest, Source, Usage, sha256_file, sha256_hex};
use ft_model::{Adapter, Architecture, LoraPair};

/// All adapters, by the tensors that they change.
pub struct Adapters {
    /// By the name of the tensor; in the order of the command line.
    pairs: HashMap<String, Vec<LoraPair>>,
    /// The weights' files.
    pub digests: Vec<InputDigest>,
}

impl Adapters {
    /// Reads the adapters and holds each against the base.
    pub fn load(given: &[OsString], model: &Path, arch: &Architecture) -> Result<Self> {
        let sources: Vec<Source> = given.iter().map(Source::parse).collect();
        if sources.iter().filter(|source| **source == Source::Stdin).count() > 1 {
            return Err(Usage("--adapter - can be given once: there is one standard input".into()).into());
        }
        let mut this = Self { pairs: HashMap::new(), digests: Vec::new() };
        for source in &sources {
            let (adapter, sha256) = read(source)?;
            adapter.check(arch).with_context(|| format!("'{source}' does not fit '{}'", model.display()))?;
            for pair in adapter.modules {
                this.pairs.entry(format!("{}.weight", pair.module)).or_default().push(pair);
            }
            this.digests.push(InputDigest { name: source.file_name(), sha256 });
        }
        Ok(this)
    }

    /// What is added to the tensor `name`.
    pub fn on(&self, name: &str) -> &[LoraPair] {
        self.pairs.get(name).map_or(&[], Vec::as_slice)
    }

    /// How many tensors are changed.
    pub fn changed(&self) -> usize {
        self.pairs.len()
    }
}

/// An adapter, and the SHA-256 of the file that holds its weights.
fn read(source: &Source) -> Result<(Adapter, String)> {
    let Some(path) = source.path() else {
        let mut bytes = Vec::new();
        source.open()?.read_to_end(&mut bytes).context("cannot read an adapter from standard input")?;
        return Ok((Adapter::from_bytes("standard input", &bytes)?, sha256_hex(&bytes)));
    };
    let adapter = Adapter::load(path)?;
    let file = if path.is_dir() { path.join("adapter_model.safetensors") } else { path.to_path_buf() };
    let sha256 = sha256_file(&file).with_context(|| format!("cannot read '{}'", file.display()))?;
    Ok((adapter, sha256))
}
