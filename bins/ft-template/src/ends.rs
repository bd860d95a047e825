//! Whether what is learned ends where a model stops.

use ft_io::IGNORE_INDEX;
use ft_text::Encoded;

/// The text of the first token that a learned stretch ends in although it is none of `end_ids`; none where all end as
/// they should. White space behind an end token counts for nothing: templates put a line break there.
pub fn open_end(text: &str, tokens: &Encoded, labels: &[i32], end_ids: &[u32]) -> Option<String> {
    let mut at = 0;
    while at < labels.len() {
        let is_learned = labels[at] != IGNORE_INDEX;
        let count = labels[at..].iter().take_while(|&&label| (label != IGNORE_INDEX) == is_learned).count();
        if is_learned {
            let last = (at..at + count).rev().find(|&i| end_ids.contains(&tokens.ids[i]) || !is_blank(text, tokens, i));
            if last.is_none_or(|i| !end_ids.contains(&tokens.ids[i])) {
                return Some(piece(text, tokens, last.unwrap_or(at)).to_owned());
            }
        }
        at += count;
    }
    None
}

fn is_blank(text: &str, tokens: &Encoded, i: usize) -> bool {
    let piece = piece(text, tokens, i);
    !piece.is_empty() && piece.trim().is_empty()
}

/// The text of a token; nothing of one that is part of a character.
fn piece<'a>(text: &'a str, tokens: &Encoded, i: usize) -> &'a str {
    let end = tokens.starts.get(i + 1).map_or(text.len(), |&end| end as usize);
    text.get(tokens.starts[i] as usize..end).unwrap_or_default()
}
