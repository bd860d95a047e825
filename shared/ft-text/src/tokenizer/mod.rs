//! Tokenizers built from what a GGUF file says of them.

mod bpe;
pub(crate) mod export;
pub(crate) mod gguf;
mod pre;
mod spm;

use std::borrow::Cow;
use std::path::Path;

use ft_io::gguf::Content;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};

use crate::error::{Error, Result};

/// Token kinds of GGUF (`llama_token_type`) that are matched as a whole in the text.
const CONTROL: u32 = 3;
const USER_DEFINED: u32 = 4;

/// Builds the tokenizer that `content`, read from `path`, describes.
///
/// # Errors
/// [`Error::NoTokenizer`] if it has none, [`Error::UnsupportedTokenizer`] if it is of a
/// kind that is not known here.
pub(crate) fn from_gguf(path: &Path, content: &Content) -> Result<Tokenizer> {
    let missing = |key: &str| Error::NoTokenizer { path: path.to_path_buf(), reason: format!("the file has no {key}") };
    let pieces = pieces(content).ok_or_else(|| missing(gguf::TOKENS))?;
    let tokens: Vec<&str> = pieces.iter().map(AsRef::as_ref).collect();
    let kind = content.string(gguf::MODEL).ok_or_else(|| missing(gguf::MODEL))?;
    let mut tokenizer = match kind {
        "gpt2" => bpe::build(path, content, &tokens)?,
        "llama" | "gemma4" => spm::build(path, content, &tokens)?,
        other => {
            return Err(Error::UnsupportedTokenizer {
                path: path.to_path_buf(),
                reason: format!(
                    "{} is {other:?}; known: gpt2 (byte-level BPE), llama and gemma4 (SentencePiece BPE); a Hugging \
                     Face folder with its tokenizer.json works for every model",
                    gguf::MODEL
                ),
            });
        }
    };
    let added = added_tokens(content, &tokens);
    tokenizer.add_tokens(added).map_err(|e| Error::malformed(path, format!("added tokens: {e}")))?;
    let ends = ends(content, kind, &tokens).map_err(|e| Error::malformed(path, format!("special tokens: {e}")))?;
    if let Some(ends) = ends {
        tokenizer.with_post_processor(Some(ends));
    }
    Ok(tokenizer)
}

/// The vocabulary's pieces by id.
pub(crate) fn pieces(content: &Content) -> Option<Vec<Cow<'_, str>>> {
    let tokens = content.strings(gguf::TOKENS)?;
    Some(match content.string(gguf::MODEL) {
        Some("llama" | "gemma4") => spm::pieces(content, tokens),
        _ => tokens,
    })
}

/// What puts the begin- and end-of-sequence tokens around plain text. Nothing here asks
/// for it; those who read the saved tokenizer do.
fn ends(
    content: &Content,
    kind: &str,
    tokens: &[&str],
) -> std::result::Result<Option<TemplateProcessing>, Box<dyn std::error::Error + Send + Sync>> {
    // Files that do not say mean what their kind has always meant.
    let by_default = matches!(kind, "llama" | "gemma4") || content.string(gguf::PRE) == Some("llama-bpe");
    let wanted = |flag: &str, default: bool, id: &str| {
        let id = content.flag(flag).unwrap_or(default).then(|| content.number(id))??;
        Some(((*tokens.get(id as usize)?).to_owned(), id))
    };
    let bos = wanted(gguf::ADD_BOS, by_default, "tokenizer.ggml.bos_token_id");
    let eos = wanted(gguf::ADD_EOS, false, "tokenizer.ggml.eos_token_id");
    if bos.is_none() && eos.is_none() {
        return Ok(None);
    }
    let around = |sequence: &str| -> Vec<String> {
        let name = |token: &Option<(String, u32)>| token.as_ref().map(|(text, _)| text.clone());
        [name(&bos), Some(sequence.to_owned()), name(&eos)].into_iter().flatten().collect()
    };
    let template = TemplateProcessing::builder()
        .try_single(around("$A"))?
        .try_pair([around("$A"), around("$B")].concat())?
        .special_tokens([bos.clone(), eos.clone()].into_iter().flatten().collect::<Vec<_>>())
        .build()?;
    Ok(Some(template))
}

/// Control and user-defined tokens, in the order of their ids.
fn added_tokens(content: &Content, tokens: &[&str]) -> Vec<AddedToken> {
    let kinds = content.numbers(gguf::TOKEN_TYPE).unwrap_or_default();
    tokens
        .iter()
        .zip(kinds)
        .filter(|&(_, kind)| kind == CONTROL || kind == USER_DEFINED)
        .map(|(token, kind)| AddedToken::from(*token, kind == CONTROL).normalized(false))
        .collect()
}
