//! Words and their tokens, remembered.

use std::collections::HashMap;

use tokenizers::{Model, ModelWrapper};

use super::encoded::Encoded;
use super::plan::Piece;
use crate::error::{Error, Result};

/// How many words are remembered; enough for the common words of any corpus.
const CAPACITY: usize = 1 << 17;
/// Longer words seldom come twice.
const LONGEST: usize = 64;

/// The tokens of the words seen so far, of one tokenizer.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Where a word's tokens stand in `tokens`.
    places: HashMap<Box<str>, (u32, u32)>,
    /// Ids and lengths in bytes.
    tokens: Vec<(u32, u32)>,
    mapped: String,
}

impl Words {
    /// Appends the tokens of `piece`, which begins at byte `at` of the text.
    pub(super) fn append(&mut self, model: &ModelWrapper, piece: Piece, at: usize, out: &mut Encoded) -> Result<()> {
        let mut at = at as u32;
        let word = match piece {
            Piece::Added(id) => {
                out.ids.push(id);
                out.starts.push(at);
                return Ok(());
            }
            Piece::Word(word) => word,
        };
        let (first, end) = match self.places.get(word) {
            Some(&place) => place,
            None => self.learn(model, word)?,
        };
        for &(id, length) in &self.tokens[first as usize..end as usize] {
            out.ids.push(id);
            out.starts.push(at);
            at += length;
        }
        Ok(())
    }

    /// Has the model cut `word`.
    fn learn(&mut self, model: &ModelWrapper, word: &str) -> Result<(u32, u32)> {
        if self.places.len() >= CAPACITY || self.tokens.len() >= 8 * CAPACITY {
            self.places.clear();
            self.tokens.clear();
        }
        self.mapped.clear();
        self.mapped.extend(word.bytes().map(char_of));
        let first = self.tokens.len() as u32;
        let tokens = model.tokenize(&self.mapped).map_err(|e| Error::Encode(e.to_string()))?;
        // A character of the mapped word stands for one byte of the text.
        self.tokens.extend(tokens.iter().map(|t| (t.id, t.value.chars().count() as u32)));
        let place = (first, self.tokens.len() as u32);
        if word.len() <= LONGEST {
            self.places.insert(word.into(), place);
        }
        Ok(place)
    }
}

/// GPT-2's character for a byte: itself if it is printable in Latin-1, else one from
/// U+0100 on.
const fn char_of(byte: u8) -> char {
    CHARS[byte as usize]
}

const CHARS: [char; 256] = {
    let mut table = ['\0'; 256];
    let mut byte = 0;
    let mut next = 0x100;
    while byte < 256 {
        let printable = matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
        let code = if printable { byte as u32 } else { next };
        if !printable {
            next += 1;
        }
        table[byte] = match char::from_u32(code) {
            Some(c) => c,
            None => '\0',
        };
        byte += 1;
    }
    table
};
