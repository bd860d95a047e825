//! Text that no template is put around.

use ft_text::Tokenizer;

use crate::error::Result;

/// The tokens of `text` to go on from: it begins as the tokenizer begins a text, with a begin-of-sequence token where it
/// has one, and has no token that would end it.
///
/// # Errors
/// In the tokenizer's words.
pub(crate) fn encode_plain(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
    let encoding = tokenizer.encode(text, true).map_err(|error| ft_text::Error::Encode(error.to_string()))?;
    let added = encoding.get_special_tokens_mask();
    let end = added.iter().rposition(|&mask| mask == 0).map_or(added.len(), |last| last + 1);
    Ok(encoding.get_ids()[..end].to_vec())
}
