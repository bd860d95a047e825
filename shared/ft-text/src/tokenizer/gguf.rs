//! The metadata of a GGUF file that tell of its tokenizer.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use ft_io::gguf::Content;

use crate::error::{Error, Result};

pub(crate) const MODEL: &str = "tokenizer.ggml.model";
pub(crate) const TOKENS: &str = "tokenizer.ggml.tokens";
pub(crate) const TOKEN_TYPE: &str = "tokenizer.ggml.token_type";
pub(crate) const SCORES: &str = "tokenizer.ggml.scores";
pub(crate) const MERGES: &str = "tokenizer.ggml.merges";
pub(crate) const PRE: &str = "tokenizer.ggml.pre";
pub(crate) const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
pub(crate) const BOS: &str = "tokenizer.ggml.bos_token_id";
pub(crate) const EOS: &str = "tokenizer.ggml.eos_token_id";
pub(crate) const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
pub(crate) const PADDING: &str = "tokenizer.ggml.padding_token_id";
pub(crate) const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
pub(crate) const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
pub(crate) const CHAT_TEMPLATE: &str = "tokenizer.chat_template";
pub(crate) const TOOL_TEMPLATE: &str = "tokenizer.chat_template.tool_use";

/// Reads the header of the GGUF file at `path`; no tensor is touched.
pub(crate) fn read(path: &Path) -> Result<Content> {
    let open = || -> std::io::Result<(File, u64)> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok((file, len))
    };
    let (file, len) = open().map_err(|e| Error::io(path, e))?;
    Content::read(BufReader::with_capacity(1 << 20, file), len).map_err(|reason| Error::malformed(path, reason))
}
