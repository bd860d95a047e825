//! Where in the rendered text stands what is learned.

use std::ops::Range;

use super::turns::{LabelMode, learned_turns};
use crate::error::{Error, Result};
use crate::template::{Beginnings, ChatTemplate, Conversation, Message, Rendering, Variables};

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
/// A conversation of which no message is learned has no spans (but for [`LabelMode::All`]).
///
/// # Errors
/// [`Error::Template`] in the template's own words; [`Error::PrefixDiffers`] if the
/// template renders the beginning of the conversation differently once more follows; [`Error::PromptDiffers`] if an
/// answer does not begin as the generation prompt has it.
pub fn render_labelled(
    template: &ChatTemplate,
    messages: &[Message],
    variables: &Variables,
    mode: LabelMode,
) -> Result<LabelledText> {
    let conversation = template.conversation(messages, variables)?;
    let whole = conversation.render(messages.len(), false)?;
    let chat = Chat::new(conversation, messages, &whole, mode);
    let spans = if mode == LabelMode::All { chat.all_but_the_masked()? } else { chat.spans(mode)? };
    Ok(LabelledText { spans: spans.into_iter().filter(|s| !s.is_empty()).collect(), text: whole.text })
}

/// Whether the template renders one of the learned messages differently once others follow: what is learned of it in
/// the whole conversation is then not what it would have been asked for (templates that leave out earlier thoughts).
///
/// # Errors
/// [`Error::Template`] in the template's own words.
pub fn forgets_earlier_turns(
    template: &ChatTemplate,
    messages: &[Message],
    variables: &Variables,
    mode: LabelMode,
) -> Result<bool> {
    let conversation = template.conversation(messages, variables)?;
    let whole = conversation.render(messages.len(), false)?;
    let chat = Chat::new(conversation, messages, &whole, mode);
    for turn in learned_turns(messages, mode) {
        if chat.beginning(turn + 1, false)?.length.is_err() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Conversations that need fewer renderings of their beginnings get each by itself.
const FEW: usize = 8;

/// What one rendering tells of the beginnings that are needed to find what `mode` learns.
fn beginnings(conversation: &Conversation, messages: &[Message], whole: &Rendering, mode: LabelMode) -> Beginnings {
    let turns = if mode == LabelMode::All { masked(messages).collect() } else { learned_turns(messages, mode) };
    if turns.len() < FEW {
        return Beginnings::new();
    }
    let mut asked = vec![None; messages.len() + 2];
    for turn in turns {
        asked[turn].get_or_insert(messages[turn].is_assistant() && !conversation.marks_generation());
        asked[turn + 1] = Some(false);
    }
    conversation.beginnings(whole, &asked)
}

/// The messages that say that they are not learned.
fn masked(messages: &[Message]) -> impl Iterator<Item = usize> {
    messages.iter().enumerate().filter(|(_, m)| m.learned() == Some(false)).map(|(turn, _)| turn)
}

/// The rendering of the first messages, beside that of all.
struct Beginning {
    /// How long it is, if the whole begins so; else the first byte that differs.
    length: std::result::Result<usize, usize>,
    /// The spans of the tag in it.
    generated: usize,
}

/// A conversation and its rendering.
struct Chat<'a> {
    conversation: Conversation<'a>,
    messages: &'a [Message],
    whole: &'a str,
    generated: &'a [Range<usize>],
    beginnings: Beginnings,
    /// The generation prompt, where the template ends every rendering with it (Llama-3's first one).
    prompt: Option<String>,
}

impl<'a> Chat<'a> {
    fn new(conversation: Conversation<'a>, messages: &'a [Message], whole: &'a Rendering, mode: LabelMode) -> Self {
        let beginnings = beginnings(&conversation, messages, whole, mode);
        let prompt = conversation.constant_prompt().filter(|prompt| {
            // What a rendering begins with is something else: a begin-of-sequence token.
            whole.text.ends_with(prompt.as_str()) && !whole.text.starts_with(prompt.as_str())
        });
        Self { conversation, messages, whole: &whole.text, generated: &whole.generated, beginnings, prompt }
    }

    fn spans(&self, mode: LabelMode) -> Result<Vec<Range<usize>>> {
        let mut spans = Vec::new();
        let turns = learned_turns(self.messages, mode);
        let (answers, others): (Vec<usize>, Vec<usize>) = turns.iter().partition(|&&i| self.messages[i].is_assistant());
        if self.conversation.marks_generation() && !answers.is_empty() {
            spans.extend(self.marked(&answers)?);
            for turn in others {
                spans.push(self.difference(turn)?);
            }
            spans.sort_unstable_by_key(|span| span.start);
        } else {
            for turn in turns {
                spans.push(self.difference(turn)?);
            }
        }
        Ok(spans)
    }

    /// The whole text without the messages that say that they are not learned.
    fn all_but_the_masked(&self) -> Result<Vec<Range<usize>>> {
        let (mut spans, mut done) = (Vec::new(), 0);
        for turn in masked(self.messages) {
            let masked = self.difference(turn)?;
            spans.push(done..masked.start.max(done));
            done = masked.end;
        }
        spans.push(done..self.whole.len());
        Ok(spans)
    }

    /// The spans of the tag that belong to the messages `answers`: those that come with each of them. Only their
    /// number is compared, for some templates render earlier turns differently (Qwen3 leaves out their thoughts).
    fn marked(&self, answers: &[usize]) -> Result<Vec<Range<usize>>> {
        let spans = self.generated;
        let first = self.messages.iter().position(Message::is_assistant);
        let all = self.messages.iter().filter(|m| m.is_assistant()).count();
        if answers.len() == all {
            return Ok(spans.to_vec());
        }
        // One span needs no second rendering: it is this turn's or an earlier one's only
        // if this turn was rendered to nothing.
        if spans.len() == 1 && answers.last().is_some_and(|&turn| turn + 1 == self.messages.len()) {
            return Ok(spans.to_vec());
        }
        let before = |count: usize| -> Result<usize> {
            if Some(count) <= first {
                return Ok(0);
            }
            if count == self.messages.len() {
                return Ok(spans.len());
            }
            Ok(self.beginning(count, false)?.generated.min(spans.len()))
        };
        let mut found = Vec::new();
        for &turn in answers {
            let from = before(turn)?;
            found.extend_from_slice(&spans[from..before(turn + 1)?.max(from)]);
        }
        Ok(found)
    }

    /// The span of message `turn`, by comparing renderings.
    fn difference(&self, turn: usize) -> Result<Range<usize>> {
        let differs = |message| move |at| Error::PrefixDiffers { message, at };
        let start = self.beginning(turn, self.messages[turn].is_assistant())?.length;
        let start = start.map_err(|at| self.prompt_differs(turn, at).unwrap_or_else(|| differs(turn)(at)))?;
        let end = if turn + 1 == self.messages.len() {
            self.whole.len() - self.prompt.as_ref().map_or(0, String::len)
        } else {
            self.beginning(turn + 1, false)?.length.map_err(differs(turn + 1))?
        };
        Ok(start..end.max(start))
    }

    /// The error where the messages before `turn` are how the whole begins, and the prompt behind them is not.
    fn prompt_differs(&self, turn: usize, at: usize) -> Option<Error> {
        self.beginning(turn, false).ok()?.length.ok()?;
        let prompt = self.conversation.render(turn, true).ok()?.text;
        let shown = |text: &str| text.get(at..).map(|rest| rest.chars().take(24).collect::<String>());
        Some(Error::PromptDiffers { message: turn, opens: shown(&prompt)?, found: shown(self.whole)? })
    }

    /// The rendering of the first `count` messages.
    fn beginning(&self, count: usize, prompt: bool) -> Result<Beginning> {
        if let Some(known) = self.beginnings.get(&(count, prompt)) {
            let length = self.common(&self.whole[known.at..], &known.rest);
            let length = length.map(|length| known.at + length).map_err(|at| known.at + at);
            return Ok(Beginning { length, generated: known.generated });
        }
        let rendered = self.conversation.render(count, prompt)?;
        Ok(Beginning { length: self.common(self.whole, &rendered.text), generated: rendered.generated.len() })
    }
    /// The length of `part`, if `whole` begins with it; else the first byte that differs. What a template puts behind a
    /// conversation in any case, an end token (Phi-3.5) or the generation prompt, is no part of its beginnings.
    fn common(&self, whole: &str, part: &str) -> std::result::Result<usize, usize> {
        let behind = [self.conversation.end_token(), self.prompt.as_deref()].into_iter().flatten();
        let ends = behind.filter(|end| whole.ends_with(end)).filter_map(|end| part.strip_suffix(end));
        match std::iter::once(part).chain(ends).find(|part| whole.starts_with(part)) {
            Some(part) => Ok(part.len()),
            None => Err(whole.bytes().zip(part.bytes()).take_while(|(a, b)| a == b).count()),
        }
    }
}
