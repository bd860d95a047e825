//! Text from tokens as they come.

use ft_text::Tokenizer;

use crate::error::Result;

/// Turns tokens into text one by one. A character may take several tokens; it comes with the last of them. The pieces
/// together are the text of all tokens, without special ones.
#[derive(Debug, Clone)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    ids: Vec<u32>,
    /// Text begins here again: a decoder may treat what a text begins with in a way of its own, so a few tokens that are
    /// told already stand before those that are not.
    from: usize,
    /// Tokens before this one are told.
    told: usize,
}

/// What stands for bytes that are no character, or not yet.
const INCOMPLETE: char = '\u{fffd}';

impl<'a> TextStream<'a> {
    /// No token yet.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, ids: Vec::new(), from: 0, told: 0 }
    }

    /// Adds a token; the text that is certain now, which may be none.
    ///
    /// # Errors
    /// If the tokens cannot be turned into text.
    pub fn push(&mut self, token: u32) -> Result<String> {
        self.ids.push(token);
        let piece = self.untold()?;
        if piece.is_empty() || piece.ends_with(INCOMPLETE) {
            return Ok(String::new());
        }
        (self.from, self.told) = (self.told, self.ids.len());
        Ok(piece)
    }

    /// The text of tokens that were held back for others to follow.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(&mut self) -> Result<String> {
        let piece = self.untold()?;
        (self.from, self.told) = (self.ids.len(), self.ids.len());
        Ok(piece)
    }

    fn untold(&self) -> Result<String> {
        let text = |ids: &[u32]| ft_text::decode(self.tokenizer, ids, true);
        let (known, all) = (text(&self.ids[self.from..self.told])?, text(&self.ids[self.from..])?);
        Ok(all.strip_prefix(known.as_str()).unwrap_or_default().to_owned())
    }
}
