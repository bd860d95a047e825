//! The Jinja environment that chat templates expect: that of transformers.

use chrono::NaiveDateTime;
use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value};

use super::arguments::{Arguments, invalid};
use super::{beginnings, clock, filters, format, generation, methods, pyjson, pyrepr};

/// An environment with Python's string, list and dict methods and the functions
/// and filters that transformers adds.
pub(super) fn new() -> Environment<'static> {
    let mut env = Environment::new();
    let syntax = env.syntax().to_builder().trim_blocks(true).lstrip_blocks(true).build();
    env.set_syntax(syntax.expect("the delimiters are the default ones"));
    env.set_unknown_method_callback(methods::call);
    env.set_formatter(write);
    filters::add(&mut env);
    format::add(&mut env);
    beginnings::add(&mut env);
    env.add_function("dict", dict);
    env.add_filter("tojson", tojson);
    env.add_filter(generation::FILTER, generation::mark);
    env.add_function("raise_exception", raise_exception);
    env
}

/// The error that `raise_exception` carries, so that its words can be told from
/// the engine's own.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
}

/// The words given to `raise_exception`, if that is what failed.
pub(super) fn raised(error: &minijinja::Error) -> Option<&str> {
    let mut cause = std::error::Error::source(error);
    while let Some(e) = cause {
        if let Some(Raised(words)) = e.downcast_ref::<Raised>() {
            return Some(words);
        }
        cause = e.source();
    }
    None
}

/// Lets `strftime_now` tell `time`.
pub(super) fn set_clock(env: &mut Environment<'static>, time: NaiveDateTime) {
    env.add_function("strftime_now", move |format: &str| clock::strftime(time, format));
}

/// Writes the value of `{{ … }}`: as Python does, but nothing of what is undefined.
fn write(out: &mut Output, _state: &mut State, value: &Value) -> Result<(), Error> {
    let written = match value.as_str() {
        Some(text) => out.write_str(text),
        None if value.is_undefined() => Ok(()),
        None => out.write_str(&pyrepr::text(value)),
    };
    written.map_err(|_| Error::new(ErrorKind::WriteFailure, "cannot write"))
}

/// `dict(…)` of a map or of pairs, and of names.
fn dict(args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = args.into_values();
    let (placed, named): (&[Value], Kwargs) = from_args(&args)?;
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    for value in placed {
        for item in value.try_iter()? {
            pairs.push(match value.kind() {
                ValueKind::Map => (item.clone(), value.get_item(&item)?),
                _ => (item.get_item(&Value::from(0))?, item.get_item(&Value::from(1))?),
            });
        }
    }
    for name in named.args() {
        pairs.push((Value::from(name), named.get::<Value>(name)?));
    }
    Ok(Value::from_pairs(pairs))
}

/// `tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`,
/// as transformers defines it over Python's `json.dumps`. Jinja's own escapes
/// `<`, `>`, `&` and `'`, which no chat template wants.
fn tojson(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = Arguments::of(&args.into_values(), &["ensure_ascii", "indent", "separators", "sort_keys"])?;
    let separators = args.get(2).filter(|value| !value.is_none());
    let options = pyjson::Options {
        ensure_ascii: args.flag(0),
        indent: args.get(1).cloned().map(indent_text).transpose()?.flatten(),
        separators: separators.map(two).transpose()?,
        sort_keys: args.flag(3),
    };
    pyjson::dumps(value, &options).map(Value::from)
}

/// Python takes a number of spaces or the text itself.
fn indent_text(value: Value) -> Result<Option<String>, Error> {
    if value.is_none() || value.is_undefined() {
        return Ok(None);
    }
    if let Some(text) = value.as_str() {
        return Ok(Some(text.to_owned()));
    }
    let width = i64::try_from(value)?;
    Ok(Some(" ".repeat(usize::try_from(width).unwrap_or(0))))
}

fn two(pair: &Value) -> Result<(String, String), Error> {
    let texts: Option<Vec<String>> = pair.try_iter()?.map(|text| text.as_str().map(str::to_owned)).collect();
    <[String; 2]>::try_from(texts.unwrap_or_default())
        .map(|[item, key]| (item, key))
        .map_err(|_| invalid("tojson: separators must be a pair of texts"))
}
