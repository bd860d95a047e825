//! Which hub, and which cache.

use std::path::PathBuf;

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
}
