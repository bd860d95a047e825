//! Which name llama.cpp has for what cuts a text into words, found as it finds it: by a digest of what the tokenizer
//! makes of a probe text.

use std::path::Path;

use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;

use super::pre_names::{NAMES, PROBE as TEXT};
use crate::error::{Error, Result};
use crate::fingerprint::hex;

/// The text by which pre-tokenizers are told from each other.
pub const PROBE: &str = TEXT;

/// A name given on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownPre {
    /// It is among llama.cpp's.
    Yes,
    /// It is not among those that this program knows of.
    No,
}

impl KnownPre {
    /// Whether llama.cpp has this name, as far as is known here.
    pub fn of(name: &str) -> Self {
        if name == "default" || NAMES.iter().any(|(_, known)| *known == name) { KnownPre::Yes } else { KnownPre::No }
    }
}

/// The name for `tokenizer`, of the file `file`.
pub(super) fn name(file: &Path, tokenizer: &Tokenizer) -> Result<String> {
    let encoded = tokenizer.encode(PROBE, true).map_err(|e| Error::Encode(e.to_string()))?;
    // Python writes a list of numbers as Rust's debug form does.
    let digest = hex(&Sha256::digest(format!("{:?}", encoded.get_ids())));
    let found = NAMES.iter().find(|(known, _)| *known == digest);
    found.map(|(_, name)| (*name).to_owned()).ok_or_else(|| Error::UnsupportedTokenizer {
        path: file.to_path_buf(),
        reason: format!(
            "llama.cpp has no name for how it cuts text into words (digest {digest}); if you know which of its \
             pre-tokenizers is the same, give its name with --pre, such as --pre gpt-2, llama-bpe or qwen2"
        ),
    })
}
