//! What can go wrong between a model's name and its files.

use std::path::PathBuf;

/// A model that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither a path that is there nor a name.
    #[error(
        "'{given}' is no folder or file here; give a model's folder, a GGUF file, or a name on the Hugging Face Hub: \
         org/name, org/name@revision, org/name:Q4_K_M or org/name/file.gguf"
    )]
    Unknown {
        /// As the user gave it.
        given: String,
    },

    /// Not in the cache, and nothing may be downloaded.
    #[error(
        "'{name}' is no folder here and not in the cache '{}', and nothing is downloaded (--offline or HF_HUB_OFFLINE)",
        cache.display()
    )]
    Offline {
        /// The model.
        name: String,
        /// The folder that was looked into.
        cache: PathBuf,
    },

    /// The repository lacks what was asked for.
    #[error("the repository of '{name}' has {what}")]
    NoFile {
        /// The model.
        name: String,
        /// What it lacks, and what it has.
        what: String,
    },

    /// The hub said no.
    #[error("'{name}': {url} answers {status} for {file}: {advice}")]
    Status {
        /// The model.
        name: String,
        /// The HTTP status.
        status: u16,
        /// The hub's address.
        url: String,
        /// What was asked for.
        file: String,
        /// What it means, and what to do.
        advice: &'static str,
    },

    /// The hub could not be reached, or the transfer broke off.
    #[error(
        "'{name}': cannot download {file} from {endpoint}: {reason}; run it again to go on, or give a model's folder"
    )]
    Transfer {
        /// The model.
        name: String,
        /// The file.
        file: String,
        /// The hub's address.
        endpoint: String,
        /// What happened.
        reason: String,
    },

    /// A file arrived that is not what the hub says it is.
    #[error(
        "'{name}': {file} arrived damaged (its digest is not the one that the hub names) and was removed; try again"
    )]
    Digest {
        /// The model.
        name: String,
        /// The file.
        file: String,
    },

    /// The cache cannot be written.
    #[error("cannot write '{}'", path.display())]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },

    /// A signal asked to stop.
    #[error("{0}")]
    Interrupted(#[from] ft_io::Interrupted),
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
