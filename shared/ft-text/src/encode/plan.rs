//! How a byte-level tokenizer cuts text into words, read from its own description.

use aho_corasick::{AhoCorasick, MatchKind};
use regex::Regex;
use serde_json::Value as Json;
use tokenizers::{ModelWrapper, Tokenizer};

use crate::error::Result;

/// GPT-2's pattern without its lookahead, which [`Split::next`] makes up for.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
/// How the patterns of the families end: a run of white space leaves its last
/// character to the word behind it. The second has line breaks as words of their own.
const TAIL: &str = r"|\s+(?!\S)|\s+";
const TAIL_WITH_LINES: &str = r"|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A piece of text.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'a> {
    /// An added token, by its id.
    Added(u32),
    /// A word, for the model to cut.
    Word(&'a str),
}

/// The steps of a pipeline that only cuts.
#[derive(Debug)]
pub(super) struct Plan {
    added: Option<(AhoCorasick, Vec<u32>)>,
    /// At most one step of digits, then at most one pattern.
    digits: bool,
    split: Option<Split>,
    /// The text is normalised to NFC; what is NFC in any case needs no normalising.
    nfc: bool,
}

impl Plan {
    /// The plan of `tokenizer`, if it is a byte-level one whose every step is known.
    pub(super) fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let normalizer = serde_json::to_value(tokenizer.get_normalizer()).ok()?;
        let nfc = match kind(&normalizer) {
            None => false,
            Some("NFC") => true,
            Some(_) => return None,
        };
        if !is_plain_bpe(tokenizer) || tokenizer.get_encode_special_tokens() {
            return None;
        }
        let pre = serde_json::to_value(tokenizer.get_pre_tokenizer()?).ok()?;
        let mut plan = Self { added: added_tokens(tokenizer)?, digits: false, split: None, nfc };
        let steps: Vec<&Json> = match pre.get("pretokenizers").and_then(Json::as_array) {
            Some(list) if kind(&pre) == Some("Sequence") => list.iter().collect(),
            _ => vec![&pre],
        };
        let (last, first) = steps.split_last()?;
        for step in first {
            plan.add_step(step)?;
        }
        plan.end_with_bytes(last)?;
        Some(plan)
    }

    fn add_step(&mut self, step: &Json) -> Option<()> {
        // The order of the two matters: digits first.
        if self.split.is_some() {
            return None;
        }
        match kind(step)? {
            "Digits" if step.get("individual_digits")?.as_bool()? && !self.digits => {
                self.digits = true;
            }
            "Split" => self.split = Some(Split::of(step)?),
            _ => return None,
        }
        Some(())
    }

    fn end_with_bytes(&mut self, step: &Json) -> Option<()> {
        if kind(step)? != "ByteLevel" || step.get("add_prefix_space")?.as_bool()? {
            return None;
        }
        if step.get("use_regex").and_then(Json::as_bool).unwrap_or(true) {
            if self.split.is_some() {
                return None;
            }
            self.split = Some(Split::new(GPT2, false)?);
        }
        Some(())
    }

    /// Whether the plan holds for `text`.
    pub(super) fn covers(&self, text: &str) -> bool {
        // Nothing below U+0300 changes under NFC by itself, and nothing there combines.
        !self.nfc || text.chars().all(|c| c < '\u{300}')
    }

    /// Calls `take` with each piece of `text` and its first byte, in order.
    pub(super) fn words<'t>(&self, text: &'t str, mut take: impl FnMut(Piece<'t>, usize) -> Result<()>) -> Result<()> {
        let mut done = 0;
        if let Some((matcher, ids)) = &self.added {
            for found in matcher.find_iter(text) {
                self.cut_digits(text, done, found.start(), &mut take)?;
                take(Piece::Added(ids[found.pattern().as_usize()]), found.start())?;
                done = found.end();
            }
        }
        self.cut_digits(text, done, text.len(), &mut take)
    }

    fn cut_digits<'t>(
        &self,
        text: &'t str,
        start: usize,
        end: usize,
        take: &mut impl FnMut(Piece<'t>, usize) -> Result<()>,
    ) -> Result<()> {
        if !self.digits {
            return self.cut(text, start, end, take);
        }
        let mut done = start;
        for (at, digit) in text[start..end].char_indices() {
            if digit.is_numeric() {
                let at = start + at;
                self.cut(text, done, at, take)?;
                done = at + digit.len_utf8();
                self.cut(text, at, done, take)?;
            }
        }
        self.cut(text, done, end, take)
    }

    fn cut<'t>(
        &self,
        text: &'t str,
        start: usize,
        end: usize,
        take: &mut impl FnMut(Piece<'t>, usize) -> Result<()>,
    ) -> Result<()> {
        let mut at = start;
        while at < end {
            let rest = &text[at..end];
            let length = match &self.split {
                Some(split) => split.next(rest),
                None => rest.len(),
            };
            take(Piece::Word(&rest[..length]), at)?;
            at += length;
        }
        Ok(())
    }
}

/// A pattern that isolates each of its matches.
#[derive(Debug)]
struct Split {
    /// The pattern where the text begins: a search that may not move needs no second
    /// pass to find where its match began.
    here: Regex,
    anywhere: Regex,
    lines_are_words: bool,
}

impl Split {
    fn new(pattern: &str, lines_are_words: bool) -> Option<Self> {
        Some(Self {
            here: Regex::new(&format!(r"\A(?:{pattern})")).ok()?,
            anywhere: Regex::new(pattern).ok()?,
            lines_are_words,
        })
    }

    fn of(step: &Json) -> Option<Self> {
        let isolated = step.get("behavior")?.as_str()? == "Isolated";
        if !isolated || step.get("invert")?.as_bool()? {
            return None;
        }
        let pattern = step.get("pattern")?.get("Regex")?.as_str()?;
        match pattern.strip_suffix(TAIL_WITH_LINES) {
            Some(head) => Self::new(&format!(r"{head}|\s*[\r\n]+|\s+"), true),
            None => Self::new(&format!(r"{}|\s+", pattern.strip_suffix(TAIL)?), false),
        }
    }

    /// The length of the word at the beginning of `rest`, which is not empty.
    ///
    /// The regex has no lookahead. `\s+(?!\S)|\s+` takes a run of white space but for
    /// its last character if something else follows, and a single one as it is.
    fn next(&self, rest: &str) -> usize {
        let Some(found) = self.here.find(rest) else {
            return self.anywhere.find(rest).map_or(rest.len(), |next| next.start());
        };
        let word = found.as_str();
        let Some(last) = word.chars().next_back().filter(|c| c.is_whitespace()) else {
            return found.end();
        };
        let ends_line = self.lines_are_words && matches!(last, '\r' | '\n');
        let shorter = found.end() - last.len_utf8();
        if ends_line || shorter == 0 || found.end() == rest.len() {
            return found.end();
        }
        // Words that only end in white space (signs and line breaks) stay whole.
        if word.chars().all(char::is_whitespace) { shorter } else { found.end() }
    }
}

/// Only plain BPE cuts words into slices of themselves.
fn is_plain_bpe(tokenizer: &Tokenizer) -> bool {
    match tokenizer.get_model() {
        ModelWrapper::BPE(bpe) => {
            bpe.dropout.is_none()
                && bpe.unk_token.is_none()
                && bpe.continuing_subword_prefix.is_none()
                && bpe.end_of_word_suffix.is_none()
                && !bpe.byte_fallback
        }
        _ => false,
    }
}

/// The matcher of the added tokens and their ids; `None` if one of them asks for more
/// than its text.
#[allow(clippy::option_option)]
fn added_tokens(tokenizer: &Tokenizer) -> Option<Option<(AhoCorasick, Vec<u32>)>> {
    let tokens = tokenizer.get_added_tokens_decoder();
    if tokens.is_empty() {
        return Some(None);
    }
    let plain = tokens.values().all(|t| !t.lstrip && !t.rstrip && !t.single_word && !t.content.is_empty());
    if !plain {
        return None;
    }
    // tokenizers looks for the normalised ones in what the others leave.
    if tokens.values().any(|t| t.normalized) && tokens.values().any(|t| !t.normalized) {
        return None;
    }
    let (ids, texts): (Vec<u32>, Vec<String>) = tokens.into_iter().map(|(id, t)| (id, t.content)).unzip();
    let matcher = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&texts).ok()?;
    Some(Some((matcher, ids)))
}

fn kind(step: &Json) -> Option<&str> {
    step.get("type")?.as_str()
}
