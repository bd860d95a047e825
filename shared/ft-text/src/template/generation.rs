//! `{% generation %}`, the tag with which a template marks the assistant's text.
//!
//! transformers adds the tag to Jinja; minijinja knows no tags but its own. So
//! `{%- generation -%}` becomes `{%- filter … -%}`, with its dashes kept, and the
//! filter frames what it is given with two characters that no text may hold. After
//! rendering the frames are taken out and their places are the spans.

use super::{Message, Rendering};
use crate::error::{Error, Result};

/// The filter's name inside rewritten templates.
pub(super) const FILTER: &str = "ft_generation_span";

/// Unicode keeps U+FDD0 to U+FDEF as noncharacters for uses like this one.
const OPEN: char = '\u{FDD0}';
const CLOSE: char = '\u{FDD1}';

/// Rewrites the tags and says whether there were any.
pub(super) fn rewrite(source: &str) -> (String, bool) {
    let mut out = String::with_capacity(source.len());
    let mut found = false;
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        if let Some((replacement, length)) = tag(rest) {
            out.push_str(&replacement);
            rest = &rest[length..];
            found = true;
        } else {
            out.push_str("{%");
            rest = &rest[2..];
        }
    }
    out.push_str(rest);
    (out, found)
}

/// If `text`, which begins with `{%`, begins with one of the two tags: what takes
/// its place, and its length.
fn tag(text: &str) -> Option<(String, usize)> {
    let end = text.find("%}")?;
    let inner = &text[2..end];
    let (before, inner) = dash(inner, str::strip_prefix);
    let (after, inner) = dash(inner, str::strip_suffix);
    let body = match inner.trim() {
        "generation" => format!("filter {FILTER}"),
        "endgeneration" => "endfilter".to_owned(),
        _ => return None,
    };
    Some((format!("{{%{before} {body} {after}%}}"), end + 2))
}

fn dash<'a>(text: &'a str, strip: fn(&'a str, &'static str) -> Option<&'a str>) -> (&'static str, &'a str) {
    for sign in ["-", "+"] {
        if let Some(rest) = strip(text, sign) {
            return (sign, rest);
        }
    }
    ("", text)
}

/// The filter: frames the assistant's text.
pub(super) fn mark(text: &str) -> String {
    format!("{OPEN}{text}{CLOSE}")
}

/// Refuses messages that hold the framing characters.
pub(super) fn check(messages: &[Message]) -> Result<()> {
    for (index, message) in messages.iter().enumerate() {
        if let Some(c) = message.content.chars().find(|&c| c == OPEN || c == CLOSE) {
            return Err(Error::Template(format!(
                "message {index} holds U+{:04X}, a noncharacter kept for marking spans; \
                 take it out of the text",
                u32::from(c)
            )));
        }
    }
    Ok(())
}

/// Takes the frames out of a rendering.
pub(super) fn take_spans(framed: &str) -> Rendering {
    let mut text = String::with_capacity(framed.len());
    let mut generated = Vec::new();
    let mut opened = None;
    for piece in framed.split_inclusive([OPEN, CLOSE]) {
        if let Some(body) = piece.strip_suffix(OPEN) {
            text.push_str(body);
            opened = Some(text.len());
        } else if let Some(body) = piece.strip_suffix(CLOSE) {
            text.push_str(body);
            if let Some(start) = opened.take() {
                generated.push(start..text.len());
            }
        } else {
            text.push_str(piece);
        }
    }
    Rendering { text, generated }
}
