//! Tokens by their ids, with what they are.

use std::path::Path;

use serde_json::Value as Json;

use crate::error::{Error, Result};

/// llama.cpp's kinds of tokens (`llama_token_type`).
pub(super) const NORMAL: i32 = 1;
pub(super) const UNKNOWN: i32 = 2;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
pub(super) const UNUSED: i32 = 5;
pub(super) const BYTE: i32 = 6;

/// SentencePiece's mark for a space.
pub(super) const SPACE: &str = "\u{2581}";

/// A vocabulary, one entry for each row of the embedding.
pub(super) struct Pieces {
    /// Their texts; rows without a token have a name that says so.
    pub tokens: Vec<String>,
    /// Their kinds.
    pub kinds: Vec<i32>,
    /// Which were added to the vocabulary.
    pub added: Vec<bool>,
}

impl Pieces {
    /// Reads `tokenizer.json`, for an embedding of `rows` rows.
    pub fn read(file: &Path, json: &Json, rows: usize) -> Result<Self> {
        let wrong = |what: String| Error::malformed(file, what);
        let vocabulary =
            json["model"]["vocab"].as_object().ok_or_else(|| wrong("model.vocab is no map of pieces to ids".into()))?;
        let mut this = Self {
            tokens: (0..rows).map(|id| format!("[PAD{id}]")).collect(),
            kinds: vec![UNUSED; rows],
            added: vec![false; rows],
        };
        for (piece, id) in vocabulary {
            this.put(file, id, piece, NORMAL)?;
        }
        for token in json["added_tokens"].as_array().into_iter().flatten() {
            let content = token["content"].as_str().ok_or_else(|| wrong("an added token has no text".into()))?;
            let control = token["special"] == true || looks_special(content);
            // llama.cpp matches what a user defined in plain text.
            let text = if control { content.to_owned() } else { content.replace(SPACE, " ") };
            let id = this.put(file, &token["id"], &text, if control { CONTROL } else { USER_DEFINED })?;
            this.added[id] = true;
        }
        Ok(this)
    }

    fn put(&mut self, file: &Path, id: &Json, piece: &str, kind: i32) -> Result<usize> {
        let rows = self.tokens.len();
        let place = id.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|id| *id < rows);
        let place = place.ok_or_else(|| {
            Error::malformed(
                file,
                format!("the token {piece:?} has the id {id}, expected one of the embedding's {rows} rows"),
            )
        })?;
        self.tokens[place] = piece.into();
        self.kinds[place] = kind;
        Ok(place)
    }
}

/// Some models mark tokens as plain that are none (`does_token_look_special` of llama.cpp's converter).
fn looks_special(token: &str) -> bool {
    let within = |before: &str, after: &str| token.starts_with(before) && token.ends_with(after);
    ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(&token)
        || within("<|", "|>")
        || within("<\u{ff5c}", "\u{ff5c}>")
        || within("<unused", ">")
}
