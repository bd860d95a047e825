//! Questions of a person, in the form that a model knows.

use ft_text::origin::{PREFIX_KEY, SYSTEM_KEY, TEMPLATE_KEY, USER_FORMAT_KEY};
use ft_text::{Encoder, Form, Message, Scratch, TextModel, UserFormat};

use crate::error::{Error, Result};
use crate::plain::encode_plain;

/// A model's text side as one converses with it: its template, or that of the adapter on it, and what the adapter learned
/// to see around a question.
#[derive(Debug)]
pub struct Speaker {
    text: TextModel,
    encoder: Encoder,
    system: Option<String>,
    format: Option<UserFormat>,
}

impl Speaker {
    /// Of a model's `text` side and an adapter that learned `form`; `system` is the system message, or else the one that
    /// the adapter was trained with.
    ///
    /// # Errors
    /// If the adapter's template or form of messages cannot be read.
    pub fn new(mut text: TextModel, form: &Form, system: Option<&str>) -> Result<Self> {
        if let Some(template) = form.get(TEMPLATE_KEY) {
            text.set_template(template)?;
        }
        let format = UserFormat::new(form.get(PREFIX_KEY), form.get(USER_FORMAT_KEY));
        let format = format.map_err(|told| Error::content("the adapter's metadata", told))?;
        for id in form.end_ids() {
            if !text.end_ids.contains(&id) {
                text.end_ids.push(id);
            }
        }
        let system = system.or(form.get(SYSTEM_KEY)).map(str::to_owned);
        Ok(Self { encoder: Encoder::new(text.tokenizer.clone()), text, system, format })
    }

    /// The tokenizer, the template and the ends of answers.
    pub fn text(&self) -> &TextModel {
        &self.text
    }

    /// The text and the tokens after which an answer to the last of `turns` begins: those of user and assistant, without
    /// the system's. Without a chat template there is one turn, which is taken as it is.
    ///
    /// # Errors
    /// If the template refuses the turns; if there is none, and a system message or more than one turn.
    pub fn prompt(&self, turns: &[Message]) -> Result<(String, Vec<u32>)> {
        let system = self.system.iter().map(|system| Message::new("system", system.as_str()));
        let mut messages: Vec<Message> = system.chain(turns.iter().cloned()).collect();
        if let Some(format) = &self.format {
            for message in messages.iter_mut().filter(|message| message.role() == "user") {
                *message = Message::new("user", format.apply(message.content().unwrap_or_default()));
            }
        }
        match (&self.text.template, &messages[..]) {
            (Some(template), _) => {
                let text = template.render(&messages, true)?.text;
                let ids = self.encoder.encode(&text, &mut Scratch::default())?.ids;
                Ok((text, ids))
            }
            (None, [only]) => {
                let text = only.content().unwrap_or_default();
                Ok((text.to_owned(), encode_plain(&self.text.tokenizer, text)?))
            }
            (None, _) => {
                let told = "it has no chat template, so there is no place for a system message or for earlier turns; \
                            take one that was tuned for chat, or ask single questions without --system";
                Err(Error::content("the model", told))
            }
        }
    }
}
