//! Conversations made short enough.

use std::borrow::Cow;
use std::ops::Range;

use ft_text::{Encoded, Message};

use crate::args::Overlong;
use crate::documents::slice;
use crate::row::Reject;

/// Byte ranges of what is learned.
pub type Spans = Vec<Range<usize>>;

/// A conversation as text and tokens.
#[derive(Debug)]
pub struct Rendered {
    pub text: String,
    /// The length of the text before it was cut off.
    pub bytes: usize,
    pub tokens: Encoded,
    pub spans: Spans,
    /// Tokens that were cut off or taken out.
    pub lost: usize,
    /// The first message that was kept behind the system message, where earlier ones were taken out.
    pub first: Option<usize>,
}

/// `messages` by `render`, in `longest` tokens at most.
///
/// # Errors
/// Those of `render`; [`Reject::Overlong`] where it cannot be, or is not to be, made short enough.
pub fn fitted(
    messages: &[Message],
    longest: Option<usize>,
    overlong: Overlong,
    mut render: impl FnMut(&[Message]) -> Result<Rendered, Reject>,
) -> Result<Rendered, Reject> {
    let whole = render(messages)?;
    let tokens = whole.tokens.ids.len();
    let Some(longest) = longest.filter(|&longest| tokens > longest) else {
        return Ok(whole);
    };
    match overlong {
        Overlong::Truncate => Ok(truncated(whole, longest)),
        Overlong::Left => without_oldest(messages, tokens, longest, render),
        Overlong::Split => {
            Err(Reject::Bad("--overlong split is for documents; give left or truncate for chats".into()))
        }
        Overlong::Drop | Overlong::Error => Err(Reject::Overlong { tokens }),
    }
}

/// The first `longest` tokens, and of the text what they cover.
fn truncated(whole: Rendered, longest: usize) -> Rendered {
    let lost = whole.tokens.ids.len() - longest;
    let (text, tokens) = slice(&whole.text, &whole.tokens, 0, longest);
    // What begins where the text ends is not there.
    let spans = whole.spans.into_iter().filter(|span| span.start < text.len()).collect();
    Rendered { text, bytes: whole.bytes, tokens, spans, lost, first: whole.first }
}

/// Takes as few of the oldest turns out as is enough. A turn is what stands from one user's message to the next, and
/// the last one stays.
fn without_oldest(
    messages: &[Message],
    tokens: usize,
    longest: usize,
    mut render: impl FnMut(&[Message]) -> Result<Rendered, Reject>,
) -> Result<Rendered, Reject> {
    let head = instructions(messages);
    let starts: Vec<usize> = (head + 1..messages.len()).filter(|&i| messages[i].role() == "user").collect();
    let (mut low, mut high) = (0, starts.len());
    let mut found = None;
    while low < high {
        let middle = low + (high - low) / 2;
        let rendered = render(&without(messages, Some(starts[middle])))?;
        if rendered.tokens.ids.len() <= longest {
            let lost = tokens.saturating_sub(rendered.tokens.ids.len());
            found = Some(Rendered { lost, first: Some(starts[middle]), ..rendered });
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    found.ok_or(Reject::Overlong { tokens })
}

/// The system's messages that a conversation begins with.
fn instructions(messages: &[Message]) -> usize {
    messages.iter().take_while(|m| matches!(m.role(), "system" | "developer")).count()
}

/// The messages from `first` on, behind those of the system; all where nothing was taken out.
pub fn without(messages: &[Message], first: Option<usize>) -> Cow<'_, [Message]> {
    match first {
        None => Cow::Borrowed(messages),
        Some(first) => Cow::Owned([&messages[..instructions(messages)], &messages[first..]].concat()),
    }
}
