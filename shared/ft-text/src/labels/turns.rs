//! Which messages of a conversation are learned.

use crate::template::Message;

/// Which part of a conversation is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LabelMode {
    /// The last of the assistant's turns.
    Completion,
    /// Each of the assistant's turns.
    #[default]
    Assistant,
    /// Everything.
    All,
}

/// The messages that `mode` learns, ascending. A message's own word ([`Message::learned`]) goes before the mode, but for
/// the last answer under [`LabelMode::Completion`], which alone it can take away.
pub fn learned_turns(messages: &[Message], mode: LabelMode) -> Vec<usize> {
    let is_learned = |i: &usize| {
        let message = &messages[*i];
        message.learned().unwrap_or(mode == LabelMode::All || message.is_assistant())
    };
    if mode != LabelMode::Completion {
        return (0..messages.len()).filter(is_learned).collect();
    }
    let last = messages.iter().rposition(Message::is_assistant);
    last.filter(|i| messages[*i].learned() != Some(false)).into_iter().collect()
}
