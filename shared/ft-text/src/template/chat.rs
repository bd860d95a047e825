//! A compiled template and the conversations that it renders.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{Local, NaiveDateTime};
use minijinja::{Environment, Value};
use sha2::{Digest, Sha256};

use super::beginnings::{Beginnings, Trace};
use super::message::Message;
use super::rendering::Rendering;
use super::rewrite::Rewritten;
use super::values::{Context, Messages};
use super::variables::Variables;
use super::{depth, environment, generation, instrument, rewrite, values};
use crate::error::{Error, Result};

/// A compiled chat template with the special tokens that it may name.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    marks_generation: bool,
    /// Whether there is a twin that tells of the beginnings of a conversation.
    is_instrumented: bool,
    base: Arc<BTreeMap<String, Value>>,
    /// The model's template for conversations with tools, if it has one of its own.
    with_tools: Option<Box<ChatTemplate>>,
}

const NAME: &str = "chat_template";
/// The twin that [`instrument`] makes of it.
const TWIN: &str = "instrumented";

impl ChatTemplate {
    /// Compiles `source`.
    ///
    /// `special_tokens` are the names and texts that the template sees as variables
    /// (`bos_token`, `eos_token`, …); a token that the model lacks is left out and so
    /// undefined, as in transformers. `strftime_now` tells the time of this call.
    ///
    /// # Errors
    /// [`Error::TemplateSyntax`] if the template does not parse, or nests too deep.
    pub fn new(source: &str, special_tokens: &[(String, String)]) -> Result<Self> {
        depth::check(source)?;
        let Rewritten { source: rewritten, marks_generation } = rewrite::rewrite(source);
        let mut environment = environment::new();
        environment::set_clock(&mut environment, Local::now().naive_local());
        let twin = instrument::instrument(&rewritten);
        depth::add(&mut environment, NAME, rewritten)?;
        let is_instrumented = twin.is_some_and(|twin| depth::add(&mut environment, TWIN, twin).is_ok());
        let mut base: BTreeMap<String, Value> =
            special_tokens.iter().map(|(name, text)| (name.clone(), Value::from(text.as_str()))).collect();
        // transformers passes both as None when there are none.
        base.insert("tools".into(), Value::from(()));
        base.insert("documents".into(), Value::from(()));
        let (source, base) = (source.to_owned(), Arc::new(base));
        Ok(Self { environment, source, marks_generation, is_instrumented, base, with_tools: None })
    }

    /// Lets `template` render the conversations that come with tools, as transformers does
    /// where a model names a template `tool_use`.
    #[must_use]
    pub fn with_tools(mut self, template: Self) -> Self {
        self.with_tools = Some(Box::new(template));
        self
    }

    /// The template as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The template for conversations with tools, as it was given, where that is another.
    pub fn tool_source(&self) -> Option<&str> {
        self.with_tools.as_ref().map(|other| other.source.as_str())
    }

    /// What `tokenizer_config.json` says of it: its text, or with a template for tools the
    /// two by their names.
    pub(crate) fn named_sources(&self) -> serde_json::Value {
        let named = |name: &str, source: &str| serde_json::json!({"name": name, "template": source});
        match &self.with_tools {
            None => self.source.as_str().into(),
            Some(other) => vec![named("default", &self.source), named("tool_use", &other.source)].into(),
        }
    }

    /// SHA-256 of the template's text (and that of its twin for tools), in hexadecimal.
    pub fn sha256(&self) -> String {
        digest(&self.source, self.tool_source())
    }

    /// Whether the template marks the assistant's text with `{% generation %}`.
    pub fn marks_generation(&self) -> bool {
        self.marks_generation
    }

    /// Whether the template asks for the date, so that its renderings depend on it.
    pub fn tells_the_date(&self) -> bool {
        self.source.contains("strftime_now") || self.with_tools.as_ref().is_some_and(|t| t.tells_the_date())
    }

    /// Lets `strftime_now` tell `time`.
    pub fn set_clock(&mut self, time: NaiveDateTime) {
        environment::set_clock(&mut self.environment, time);
        if let Some(other) = &mut self.with_tools {
            other.set_clock(time);
        }
    }

    /// Renders `messages`; with `add_generation_prompt` the text ends where the
    /// assistant is to begin.
    ///
    /// # Errors
    /// [`Error::Template`] with the template's own words (`raise_exception`), or if a
    /// message holds a character that is kept for marking spans.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Rendering> {
        self.render_with(messages, &Variables::default(), add_generation_prompt)
    }

    /// The same with tools and other variables.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_with(
        &self,
        messages: &[Message],
        variables: &Variables,
        add_generation_prompt: bool,
    ) -> Result<Rendering> {
        self.conversation(messages, variables)?.render(messages.len(), add_generation_prompt)
    }

    /// Makes the template's values of `messages` once, for several renderings.
    pub(crate) fn conversation<'a>(&'a self, messages: &[Message], variables: &Variables) -> Result<Conversation<'a>> {
        if let Some(other) = self.with_tools.as_ref().filter(|_| variables.has_tools()) {
            return other.conversation(messages, variables);
        }
        if self.marks_generation {
            generation::check(messages)?;
        }
        let messages = messages.iter().map(values::message).collect();
        Ok(Conversation { template: self, messages, variables: variables.values() })
    }
}

/// Messages as the template sees them.
pub(crate) struct Conversation<'a> {
    template: &'a ChatTemplate,
    messages: Vec<Value>,
    variables: Arc<BTreeMap<String, Value>>,
}

impl Conversation<'_> {
    /// Whether the template that renders it marks the assistant's text.
    pub(crate) fn marks_generation(&self) -> bool {
        self.template.marks_generation
    }

    /// The end-of-sequence token, as the template gets it.
    pub(crate) fn end_token(&self) -> Option<&str> {
        self.template.base.get("eos_token").and_then(Value::as_str).filter(|token| !token.is_empty())
    }

    /// What the template makes of no messages, if it is never told whether to prompt: where it prompts in any case, that.
    pub(crate) fn constant_prompt(&self) -> Option<String> {
        let is_told = self.template.source.contains("add_generation_prompt");
        let rendered = (!is_told).then(|| self.render(0, false)).and_then(Result::ok);
        rendered.map(|rendered| rendered.text).filter(|text| !text.is_empty())
    }

    /// Renders the first `count` messages.
    pub(crate) fn render(&self, count: usize, add_generation_prompt: bool) -> Result<Rendering> {
        let messages = Value::from(self.messages[..count].to_vec());
        let text = self.text(NAME, Messages::Plain { messages, add_generation_prompt })?;
        Ok(if self.template.marks_generation {
            generation::take_spans(&text)
        } else {
            Rendering { text, generated: Vec::new() }
        })
    }

    /// How the renderings of the first messages go on from `whole`, that of all without the generation prompt: for each
    /// number of messages that `asked` names, with the prompt or without, as far as one rendering tells it.
    pub(crate) fn beginnings(&self, whole: &Rendering, asked: &[Option<bool>]) -> Beginnings {
        if !self.template.is_instrumented {
            return Beginnings::new();
        }
        let trace = Trace::new(&self.messages, asked);
        // What fails for a beginning alone ends here; who needs it renders it and learns why.
        let marked = self.text(TWIN, Messages::Noted(trace.clone()));
        let told = marked.ok().and_then(|marked| trace.take(&marked, self.template.marks_generation));
        told.filter(|(rendering, _)| rendering == whole).map(|(_, beginnings)| beginnings).unwrap_or_default()
    }

    fn text(&self, name: &str, messages: Messages) -> Result<String> {
        let template = self.template.environment.get_template(name).map_err(|e| Error::Template(e.to_string()))?;
        let context = Context::new(messages, Arc::clone(&self.variables), Arc::clone(&self.template.base));
        template.render(Value::from_object(context)).map_err(|e| Error::Template(describe(&e)))
    }
}

/// The words that a person needs: what the template said, and where.
fn describe(error: &minijinja::Error) -> String {
    // `raise_exception` carries its words as they are, without a line.
    if let Some(raised) = environment::raised(error) {
        return raised.to_owned();
    }
    let words = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("line {line}: {words}"),
        None => words,
    }
}

/// SHA-256 of a template's text and, where there is one, of its twin for tools, in hexadecimal.
pub(crate) fn digest(source: &str, tools: Option<&str>) -> String {
    let mut hasher = Sha256::new_with_prefix(source.as_bytes());
    if let Some(tools) = tools {
        hasher.update(tools.as_bytes());
    }
    crate::fingerprint::hex(&hasher.finalize())
}
