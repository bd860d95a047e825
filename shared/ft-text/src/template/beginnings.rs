//! What a rendering of a whole conversation tells of the renderings of its beginnings ([`super::instrument`]).
//!
//! The messages that the template sees note what is asked of them. What was written before turn `k - 1` of the loop is
//! also how the first `k` messages begin, as long as all that was asked until then is the same for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{Environment, Error, State, Value};

use super::arguments::invalid;
use super::generation;
use super::rendering::Rendering;

/// Names inside instrumented templates. Of a loop's items, the messages; noted by [`Asked`].
pub(super) const TURNS: &str = "ft_turns";
/// Says that a turn begins.
pub(super) const TURN: &str = "ft_turn";
/// Whether it is asked how the messages up to this one are rendered.
pub(super) const ASKED: &str = "ft_asked";
/// Whether with the generation prompt.
pub(super) const PROMPT: &str = "ft_prompt";
/// The messages up to this one.
pub(super) const FIRST: &str = "ft_first";
/// The messages from one on.
pub(super) const FROM: &str = "ft_messages_from";
/// Takes what was rendered of them.
pub(super) const BEGINNING: &str = "ft_beginning";
/// The variable that holds the notes.
const NOTES: &str = "ft_notes";

/// Stands in the text where a beginning parts from the whole; a noncharacter, as [`generation`]'s are.
const MARK: char = '\u{FDD2}';

/// How the rendering of the first messages begins and goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Beginning {
    /// It begins with as many bytes of the whole,
    pub at: usize,
    /// and goes on with this.
    pub rest: String,
    /// The spans of `{% generation %}` in both.
    pub generated: usize,
}

/// For a number of messages, and with or without the generation prompt.
pub(crate) type Beginnings = HashMap<(usize, bool), Beginning>;

/// What happens while a template renders.
#[derive(Debug, Default)]
struct Notes {
    /// For each number of messages, whether it is asked for, and with the generation prompt or without.
    asked: Vec<Option<bool>>,
    /// The message of the loop's first turn; none before it begins.
    first: Option<usize>,
    /// Turns that have begun.
    turns: usize,
    /// One more than the last message that was asked for.
    seen: usize,
    /// Something was asked that is another for each number of messages.
    is_spoiled: bool,
    /// The same of `add_generation_prompt`.
    is_prompt_read: bool,
    /// The beginning that is being rendered.
    current: Option<(usize, bool)>,
    found: Vec<((usize, bool), String)>,
}

/// The messages and the notes of one rendering.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    messages: Arc<Vec<Value>>,
    notes: Arc<Mutex<Notes>>,
}

impl Trace {
    pub(super) fn new(messages: &[Value], asked: &[Option<bool>]) -> Self {
        let notes = Notes { asked: asked.to_vec(), ..Notes::default() };
        Self { messages: Arc::new(messages.to_vec()), notes: Arc::new(Mutex::new(notes)) }
    }

    /// The variable `name`, if it is one that is noted.
    pub(super) fn variable(&self, name: &str) -> Option<Value> {
        match name {
            "messages" => Some(Value::from_object(Traced { trace: self.clone(), from: 0 })),
            "add_generation_prompt" => {
                self.notes().is_prompt_read = true;
                Some(Value::from(false))
            }
            NOTES => Some(Value::from_object(self.clone())),
            _ => None,
        }
    }

    /// Nothing that a thread has left half done: each change is one assignment.
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text of all messages and what is known of the first ones; `None` where marks were lost or moved.
    pub(super) fn take(&self, marked: &str, marks_generation: bool) -> Option<(Rendering, Beginnings)> {
        let found = std::mem::take(&mut self.notes().found);
        let part = |text: &str| {
            if marks_generation {
                generation::take_spans(text)
            } else {
                Rendering { text: text.to_owned(), generated: Vec::new() }
            }
        };
        let mut whole = Rendering { text: String::with_capacity(marked.len()), generated: Vec::new() };
        let mut places = Vec::with_capacity(found.len());
        for (i, piece) in marked.split(MARK).enumerate() {
            if i > 0 {
                places.push((whole.text.len(), whole.generated.len()));
            }
            let piece = part(piece);
            let at = whole.text.len();
            whole.generated.extend(piece.generated.iter().map(|span| span.start + at..span.end + at));
            whole.text.push_str(&piece.text);
        }
        if places.len() != found.len() {
            return None;
        }
        let beginnings = found.into_iter().zip(places).map(|((key, rest), (at, before))| {
            let rest = part(&rest);
            (key, Beginning { at, generated: before + rest.generated.len(), rest: rest.text })
        });
        Some((whole, beginnings.collect()))
    }
}

impl Object for Trace {}

/// The messages from one on, noting what is asked of them.
#[derive(Debug)]
struct Traced {
    trace: Trace,
    from: usize,
}

impl Traced {
    fn spoil(&self) {
        self.trace.notes().is_spoiled = true;
    }

    fn see(&self, index: usize) {
        let mut notes = self.trace.notes();
        // In a copy the names stand for its own messages; who reaches these ones has come another way.
        notes.is_spoiled |= notes.current.is_some();
        // What is behind all messages is behind the first ones too.
        if index < self.trace.messages.len() {
            notes.seen = notes.seen.max(index + 1);
        }
    }

    fn len(&self) -> usize {
        self.trace.messages.len().saturating_sub(self.from)
    }
}

impl Object for Traced {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let index = self.from.checked_add(key.as_usize()?)?;
        self.see(index);
        self.trace.messages.get(index).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.spoil();
        Enumerator::Seq(self.len())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        self.spoil();
        Some(self.len())
    }

    fn is_true(self: &Arc<Self>) -> bool {
        self.see(self.from);
        self.len() > 0
    }
}

/// Some of the messages, and no notes.
#[derive(Debug)]
struct Part {
    messages: Arc<Vec<Value>>,
    from: usize,
    to: usize,
}

impl Part {
    fn value(messages: &Arc<Vec<Value>>, from: usize, to: usize) -> Value {
        Value::from_object(Self { messages: Arc::clone(messages), from: from.min(to), to })
    }
}

impl Object for Part {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let index = self.from.checked_add(key.as_usize()?)?;
        (index < self.to).then(|| self.messages[index].clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.to - self.from)
    }
}

/// Adds the filters and functions that instrumented templates name.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter(TURNS, turns);
    environment.add_filter(FIRST, first);
    environment.add_filter(FROM, from);
    environment.add_filter(BEGINNING, beginning);
    environment.add_function(TURN, turn);
    environment.add_function(ASKED, |state: &State| Ok::<_, Error>(trace(state)?.notes().current.is_some()));
    environment
        .add_function(PROMPT, |state: &State| Ok::<_, Error>(trace(state)?.notes().current.is_some_and(|c| c.1)));
}

fn trace(state: &State) -> Result<Trace, Error> {
    let notes = state.lookup(NOTES);
    let trace = notes.as_ref().and_then(|notes| notes.downcast_object_ref::<Trace>()).cloned();
    trace.ok_or_else(|| invalid("only for instrumented templates"))
}

fn traced(value: &Value) -> Option<&Traced> {
    value.downcast_object_ref::<Traced>()
}

/// The loop over the messages begins: its steps are no question, for a beginning's end there is just where it parts.
#[allow(clippy::needless_pass_by_value)] // minijinja hands the value over
fn turns(state: &State, items: Value) -> Result<Value, Error> {
    let trace = trace(state)?;
    let mut notes = trace.notes();
    match traced(&items) {
        Some(messages) if notes.first.is_none() && notes.current.is_none() => {
            notes.first = Some(messages.from);
            Ok(Part::value(&trace.messages, messages.from, trace.messages.len()))
        }
        _ => Err(invalid("the loop is not one over the messages")),
    }
}

/// A turn begins. Gives the mark, if the beginning that ends with its message can be told.
fn turn(state: &State) -> Result<String, Error> {
    let trace = trace(state)?;
    let mut notes = trace.notes();
    let count = notes.first.unwrap_or_default() + notes.turns + 1;
    notes.turns += 1;
    let asked = notes.asked.get(count).copied().flatten();
    let is_same = |prompt: bool| !notes.is_spoiled && notes.seen <= count && !(prompt && notes.is_prompt_read);
    notes.current = asked.filter(|&prompt| is_same(prompt)).map(|prompt| (count, prompt));
    Ok(if notes.current.is_some() { MARK.to_string() } else { String::new() })
}

/// A name in a copy: the messages end with the current one; anything else is what it is.
fn first(state: &State, value: Value) -> Result<Value, Error> {
    let trace = trace(state)?;
    let count = trace.notes().current.map_or(0, |(count, _)| count);
    Ok(match traced(&value) {
        Some(messages) => Part::value(&trace.messages, messages.from, count),
        None => value,
    })
}

/// `messages[n:]`.
#[allow(clippy::needless_pass_by_value)] // minijinja hands the value over
fn from(messages: Value, start: usize) -> Result<Value, Error> {
    let messages = traced(&messages).ok_or_else(|| invalid("no messages"))?;
    let from = messages.from.saturating_add(start).min(messages.trace.messages.len());
    Ok(Value::from_object(Traced { trace: messages.trace.clone(), from }))
}

/// Takes what a copy has written.
fn beginning(state: &State, text: String) -> Result<&'static str, Error> {
    let trace = trace(state)?;
    let mut notes = trace.notes();
    // What is lost here leaves a mark too many, so that nothing is believed.
    if let Some(key) = notes.current.take().filter(|_| !notes.is_spoiled) {
        notes.found.push((key, text));
    }
    Ok("")
}
