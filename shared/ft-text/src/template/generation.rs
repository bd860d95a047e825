//! `{% generation %}`, the tag with which a template marks the assistant's text.
//!
//! transformers adds the tag to Jinja; minijinja knows no tags but its own. So
//! `{%- generation -%}` becomes `{%- filter … -%}` ([`super::rewrite`]), and the
//! filter (with a scope of its own, as in transformers) frames what it is given with two characters that no text may hold. After
//! rendering the frames are taken out and their places are the spans.

use serde_json::Value as Json;

use super::message::Message;
use super::rendering::Rendering;
use crate::error::{Error, Result};

/// The filter's name inside rewritten templates.
pub(super) const FILTER: &str = "ft_generation_span";

/// Unicode keeps U+FDD0 to U+FDEF as noncharacters for uses like this one.
const OPEN: char = '\u{FDD0}';
const CLOSE: char = '\u{FDD1}';

/// The filter: frames the assistant's text.
pub(super) fn mark(text: &str) -> String {
    format!("{OPEN}{text}{CLOSE}")
}

/// Refuses messages that hold the framing characters.
pub(super) fn check(messages: &[Message]) -> Result<()> {
    for (index, message) in messages.iter().enumerate() {
        if let Some(c) = message.fields().values().find_map(framing) {
            return Err(Error::Template(format!(
                "message {index} holds U+{:04X}, a noncharacter kept for marking spans; \
                 take it out of the text",
                u32::from(c)
            )));
        }
    }
    Ok(())
}

/// The first framing character in any text of `value`.
fn framing(value: &Json) -> Option<char> {
    match value {
        Json::String(text) => text.chars().find(|&c| c == OPEN || c == CLOSE),
        Json::Array(items) => items.iter().find_map(framing),
        Json::Object(fields) => fields.values().find_map(framing),
        _ => None,
    }
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
