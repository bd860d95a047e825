//! The first example, with what is learned of it marked.

use std::fmt::Write;

use ft_io::IGNORE_INDEX;

use crate::row::Row;

const OPEN: char = '⟦';
const CLOSE: char = '⟧';
/// Longer stretches are shown by their ends.
const SHOWN: usize = 600;

/// `row` for people: learned tokens stand between ⟦ and ⟧, parted by `|`.
pub fn show(row: &Row) -> String {
    let labelled = row.labels.iter().filter(|&&label| label != IGNORE_INDEX).count();
    let mut out = format!(
        "first example, {labelled} of its {} tokens learned ({OPEN}marked{CLOSE}, parted by |):\n",
        row.labels.len()
    );
    let mut at = 0;
    while at < row.labels.len() {
        let learned = row.labels[at] != IGNORE_INDEX;
        let count = row.labels[at..].iter().take_while(|&&l| (l != IGNORE_INDEX) == learned).count();
        if learned {
            let stretch = stretch(row, at, at + count, "|");
            let _ = write!(out, "{OPEN}{}{CLOSE}", shorten(&stretch));
        } else {
            out.push_str(&shorten(&stretch(row, at, at + count, "")));
        }
        at += count;
    }
    out
}

/// The text of the tokens `from..to`.
fn stretch(row: &Row, from: usize, to: usize, between: &str) -> String {
    let begin = |token: usize| row.tokens.starts.get(token).map_or(row.text.len(), |&s| s as usize);
    let mut pieces: Vec<&str> = Vec::new();
    let mut start = begin(from);
    for token in from..to {
        // Tokens that cut a character in two are shown as one; so is a cut end.
        if let Some(piece) = row.text.get(start..begin(token + 1)).filter(|p| !p.is_empty()) {
            pieces.push(piece);
            start = begin(token + 1);
        }
    }
    pieces.join(between)
}

fn shorten(text: &str) -> String {
    let count = text.chars().count();
    if count <= SHOWN {
        return text.to_owned();
    }
    let head: String = text.chars().take(SHOWN / 2).collect();
    let tail: String = text.chars().skip(count - SHOWN / 2).collect();
    format!("{head} [... {} characters ...] {tail}", count - SHOWN)
}
