//! The JSON files of a model's folder.

use std::path::Path;

use serde_json::Value as Json;

use crate::error::{Error, Result};

/// What a tokenizer has beside its vocabulary.
pub(crate) const CONFIG: &str = "tokenizer_config.json";

/// A JSON file of the folder; `Null` if it is not there.
///
/// # Errors
/// [`Error::Malformed`] if it is no JSON, [`Error::Io`] if it cannot be read.
pub(crate) fn json(folder: &Path, name: &str) -> Result<Json> {
    let file = folder.join(name);
    match std::fs::read(&file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::malformed(&file, format!("not JSON: {e}"))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Json::Null),
        Err(e) => Err(Error::io(&file, e)),
    }
}
