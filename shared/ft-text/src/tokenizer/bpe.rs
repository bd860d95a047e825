//! Byte-level BPE with merges (`tokenizer.ggml.model` = `gpt2`).

use std::path::Path;

use ft_io::gguf::Content;
use tokenizers::Tokenizer;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, Vocab};

use super::{gguf, pre};
use crate::error::{Error, Result};

pub(super) fn build(path: &Path, content: &Content, tokens: &[&str]) -> Result<Tokenizer> {
    let malformed = |what: &str, e: &dyn std::fmt::Display| Error::malformed(path, format!("tokenizer: {what}: {e}"));
    let name = content.string(gguf::PRE).unwrap_or("gpt-2");
    let scheme = pre::scheme(name)
        .ok_or_else(|| Error::UnsupportedTokenizer {
            path: path.to_path_buf(),
            reason: format!(
                "{} is {name:?}; known: {}; a Hugging Face folder with its tokenizer.json \
                 works for every model",
                gguf::PRE,
                pre::KNOWN
            ),
        })?
        .map_err(|e| malformed("pattern", &e))?;
    let vocabulary: Vocab = tokens.iter().map(|t| (*t).to_owned()).zip(0..).collect();
    let model = BPE::builder()
        .vocab_and_merges(vocabulary, merges(path, content)?)
        .ignore_merges(scheme.ignore_merges)
        .build()
        .map_err(|e| malformed("merges", &e))?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer
        .with_normalizer(scheme.normalizer)
        .map_err(|e| malformed("normalizer", &e))?
        .with_pre_tokenizer(Some(scheme.pre_tokenizer))
        .with_decoder(Some(ByteLevel::default()));
    Ok(tokenizer)
}

pub(super) fn merges(path: &Path, content: &Content) -> Result<Vec<(String, String)>> {
    content
        .strings(gguf::MERGES)
        .ok_or_else(|| Error::NoTokenizer {
            path: path.to_path_buf(),
            reason: format!("the file has no {}", gguf::MERGES),
        })?
        .into_iter()
        .enumerate()
        .map(|(i, merge)| {
            merge.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).ok_or_else(|| {
                Error::malformed(path, format!("{}: entry {i} is {merge:?}, expected two pieces", gguf::MERGES))
            })
        })
        .collect()
}
