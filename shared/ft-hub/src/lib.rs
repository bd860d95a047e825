//! Models by their names on the Hugging Face Hub: out of the local cache, or downloaded into it.
//!
//! The cache is huggingface_hub's own (`models--org--name/` with `refs`, `snapshots` and `blobs`), so what either has
//! downloaded the other finds. A model that is there whole is taken as it is, and nothing is asked of the network.

mod cache;
mod digest;
mod download;
mod error;
mod files;
mod lock;
mod name;

use std::path::{Path, PathBuf};

use ft_io::progress::Progress;

pub use error::{Error, Result};
pub use name::Name;

/// Where models come from.
#[derive(Debug, Clone)]
pub struct Hub {
    /// The folder of repositories: huggingface_hub's `HF_HUB_CACHE`.
    pub cache: PathBuf,
    /// `HF_ENDPOINT`, without a slash at its end.
    pub endpoint: String,
    /// `HF_TOKEN`, for repositories that want one.
    pub token: Option<String>,
    /// Whether nothing may be downloaded.
    pub offline: bool,
}

impl Hub {
    /// The hub that everybody means.
    pub const ENDPOINT: &'static str = "https://huggingface.co";

    /// The folder or GGUF file that a user means by a model: a path that is there, or a name ([`Name`]).
    ///
    /// # Errors
    /// If there is no such path and it is no name; if the name is not in the cache and cannot be downloaded.
    pub fn model(&self, given: &Path, progress: &dyn Progress) -> Result<PathBuf> {
        if given.exists() {
            return Ok(given.to_path_buf());
        }
        let unknown = || Error::Unknown { given: given.display().to_string() };
        let name = given.to_str().and_then(Name::parse).ok_or_else(unknown)?;
        if let Some(found) = cache::find(&self.cache, &name) {
            tracing::debug!("{name} is '{}'", found.display());
            return Ok(found);
        }
        if self.offline {
            return Err(Error::Offline { name: name.to_string(), cache: self.cache.clone() });
        }
        download::model(self, &name, progress)
    }
}
