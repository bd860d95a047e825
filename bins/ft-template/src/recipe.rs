//! How conversations and documents become rows of tokens.

use ft_io::IGNORE_INDEX;
use ft_table::schema::CONTENT;
use ft_text::{
    ChatTemplate, Encoded, Encoder, Error, LabelMode, Message, Scratch, UserFormat, Variables, forgets_earlier_turns,
    label_tokens, learned_turns, render_labelled,
};
use serde_json::{Map, Value};

use crate::args::{Mode, Overlong};
use crate::documents::{self, Frame};
use crate::ends::open_end;
use crate::fit::{self, Rendered};
use crate::parts::{Parts, Places};
use crate::row::{Reject, Row};

/// Everything that decides how a row of the input becomes tokens.
#[derive(Debug)]
pub struct Recipe {
    pub encoder: Encoder,
    pub mode: Mode,
    pub longest: Option<usize>,
    pub overlong: Overlong,
    pub kind: Kind,
}

/// What the input holds.
#[derive(Debug)]
pub enum Kind {
    Chats(Box<Chats>),
    Documents { frame: Frame, packed: bool },
}

/// How conversations are rendered.
#[derive(Debug)]
pub struct Chats {
    pub template: ChatTemplate,
    pub labels: LabelMode,
    pub expand_turns: bool,
    pub user_format: Option<UserFormat>,
    pub system: Option<String>,
    /// The template's variables where a row gives none.
    pub variables: Map<String, Value>,
    /// The same as the template takes them.
    pub shared: Variables,
    /// Id and text of the begin-of-sequence token.
    pub bos: Option<(u32, String)>,
    pub end_ids: Vec<u32>,
}

/// The rows of one conversation or document; more than one where it is cut up.
pub type Rows = Vec<Result<Row, Reject>>;

impl Recipe {
    /// Makes the rows of a document.
    pub fn document(&self, document: &str, scratch: &mut Scratch) -> Rows {
        let Kind::Documents { frame, packed } = &self.kind else {
            return vec![Err(Reject::Bad("expected messages and found a text".into()))];
        };
        let longest = if *packed { None } else { self.longest };
        match frame.encode(document, &self.encoder, scratch) {
            Ok((text, tokens)) => documents::rows(text, tokens, longest, self.overlong),
            Err(error) => vec![Err(Reject::Fatal(error))],
        }
    }

    /// Makes the rows of `messages`; `variables` and `reference` are what the input gives.
    pub fn chat(
        &self,
        mut messages: Vec<Message>,
        variables: Map<String, Value>,
        reference: Option<&str>,
        scratch: &mut Scratch,
    ) -> Rows {
        let Kind::Chats(chats) = &self.kind else {
            return vec![Err(Reject::Bad("expected a text and found messages".into()))];
        };
        if let Err(reject) = chats.dress(&mut messages) {
            return vec![Err(reject)];
        }
        let mut work = Work { recipe: self, chats, variables: chats.complete(variables), reference, scratch };
        let rows = work.rows(&messages);
        // Templates that append to an answer's text cannot do without one, where OpenAI's data have none beside calls.
        match with_texts(&messages).filter(|_| matches!(rows[..], [Err(Reject::Bad(_))])) {
            Some(messages) => Some(work.rows(&messages)).filter(|rows| rows.iter().all(Result::is_ok)).unwrap_or(rows),
            None => rows,
        }
    }
}

/// The messages with an empty text where one has only calls; none where each has its text.
fn with_texts(messages: &[Message]) -> Option<Vec<Message>> {
    let lacks = |message: &Message| !message.fields().contains_key(CONTENT);
    messages.iter().any(lacks).then(|| {
        let mut messages = messages.to_vec();
        messages.iter_mut().filter(|message| lacks(message)).for_each(|message| message.set_content(""));
        messages
    })
}

impl Chats {
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
}

/// One conversation at work.
struct Work<'a> {
    recipe: &'a Recipe,
    chats: &'a Chats,
    variables: Variables,
    reference: Option<&'a str>,
    scratch: &'a mut Scratch,
}

impl Work<'_> {
    fn rows(&mut self, messages: &[Message]) -> Rows {
        match self.recipe.mode {
            Mode::Test => vec![self.test_row(messages.to_vec())],
            Mode::Train if self.chats.expand_turns => self.expanded(messages),
            Mode::Train => vec![self.training_row(messages, self.chats.labels)],
        }
    }

    /// A row of each answer where the template would render earlier ones differently; else one row of all.
    fn expanded(&mut self, messages: &[Message]) -> Rows {
        let chats = self.chats;
        let turns = learned_turns(messages, chats.labels);
        let whole = turns.len() < 2 && turns.last().is_none_or(|&turn| turn + 1 == messages.len());
        let forgets = if whole {
            Ok(false)
        } else {
            forgets_earlier_turns(&chats.template, messages, &self.variables, chats.labels)
        };
        match forgets {
            Err(error) => vec![Err(Reject::of(error))],
            Ok(false) => vec![self.training_row(messages, chats.labels)],
            Ok(true) => {
                let answers = turns.into_iter().filter(|&turn| messages[turn].is_assistant());
                answers.map(|turn| self.training_row(&messages[..=turn], LabelMode::Completion)).collect()
            }
        }
    }

    fn training_row(&mut self, messages: &[Message], labels: LabelMode) -> Result<Row, Reject> {
        let (chats, variables) = (self.chats, self.variables.clone());
        let rendered = self.fitted(messages, |messages| {
            let rendered = render_labelled(&chats.template, messages, &variables, labels)?;
            Ok((rendered.text, rendered.spans))
        })?;
        let Rendered { text, tokens, spans, lost, first, bytes } = rendered;
        let labels = label_tokens(&tokens.ids, &tokens.starts, &spans);
        if labels.iter().all(|&label| label == IGNORE_INDEX) {
            return Err(Reject::Unlabelled);
        }
        let open_end = open_end(&text, &tokens, &labels, &chats.end_ids);
        let shown = fit::without(messages, first);
        let parts = Places::find(&text, bytes, &chats.template, &shown, &variables).count(&tokens, &labels);
        Ok(Row { text, tokens, labels, reference: self.reference.map(str::to_owned), lost, open_end, parts })
    }

    fn test_row(&mut self, mut messages: Vec<Message>) -> Result<Row, Reject> {
        let answer = messages.pop_if(|m| m.is_assistant()).and_then(|m| said(&m));
        if messages.is_empty() {
            return Err(Reject::Bad("there is only an answer, and no question before it".into()));
        }
        let (chats, variables) = (self.chats, self.variables.clone());
        let rendered = self.fitted(&messages, |messages| {
            Ok((chats.template.render_with(messages, &variables, true)?.text, Vec::new()))
        })?;
        let Rendered { text, tokens, lost, .. } = rendered;
        let labels = vec![IGNORE_INDEX; tokens.ids.len()];
        let parts = Parts { prompt: labels.len() as u64, ..Parts::default() };
        let reference = answer.or_else(|| self.reference.map(str::to_owned));
        Ok(Row { text, tokens, labels, reference, lost, open_end: None, parts })
    }

    /// The messages rendered, encoded, and made short enough as `--overlong` says.
    fn fitted(
        &mut self,
        messages: &[Message],
        render: impl Fn(&[Message]) -> Result<(String, fit::Spans), Error>,
    ) -> Result<Rendered, Reject> {
        let (recipe, chats) = (self.recipe, self.chats);
        let scratch = &mut *self.scratch;
        fit::fitted(messages, recipe.longest, recipe.overlong, |messages| {
            let (text, spans) = render(messages).map_err(Reject::of)?;
            let tokens = chats.encode(&recipe.encoder, &text, scratch)?;
            Ok(Rendered { bytes: text.len(), text, tokens, spans, lost: 0, first: None })
        })
    }
}

impl Chats {
    fn encode(&self, encoder: &Encoder, text: &str, scratch: &mut Scratch) -> Result<Encoded, Reject> {
        let tokens = encoder.encode(text, scratch).map_err(Reject::Fatal)?;
        if let Some((bos, token)) = &self.bos
            && tokens.ids.starts_with(&[*bos, *bos])
        {
            return Err(Reject::Fatal(Error::DoubleBos { token: token.clone() }));
        }
        Ok(tokens)
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
