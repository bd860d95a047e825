//! Plain texts to continue training on: no template, everything learned.

use ft_text::{Encoded, Encoder, Error, Scratch, SpecialToken, TextModel};

use crate::args::Overlong;
use crate::parts::Parts;
use crate::row::{Reject, Row};

/// What stands around each document.
#[derive(Debug)]
pub struct Frame {
    /// What the tokenizer puts before a text: most often nothing or a begin-of-sequence token.
    before: Vec<SpecialToken>,
    end: SpecialToken,
}

impl Frame {
    /// Of a model's tokenizer; none where it has no end-of-sequence token.
    pub fn of(model: &TextModel) -> Option<Self> {
        let end = model.eos.clone()?;
        let ids = |special| Some(model.tokenizer.encode("a", special).ok()?.get_ids().to_vec());
        let (plain, whole) = (ids(false)?, ids(true)?);
        let before = whole.windows(plain.len().max(1)).position(|part| part == plain).unwrap_or(0);
        let token = |&id: &u32| Some(SpecialToken { id, text: model.tokenizer.id_to_token(id)? });
        Some(Self { before: whole[..before].iter().filter_map(token).collect(), end })
    }

    /// `document` with what stands around it.
    pub fn encode(&self, document: &str, encoder: &Encoder, scratch: &mut Scratch) -> Result<(String, Encoded), Error> {
        let inner = encoder.encode(document, scratch)?;
        let mut text = String::with_capacity(document.len() + 32);
        let mut tokens = Encoded::default();
        let add = |token: &SpecialToken, text: &mut String, tokens: &mut Encoded| {
            tokens.ids.push(token.id);
            tokens.starts.push(text.len() as u32);
            text.push_str(&token.text);
        };
        self.before.iter().for_each(|token| add(token, &mut text, &mut tokens));
        let begin = text.len() as u32;
        tokens.ids.extend(inner.ids);
        tokens.starts.extend(inner.starts.iter().map(|start| begin + start));
        text.push_str(document);
        add(&self.end, &mut text, &mut tokens);
        Ok((text, tokens))
    }
}

/// A row of tokens that are all learned.
pub fn row(text: String, tokens: Encoded) -> Row {
    let labels: Vec<i32> = tokens.ids.iter().map(|&id| id as i32).collect();
    let parts = Parts { answer: labels.len() as u64, ..Parts::default() };
    Row { text, tokens, labels, parts, ..Row::default() }
}

/// The rows that a document of `tokens` gives where a row may have `longest` tokens.
pub fn rows(text: String, tokens: Encoded, longest: Option<usize>, overlong: Overlong) -> Vec<Result<Row, Reject>> {
    let count = tokens.ids.len();
    let Some(longest) = longest.filter(|&longest| count > longest) else {
        return vec![Ok(row(text, tokens))];
    };
    match overlong {
        Overlong::Split => pieces(&text, &tokens, longest),
        Overlong::Truncate => {
            let (text, tokens) = slice(&text, &tokens, 0, longest);
            vec![Ok(Row { lost: count - longest, ..row(text, tokens) })]
        }
        Overlong::Left => {
            vec![Err(Reject::Bad("--overlong left is for chats; give split or truncate for documents".into()))]
        }
        Overlong::Drop | Overlong::Error => vec![Err(Reject::Overlong { tokens: count })],
    }
}

/// Pieces of `longest` tokens. A single token that is left over would teach nothing.
fn pieces(text: &str, tokens: &Encoded, longest: usize) -> Vec<Result<Row, Reject>> {
    let count = tokens.ids.len();
    let mut rows: Vec<Result<Row, Reject>> = Vec::new();
    for from in (0..count).step_by(longest) {
        let to = (from + longest).min(count);
        if to - from == 1 && longest > 1 {
            if let Some(Ok(last)) = rows.last_mut() {
                last.lost += 1;
            }
            continue;
        }
        let (text, tokens) = slice(text, tokens, from, to);
        rows.push(Ok(row(text, tokens)));
    }
    rows
}

/// The tokens `from..to` and their text; a character that is cut in two goes with its second half.
pub fn slice(text: &str, tokens: &Encoded, from: usize, to: usize) -> (String, Encoded) {
    let begin = |token: usize| {
        let mut at = tokens.starts.get(token).map_or(text.len(), |&start| start as usize);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let (start, end) = (begin(from), begin(to));
    let starts = tokens.starts[from..to].iter().map(|&at| at - start as u32).collect();
    (text[start..end].to_owned(), Encoded { ids: tokens.ids[from..to].to_vec(), starts })
}
