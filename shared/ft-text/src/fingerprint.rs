//! A vocabulary's fingerprint: tokens made with one tokenizer are worth nothing to a
//! model with another, and two tokenizers are the same if each id means the same
//! piece.
//!
//! Nothing is built for it: of a GGUF only the token array is used, of a folder only the
//! vocabulary and the added tokens. Format: SHA-256 over each id in ascending
//! order as a little-endian u32, the piece's length in bytes as another, and the piece
//! in UTF-8. Ids that only fill the vocabulary up (`[PAD151646]`, as converters to GGUF
//! name them) count for nothing, so a GGUF and the folder that it came from agree.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use sha2::{Digest, Sha256};
use tokenizers::AddedToken;

use crate::error::{Error, Result};
use crate::special::Special;
use crate::tokenizer::{self, gguf};

/// The fingerprint of the vocabulary of the model at `path` (a Hugging Face folder or a
/// GGUF file), in hexadecimal. `None` if there is no tokenizer there.
///
/// # Errors
/// A file that cannot be read or is not what its name says.
pub fn fingerprint(path: &Path) -> Result<Option<String>> {
    if path.is_dir() {
        let file = path.join("tokenizer.json");
        if !file.is_file() {
            return Ok(None);
        }
        let bytes = std::fs::read(&file).map_err(|e| Error::io(&file, e))?;
        let parsed: TokenizerFile = serde_json::from_slice(&bytes)
            .map_err(|e| Error::malformed(&file, format!("not a tokenizer.json: {e}")))?;
        let named = Special::read(path)?;
        return Ok(Some(digest(parsed.pieces(&named.tokens(|text| parsed.adds(text))))));
    }
    let content = gguf::read(path)?;
    let Some(pieces) = tokenizer::pieces(&content) else {
        return Ok(None);
    };
    Ok(Some(digest((0..).zip(pieces.iter().map(AsRef::as_ref)))))
}

fn digest<'a>(pieces: impl IntoIterator<Item = (u32, &'a str)>) -> String {
    let mut hasher = Sha256::new();
    for (id, piece) in pieces {
        if is_filler(id, piece) {
            continue;
        }
        hasher.update(id.to_le_bytes());
        hasher.update((piece.len() as u32).to_le_bytes());
        hasher.update(piece);
    }
    hex(&hasher.finalize())
}

fn is_filler(id: u32, piece: &str) -> bool {
    piece.strip_prefix("[PAD").and_then(|rest| rest.strip_suffix(']')).is_some_and(|digits| digits.parse() == Ok(id))
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing into a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The two parts of `tokenizer.json` that say which id is which piece.
#[derive(Deserialize)]
struct TokenizerFile {
    model: ModelPart,
    #[serde(default)]
    added_tokens: Vec<Added>,
}

#[derive(Deserialize)]
struct ModelPart {
    vocab: Vocabulary,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
}

impl TokenizerFile {
    /// Whether it is one of the added tokens.
    fn adds(&self, text: &str) -> bool {
        self.added_tokens.iter().any(|token| token.content == text)
    }

    /// Those of `tokens` that have no id here, with the ids that `tokenizers` gives them.
    fn new_pieces<'a>(&self, tokens: &'a [AddedToken]) -> Vec<(u32, &'a str)> {
        let vocab = &self.model.vocab.0;
        let size = vocab.len() as u32;
        let last = self.added_tokens.iter().map(|token| token.id).max();
        let next = last.filter(|&last| last >= size || size == 0).map_or(size, |last| last + 1);
        let added: HashSet<&str> = self.added_tokens.iter().map(|token| token.content.as_str()).collect();
        let is_new = |text: &str| !added.contains(text) && !vocab.iter().any(|(_, piece)| piece == text);
        (next..)
            .zip(tokens.iter().map(|token| token.content.as_str()).filter(|text| !text.is_empty() && is_new(text)))
            .collect()
    }

    /// All pieces by ascending id, those of `tokens` among them; an added token is what its id says.
    fn pieces<'a>(&'a self, tokens: &'a [AddedToken]) -> Vec<(u32, &'a str)> {
        let added: HashMap<u32, &str> = self.added_tokens.iter().map(|t| (t.id, t.content.as_str())).collect();
        let mut pieces: Vec<(u32, &str)> = self
            .model
            .vocab
            .0
            .iter()
            .filter(|(id, _)| !added.contains_key(id))
            .map(|(id, piece)| (*id, piece.as_str()))
            .chain(added.iter().map(|(id, piece)| (*id, *piece)))
            .chain(self.new_pieces(tokens))
            .collect();
        pieces.sort_unstable();
        pieces
    }
}

/// `{"piece": id, …}` (BPE, `WordPiece`) or `[["piece", score], …]` (Unigram).
struct Vocabulary(Vec<(u32, String)>);

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Vocabulary;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a vocabulary: a map of pieces to ids or a list of [piece, score]")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Vocabulary, A::Error> {
                let mut pieces = Vec::new();
                while let Some((piece, id)) = map.next_entry::<String, u32>()? {
                    pieces.push((id, piece));
                }
                Ok(Vocabulary(pieces))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Vocabulary, A::Error> {
                let mut pieces = Vec::new();
                while let Some((piece, _)) = list.next_element::<(String, IgnoredAny)>()? {
                    pieces.push((pieces.len() as u32, piece));
                }
                Ok(Vocabulary(pieces))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
