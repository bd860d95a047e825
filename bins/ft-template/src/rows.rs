//! One conversation to one row of tokens.

use ft_text::{
    ChatTemplate, Encoded, Encoder, Error, IGNORED, LabelMode, Message, Scratch, label_tokens, render_labelled,
};

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
    /// Makes a row of `messages`; `reference` is what the input gives.
    pub fn row(
        &self,
        mut messages: Vec<Message>,
        reference: Option<&str>,
        scratch: &mut Scratch,
    ) -> Result<Row, Reject> {
        self.dress(&mut messages);
        match self.mode {
            Mode::Train => self.training_row(&messages, reference, scratch),
            Mode::Test => self.test_row(messages, reference, scratch),
        }
    }

    /// The system message, and the form of the user's.
    fn dress(&self, messages: &mut Vec<Message>) {
        if let Some(format) = &self.user_format {
            for message in messages.iter_mut().filter(|m| m.role == "user") {
                message.content = format.apply(&message.content);
            }
        }
        if let Some(system) = &self.system
            && messages.first().is_none_or(|m| m.role != "system")
        {
            messages.insert(0, Message::new("system", system.as_str()));
        }
    }

    fn training_row(
        &self,
        messages: &[Message],
        reference: Option<&str>,
        scratch: &mut Scratch,
    ) -> Result<Row, Reject> {
        let rendered = render_labelled(&self.template, messages, self.labels).map_err(Reject::of)?;
        let mut text = rendered.text;
        let mut tokens = self.encode(&text, scratch)?;
        let mut labels = label_tokens(&tokens.ids, &tokens.starts, &rendered.spans);
        let lost = self.shorten(&mut text, &mut tokens)?;
        labels.truncate(tokens.ids.len());
        if labels.iter().all(|&label| label == IGNORED) {
            return Err(Reject::Unlabelled);
        }
        let learns_to_end = self.learns_to_end(&text, &tokens, &labels);
        Ok(Row { text, tokens, labels, reference: reference.map(str::to_owned), lost, learns_to_end })
    }

    fn test_row(
        &self,
        mut messages: Vec<Message>,
        reference: Option<&str>,
        scratch: &mut Scratch,
    ) -> Result<Row, Reject> {
        let answer = messages.pop_if(|m| m.is_assistant()).map(|m| m.content);
        if messages.is_empty() {
            return Err(Reject::Bad("there is only an answer, and no question before it".into()));
        }
        let mut text = self.template.render(&messages, true).map_err(Reject::of)?.text;
        let mut tokens = self.encode(&text, scratch)?;
        let lost = self.shorten(&mut text, &mut tokens)?;
        let labels = vec![IGNORED; tokens.ids.len()];
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
                return label != IGNORED;
            }
            let blank = text.get(start..end).is_some_and(|piece| piece.trim().is_empty());
            if label != IGNORED && !blank {
                return false;
            }
            end = start;
        }
        false
    }
}

impl Reject {
    fn of(error: Error) -> Self {
        match error {
            Error::Template(_) | Error::PrefixDiffers { .. } => Self::Bad(error.to_string()),
            other => Self::Fatal(other),
        }
    }
}
