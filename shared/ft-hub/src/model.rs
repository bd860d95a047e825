//! From what a user says of a model to where it is.

use std::path::{Path, PathBuf};

use ft_io::progress::Progress;

use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::name::Name;
use crate::{cache, download};

impl Hub {
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
