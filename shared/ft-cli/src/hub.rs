//! Where the Hugging Face Hub and its cache are, as huggingface_hub's variables say.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Result;
use ft_hub::Hub;

use crate::common::Common;
use crate::home::home;
use crate::progress::Bars;

impl Common {
    /// The folder or GGUF file that `--model` means: a path that is there, or a name on the hub, out of its cache or
    /// downloaded into it.
    ///
    /// # Errors
    /// If there is neither, or it cannot be had.
    pub fn model(&self, given: &Path) -> Result<PathBuf> {
        Ok(hub(self.offline).model(given, &Bars)?)
    }
}

fn hub(offline: bool) -> Hub {
    let endpoint = said("HF_ENDPOINT").unwrap_or_else(|| Hub::ENDPOINT.into());
    let home = said("HF_HOME").map(PathBuf::from).or_else(default_home);
    let cache = said("HF_HUB_CACHE").or_else(|| said("HUGGINGFACE_HUB_CACHE")).map(PathBuf::from);
    let home = home.unwrap_or_default();
    Hub {
        cache: cache.unwrap_or_else(|| home.join("hub")),
        endpoint: endpoint.trim_end_matches('/').to_owned(),
        token: said("HF_TOKEN")
            .or_else(|| std::fs::read_to_string(home.join("token")).ok())
            .map(|t| t.trim().to_owned()),
        offline: offline || said("HF_HUB_OFFLINE").is_some_and(|word| is_true(&word)),
    }
}

/// `~/.cache/huggingface`, or where XDG has caches.
fn default_home() -> Option<PathBuf> {
    let caches = said("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(home()?.join(".cache")));
    Some(caches?.join("huggingface"))
}

/// A variable that is set to something.
fn said(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|word| !word.trim().is_empty())
}

/// As huggingface_hub reads its switches.
fn is_true(word: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&word.to_ascii_uppercase().as_str())
}
