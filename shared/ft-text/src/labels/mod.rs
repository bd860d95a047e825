//! Which tokens are learned.
//!
//! Masks come from places in the rendered text, never from token ids: a pad token
//! that is also the end token changes nothing, and no template text is searched for.
//!
//! With `{% generation %}` in the template the spans are what the tag encloses.
//! Without it a turn's span is the difference of two renderings: of the messages
//! before it with the generation prompt, and of the messages up to it. Each must be
//! how the whole rendering begins; where it is not, the row is refused.
//!
//! So a span holds the turn's end token and, as stock templates render them, the line
//! break behind it. That is also what TRL labels (its training templates and its
//! prompt-completion data alike).
//!
//! A token of which any part lies in a span is learned, as in TRL and in transformers' mask
//! (`char_to_token`): the first word of an answer whose prompt ends in a space often begins with that space.

mod spans;
mod tokens;
mod turns;

pub use spans::{LabelledText, forgets_earlier_turns, render_labelled};
pub use tokens::label_tokens;
pub use turns::{LabelMode, learned_turns};

#[cfg(test)]
mod tests;
