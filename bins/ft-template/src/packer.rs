//! Documents laid end to end and cut into rows of one length.

use ft_text::Encoded;

use crate::documents::{row, slice};
use crate::row::Row;

/// Takes documents in their order and gives full rows.
#[derive(Debug)]
pub struct Packer {
    longest: usize,
    text: String,
    tokens: Encoded,
}

impl Packer {
    pub fn new(longest: usize) -> Self {
        Self { longest, text: String::new(), tokens: Encoded::default() }
    }

    /// Appends a document; the rows that are full now.
    pub fn push(&mut self, document: &Row) -> Vec<Row> {
        let begin = self.text.len() as u32;
        self.text.push_str(&document.text);
        self.tokens.ids.extend(&document.tokens.ids);
        self.tokens.starts.extend(document.tokens.starts.iter().map(|start| begin + start));
        let full = self.tokens.ids.len() / self.longest;
        let rows = (0..full).map(|i| self.cut(i * self.longest, (i + 1) * self.longest)).collect();
        if full > 0 {
            (self.text, self.tokens) = slice(&self.text, &self.tokens, full * self.longest, self.tokens.ids.len());
        }
        rows
    }

    /// What is left: a shorter row, or nothing where it would teach nothing.
    pub fn finish(&mut self) -> Option<Row> {
        let count = self.tokens.ids.len();
        (count > 1 || (count == 1 && self.longest == 1)).then(|| self.cut(0, count))
    }

    fn cut(&self, from: usize, to: usize) -> Row {
        let (text, tokens) = slice(&self.text, &self.tokens, from, to);
        row(text, tokens)
    }
}
