//! An answer as it is told: text as it comes, up to a string that ends it.

use ft_text::Tokenizer;

use crate::error::Result;
use crate::text_stream::TextStream;

/// One answer's text. What may be the beginning of a stop string is held back until it is clear that it is none.
#[derive(Debug, Clone)]
pub struct Speech<'a> {
    stream: TextStream<'a>,
    stops: &'a [String],
    text: String,
    /// Bytes of the text that were told; no stop string begins before.
    told: usize,
    stopped: bool,
}

impl<'a> Speech<'a> {
    /// An answer that ends before the first of `stops`, none of which is empty.
    pub fn new(tokenizer: &'a Tokenizer, stops: &'a [String]) -> Self {
        Self { stream: TextStream::new(tokenizer), stops, text: String::new(), told: 0, stopped: false }
    }

    /// Adds a token; the text that is certain now.
    ///
    /// # Errors
    /// If the tokens cannot be turned into text.
    pub fn push(&mut self, token: u32) -> Result<&str> {
        let piece = self.stream.push(token)?;
        self.add(&piece);
        let held = if self.stopped { 0 } else { held_back(&self.text[self.told..], self.stops) };
        Ok(self.tell(self.text.len() - held))
    }

    /// The rest of the text, where the answer is at its end.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(&mut self) -> Result<&str> {
        let piece = self.stream.finish()?;
        self.add(&piece);
        Ok(self.tell(self.text.len()))
    }

    /// Whether a stop string came.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// All text so far, without the stop string that ended it.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn add(&mut self, piece: &str) {
        if self.stopped {
            return;
        }
        self.text.push_str(piece);
        if let Some(at) = first_stop(&self.text[self.told..], self.stops) {
            self.text.truncate(self.told + at);
            self.stopped = true;
        }
    }

    fn tell(&mut self, end: usize) -> &str {
        let from = std::mem::replace(&mut self.told, end);
        &self.text[from..end]
    }
}

/// Where the first of `stops` begins in `text`.
pub(crate) fn first_stop(text: &str, stops: &[String]) -> Option<usize> {
    stops.iter().filter_map(|stop| text.find(stop.as_str())).min()
}

/// How many bytes at the end of `text` may be the beginning of a stop string.
fn held_back(text: &str, stops: &[String]) -> usize {
    let begins = |stop: &String| {
        let longest = text.len().min(stop.len().saturating_sub(1));
        (1..=longest).rev().find(|&n| stop.is_char_boundary(n) && text.ends_with(&stop[..n])).unwrap_or(0)
    };
    stops.iter().map(begins).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ft_text::{Encoder, Scratch, TextModel};

    use super::*;

    fn tokenizer() -> Tokenizer {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/tokenizer");
        TextModel::open(&folder).unwrap().tokenizer
    }

    /// The pieces that are told of `text`, token by token, and whether a stop string came.
    fn told(text: &str, stops: &[&str]) -> (Vec<String>, bool) {
        let tokenizer = tokenizer();
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        let ids = Encoder::new(tokenizer.clone()).encode(text, &mut Scratch::default()).unwrap().ids;
        let mut speech = Speech::new(&tokenizer, &stops);
        let mut pieces = Vec::new();
        for id in ids {
            pieces.push(speech.push(id).unwrap().to_owned());
            if speech.stopped() {
                break;
            }
        }
        pieces.push(speech.finish().unwrap().to_owned());
        assert_eq!(pieces.concat(), speech.text());
        (pieces, speech.stopped())
    }

    #[test]
    fn characters_of_several_tokens_come_whole() {
        let text = "naïve 日本語 👩‍🚀 end";
        let (pieces, stopped) = told(text, &[]);
        assert!(!stopped && pieces.len() > 10, "{pieces:?}");
        assert_eq!(pieces.concat(), text);
        assert!(pieces.iter().all(|piece| !piece.contains('\u{fffd}')), "{pieces:?}");
    }

    #[test]
    fn a_stop_string_and_its_beginning_are_not_told() {
        let (pieces, stopped) = told("One\nTwo\n\nThree", &["\n\nT", "zzz"]);
        assert_eq!((pieces.concat().as_str(), stopped), ("One\nTwo", true));
        let (pieces, stopped) = told("One\nTwo\n\nSix\n", &["\n\nT"]);
        assert_eq!((pieces.concat().as_str(), stopped), ("One\nTwo\n\nSix\n", false));
        let (pieces, _) = told("a Z b", &[" b", "a Z"]);
        assert_eq!(pieces.concat(), "");
    }

    #[test]
    fn what_may_begin_a_stop_string_is_held_back_as_far_as_needed() {
        let stops = ["END".to_owned(), "\u{e9}t\u{e9}".into()];
        for (text, held) in [("a", 0), ("aE", 1), ("aEN", 2), ("ENE", 1), ("caf\u{e9}", 2), ("", 0), ("E", 1)] {
            assert_eq!(held_back(text, &stops), held, "{text}");
        }
    }
}
