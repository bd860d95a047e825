//! What a row's tokens are: of the system message, the tools, the rest of the prompt, the thoughts, the answers.

use std::ops::{AddAssign, Range};

use ft_io::IGNORE_INDEX;
use ft_text::{ChatTemplate, Encoded, Message, Variables};

/// Numbers of tokens. What is learned is `reasoning` and `answer`; the others are what is not.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    pub system: u64,
    pub tools: u64,
    pub prompt: u64,
    pub reasoning: u64,
    pub answer: u64,
}

/// Stretches of a rendered conversation, for counting alone: they are searched for, and what is not found as the
/// message has it counts as prompt or answer.
#[derive(Debug, Default)]
pub struct Places {
    system: Option<Range<usize>>,
    tools: Option<Range<usize>>,
    /// Ascending.
    reasoning: Vec<Range<usize>>,
}

impl Places {
    /// Looks for them in `text`, what `template` made of `messages`, in `bytes` bytes before it was cut off.
    pub fn find(
        text: &str,
        bytes: usize,
        template: &ChatTemplate,
        messages: &[Message],
        variables: &Variables,
    ) -> Self {
        let system = messages.iter().find(|m| matches!(m.role(), "system" | "developer")).and_then(Message::content);
        let system = system.map(str::trim).filter(|said| !said.is_empty());
        let system = system.and_then(|said| text.find(said).map(|at| at..at + said.len()));
        let (mut reasoning, mut from) = (Vec::new(), 0);
        for thought in messages.iter().filter(|m| m.is_assistant()).filter_map(thought) {
            if let Some(at) = text[from..].find(thought).map(|at| from + at) {
                from = at + thought.len();
                reasoning.push(at..from);
            }
        }
        Self { system, tools: tools(text, bytes, template, messages, variables), reasoning }
    }

    /// Counts the tokens of each.
    pub fn count(&self, tokens: &Encoded, labels: &[i32]) -> Parts {
        let mut parts = Parts::default();
        let mut reasoning = self.reasoning.iter().peekable();
        let within = |range: &Option<Range<usize>>, at: usize| range.as_ref().is_some_and(|r| r.contains(&at));
        for (&start, &label) in tokens.starts.iter().zip(labels) {
            let at = start as usize;
            while reasoning.next_if(|range| range.end <= at).is_some() {}
            let counter = if label != IGNORE_INDEX {
                if reasoning.peek().is_some_and(|r| r.start <= at) { &mut parts.reasoning } else { &mut parts.answer }
            } else if within(&self.system, at) {
                &mut parts.system
            } else if within(&self.tools, at) {
                &mut parts.tools
            } else {
                &mut parts.prompt
            };
            *counter += 1;
        }
        parts
    }
}

/// What an answer says of how it was found: a field of its own, or what stands before `</think>`.
fn thought(message: &Message) -> Option<&str> {
    let inline = || Some(message.content()?.split_once("</think>")?.0.trim_start().trim_start_matches("<think>"));
    message.reasoning().or_else(inline).map(str::trim).filter(|thought| !thought.is_empty())
}

/// Where the tools are described: what the rendering has more than one without them.
fn tools(
    text: &str,
    bytes: usize,
    template: &ChatTemplate,
    messages: &[Message],
    variables: &Variables,
) -> Option<Range<usize>> {
    if !variables.has_tools() {
        return None;
    }
    let without = template.render_with(messages, &variables.without_tools(), false).ok()?.text;
    let start = text.bytes().zip(without.bytes()).take_while(|(a, b)| a == b).count();
    Some(start..start + bytes.saturating_sub(without.len()))
}

impl AddAssign for Parts {
    fn add_assign(&mut self, other: Self) {
        self.system += other.system;
        self.tools += other.tools;
        self.prompt += other.prompt;
        self.reasoning += other.reasoning;
        self.answer += other.answer;
    }
}
