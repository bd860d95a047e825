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
//! A token that straddles the edge of a span belongs to the side on which it starts.

use std::ops::Range;

use ft_io::IGNORE_INDEX;

use crate::error::{Error, Result};
use crate::template::{ChatTemplate, Conversation, Message, Variables};

/// Which part of a conversation is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LabelMode {
    /// The last of the assistant's turns.
    #[default]
    Completion,
    /// Each of the assistant's turns.
    Assistant,
    /// Everything.
    All,
}

/// A rendered conversation and the byte ranges of it that are learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledText {
    /// The rendered text.
    pub text: String,
    /// Ascending, disjoint byte ranges of `text`.
    pub spans: Vec<Range<usize>>,
}

/// Renders `messages` and finds what is learned of them.
///
/// A conversation without a turn of the assistant has no spans (but for
/// [`LabelMode::All`]).
///
/// # Errors
/// [`Error::Template`] in the template's own words; [`Error::PrefixDiffers`] if the
/// template renders the beginning of the conversation differently once more follows.
pub fn render_labelled(
    template: &ChatTemplate,
    messages: &[Message],
    variables: &Variables,
    mode: LabelMode,
) -> Result<LabelledText> {
    let conversation = template.conversation(messages, variables)?;
    let whole = conversation.render(messages.len(), false)?;
    let spans = if mode == LabelMode::All {
        std::iter::once(0..whole.text.len()).collect()
    } else {
        let mut turns: Vec<usize> = (0..messages.len()).filter(|&i| messages[i].is_assistant()).collect();
        if mode == LabelMode::Completion {
            turns.drain(..turns.len().saturating_sub(1));
        }
        if turns.is_empty() {
            Vec::new()
        } else if conversation.marks_generation() {
            marked(&conversation, whole.generated, turns[0])?
        } else {
            turns
                .into_iter()
                .map(|turn| difference(&conversation, &whole.text, turn, messages.len()))
                .collect::<Result<_>>()?
        }
    };
    Ok(LabelledText { text: whole.text, spans: spans.into_iter().filter(|s| !s.is_empty()).collect() })
}

/// The spans of the tag from the turn `first` on: those that the messages before it
/// have not. Only their number is compared, for some templates render earlier turns
/// differently (Qwen3 leaves out their thoughts).
fn marked(conversation: &Conversation, mut spans: Vec<Range<usize>>, first: usize) -> Result<Vec<Range<usize>>> {
    // One span needs no second rendering: it is this turn's or an earlier one's only
    // if this turn was rendered to nothing.
    if first > 0 && spans.len() > 1 {
        let earlier = conversation.render(first, false)?.generated.len();
        spans.drain(..earlier.min(spans.len()));
    }
    Ok(spans)
}

/// The span of message `turn`, by comparing renderings.
fn difference(conversation: &Conversation, whole: &str, turn: usize, count: usize) -> Result<Range<usize>> {
    let prompt = conversation.render(turn, true)?.text;
    check_prefix(whole, &prompt, turn)?;
    let end = if turn + 1 == count {
        whole.len()
    } else {
        let until = conversation.render(turn + 1, false)?.text;
        check_prefix(whole, &until, turn + 1)?;
        until.len()
    };
    Ok(prompt.len()..end.max(prompt.len()))
}

fn check_prefix(whole: &str, prefix: &str, message: usize) -> Result<()> {
    if whole.starts_with(prefix) {
        return Ok(());
    }
    let at = whole.bytes().zip(prefix.bytes()).take_while(|(a, b)| a == b).count();
    Err(Error::PrefixDiffers { message, at })
}

/// The label of each token: its id if it starts inside one of `spans`, else
/// [`IGNORE_INDEX`].
///
/// `starts` are the tokens' first bytes in the text, ascending; `spans` ascending and
/// disjoint.
pub fn label_tokens(ids: &[u32], starts: &[u32], spans: &[Range<usize>]) -> Vec<i32> {
    let mut spans = spans.iter().peekable();
    ids.iter()
        .zip(starts)
        .map(|(&id, &start)| {
            let start = start as usize;
            while spans.next_if(|s| s.end <= start).is_some() {}
            match spans.peek() {
                Some(span) if span.start <= start => id as i32,
                _ => IGNORE_INDEX,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n\
        {{ m.content }}<|im_end|>\n{% endfor %}\
        {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

    fn chat(turns: &[(&str, &str)]) -> Vec<Message> {
        turns.iter().map(|(r, c)| Message::new(*r, *c)).collect()
    }

    fn learned(source: &str, turns: &[(&str, &str)], mode: LabelMode) -> Result<Vec<String>> {
        let template = ChatTemplate::new(source, &[])?;
        let out = render_labelled(&template, &chat(turns), &Variables::default(), mode)?;
        Ok(out.spans.iter().map(|s| out.text[s.clone()].to_owned()).collect())
    }

    const TURNS: [(&str, &str); 5] =
        [("system", "s"), ("user", "u"), ("assistant", "a"), ("user", "v"), ("assistant", "b")];

    #[test]
    fn modes_of_a_template_without_the_tag() {
        // A line of only a tag loses its line break, so the rendering is as written.
        let all = |mode| learned(CHATML, &TURNS, mode).unwrap();
        assert_eq!(all(LabelMode::Completion), ["b<|im_end|>\n"]);
        assert_eq!(all(LabelMode::Assistant), ["a<|im_end|>\n", "b<|im_end|>\n"]);
        assert_eq!(all(LabelMode::All).len(), 1);
    }

    #[test]
    fn the_assistant_need_not_speak_last() {
        let got = learned(CHATML, &TURNS[..4], LabelMode::Completion).unwrap();
        assert_eq!(got, ["a<|im_end|>\n"]);
    }

    #[test]
    fn no_assistant_no_spans() {
        for mode in [LabelMode::Completion, LabelMode::Assistant] {
            assert!(learned(CHATML, &TURNS[..2], mode).unwrap().is_empty());
        }
    }

    #[test]
    fn the_tag_decides_where_it_stands() {
        let source = "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}\
            {% generation %}{{ m.content }}<e>{% endgeneration %}!{% else %}{{ m.content }}\
            {% endif %}{% endfor %}";
        let of = |mode| learned(source, &TURNS, mode).unwrap();
        assert_eq!(of(LabelMode::Completion), ["b<e>"]);
        assert_eq!(of(LabelMode::Assistant), ["a<e>", "b<e>"]);
    }

    #[test]
    fn a_template_that_rewrites_the_past_is_refused() {
        let source = "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}";
        let error = learned(source, &TURNS, LabelMode::Completion).unwrap_err();
        assert!(matches!(error, Error::PrefixDiffers { message: 4, at: 0 }), "{error}");
        assert!(error.to_string().contains("{% generation %}"), "{error}");
    }

    #[test]
    fn a_straddling_token_belongs_where_it_starts() {
        let spans = [3..6, 8..9];
        let starts = [0, 2, 3, 5, 6, 7, 8, 9];
        let ids = [10, 11, 12, 13, 14, 15, 16, 17];
        let labels = label_tokens(&ids, &starts, &spans);
        assert_eq!(labels, [-100, -100, 12, 13, -100, -100, 16, -100]);
    }
}
