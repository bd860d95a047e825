//! One conversation to one row of tokens.

use ft_io::IGNORE_INDEX;
use ft_text::{
    ChatTemplate, Encoded, Encoder, Error, LabelMode, Message, Scratch, Variables, label_tokens, render_labelled,
};
use serde_json::{Map, Value};

use crate::args::{Mode, Overlong};
use crate::format::UserFormat;

/// Everything that decides how a conversation becomes tokens.
#[derive(Debug)]
pub struct Recipe {
    pub template: ChatTemplate,
    pub encoder: Encoder,
    pub mode: Mode,
    pub labels: LabelMode,
    pub user_format: Option<UserFormat>,
    pub system: Option<String>,
    /// The template's variables where a row gives none.
    pub variables: Map<String, Value>,
    /// The same as the template takes them.
    pub shared: Variables,
    pub longest: Option<usize>,
    pub overlong: Overlong,
    /// Id and text of the begin-of-sequence token.
    pub bos: Option<(u32, String)>,
    pub end_ids: Vec<u32>,
}

/// A finished row.
#[derive(Debug)]
pub struct Row {
    pub text: String,
    pub tokens: Encoded,
    pub labels: Vec<i32>,
    pub reference: Option<String>,
    /// Tokens that were cut off.
    pub lost: usize,
    /// Whether the last thing learned is an end token.
    pub learns_to_end: bool,
}

/// Why a conversation gave no row.
#[derive(Debug)]
pub enum Reject {
    /// It has more tokens than are allowed.
    Overlong { tokens: usize },
    /// None of its tokens would be learned.
    Unlabelled,
    /// The template refused it, or its answers cannot be located.
    Bad(String),
    /// The template or the tokenizer is at fault, not the row.
    Fatal(Error),
}

impl Recipe {
    /// Makes a row of `messages`; `variables` and `reference` are what the input gives.
    pub fn row(
        &self,
        mut messages: Vec<Message>,
        variables: Map<String, Value>,
        reference: Option<&str>,
        scratch: &mut Scratch,
    ) -> Result<Row, Reject> {
        self.dress(&mut messages)?;
        let variables = self.complete(variables);
        match self.mode {
            Mode::Train => self.training_row(&messages, &variables, reference, scratch),
            Mode::Test => self.test_row(messages, &variables, reference, scratch),
        }
    }

    /// The row's variables and, where it has none, those of the command.
    fn complete(&self, own: Map<String, Value>) -> Variables {
        if own.is_empty() {
            return self.shared.clone();
        }
        let mut all = self.variables.clone();
        all.extend(own);
        variables(all)
    }

    /// The system message, and the form of the user's.
    fn dress(&self, messages: &mut Vec<Message>) -> Result<(), Reject> {
        if let Some(format) = &self.user_format {
            for (i, message) in messages.iter_mut().enumerate().filter(|(_, m)| m.role() == "user") {
                let text = message.content().ok_or_else(|| {
                    Reject::Bad(format!("message {i}: content is no text, which --prefix and --user-format need"))
                })?;
                message.set_content(format.apply(text));
            }
        }
        if let Some(system) = &self.system
            && messages.first().is_none_or(|m| m.role() != "system")
        {
            messages.insert(0, Message::new("system", system.as_str()));
        }
        Ok(())
    }

    fn training_row(
        &self,
        messages: &[Message],
        variables: &Variables,
        reference: Option<&str>,
        scratch: &mut Scratch,
    ) -> Result<Row, Reject> {
        let rendered = render_labelled(&self.template, messages, variables, self.labels).map_err(Reject::of)?;
        let mut text = rendered.text;
        let mut tokens = self.encode(&text, scratch)?;
        let mut labels = label_tokens(&tokens.ids, &tokens.starts, &rendered.spans);
        let lost = self.shorten(&mut text, &mut tokens)?;
        labels.truncate(tokens.ids.len());
        if labels.iter().all(|&label| label == IGNORE_INDEX) {
            return Err(Reject::Unlabelled);
        }
        let learns_to_end = self.learns_to_end(&text, &tokens, &labels);
        Ok(Row { text, tokens, labels, reference: reference.map(str::to_owned), lost, learns_to_end })
    }

    fn test_row(
        &self,
        mut messages: Vec<Message>,
        variables: &Variables,
        reference: Option<&str>,
        scratch: &mut Scratch,
    ) -> Result<Row, Reject> {
        let answer = messages.pop_if(|m| m.is_assistant()).and_then(|m| said(&m));
        if messages.is_empty() {
            return Err(Reject::Bad("there is only an answer, and no question before it".into()));
        }
        let mut text = self.template.render_with(&messages, variables, true).map_err(Reject::of)?.text;
        let mut tokens = self.encode(&text, scratch)?;
        let lost = self.shorten(&mut text, &mut tokens)?;
        let labels = vec![IGNORE_INDEX; tokens.ids.len()];
        let reference = answer.or_else(|| reference.map(str::to_owned));
        Ok(Row { text, tokens, labels, reference, lost, learns_to_end: false })
    }

    fn encode(&self, text: &str, scratch: &mut Scratch) -> Result<Encoded, Reject> {
        let tokens = self.encoder.encode(text, scratch).map_err(Reject::Fatal)?;
        if let Some((bos, token)) = &self.bos
            && tokens.ids.starts_with(&[*bos, *bos])
        {
            return Err(Reject::Fatal(Error::DoubleBos { token: token.clone() }));
        }
        Ok(tokens)
    }

    /// Cuts a row that is too long, and its text with it; returns how many tokens went.
    fn shorten(&self, text: &mut String, tokens: &mut Encoded) -> Result<usize, Reject> {
        let count = tokens.ids.len();
        let Some(longest) = self.longest.filter(|&longest| count > longest) else {
            return Ok(0);
        };
        if self.overlong != Overlong::Truncate {
            return Err(Reject::Overlong { tokens: count });
        }
        // A character that is cut in two is left out of the text.
        let mut end = tokens.starts[longest] as usize;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        tokens.ids.truncate(longest);
        tokens.starts.truncate(longest);
        Ok(count - longest)
    }

    /// Whether the last learned token is an end token, but for white space behind it.
    fn learns_to_end(&self, text: &str, tokens: &Encoded, labels: &[i32]) -> bool {
        let mut end = text.len();
        for ((&id, &start), &label) in tokens.ids.iter().zip(&tokens.starts).zip(labels).rev() {
            let start = start as usize;
            if self.end_ids.contains(&id) {
                return label != IGNORE_INDEX;
            }
            let blank = text.get(start..end).is_some_and(|piece| piece.trim().is_empty());
            if label != IGNORE_INDEX && !blank {
                return false;
            }
            end = start;
        }
        false
    }
}

/// Variables as the template takes them. A list of no tools is none, as TRL has it:
/// templates speak of tools as soon as there is a list.
pub fn variables(mut values: Map<String, Value>) -> Variables {
    values.retain(|name, value| name != "tools" || value.as_array().is_none_or(|tools| !tools.is_empty()));
    Variables::new(&values)
}

/// What an answer says: its text, or the calls of tools that it makes.
fn said(message: &Message) -> Option<String> {
    let calls = || message.fields().get("tool_calls").map(Value::to_string);
    message
        .content()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .or_else(calls)
        .or_else(|| message.content().map(str::to_owned))
}

impl Reject {
    fn of(error: Error) -> Self {
        match error {
            Error::Template(_) | Error::PrefixDiffers { .. } => Self::Bad(error.to_string()),
            other => Self::Fatal(other),
        }
    }
}
