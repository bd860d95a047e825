//! The Jinja environment that chat templates expect: that of transformers.

use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::{generation, pyjson};

/// An environment with Python's string, list and dict methods and the functions
/// and filters that transformers adds.
pub(super) fn new() -> Environment<'static> {
    let mut env = Environment::new();
    let syntax = env.syntax().to_builder().trim_blocks(true).lstrip_blocks(true).build();
    env.set_syntax(syntax.expect("the delimiters are the default ones"));
    env.set_unknown_method_callback(unknown_method_callback);
    env.add_test("iterable", is_iterable);
    env.add_filter("tojson", tojson);
    env.add_filter(generation::FILTER, generation::mark);
    env.add_function("raise_exception", raise_exception);
    env.add_function("strftime_now", strftime_now);
    env
}

/// Python's None has no items; minijinja's has none of them. Templates ask this of
/// `tools` before they count them.
fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
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

fn strftime_now(format: &str) -> Result<String, Error> {
    use std::fmt::Write;
    let mut text = String::new();
    write!(text, "{}", chrono::Local::now().format(format)).map_err(|_| {
        Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {format:?} is not a date format"))
    })?;
    Ok(text)
}

/// `tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`,
/// as transformers defines it over Python's `json.dumps`. Jinja's own escapes
/// `<`, `>`, `&` and `'`, which no chat template wants.
#[allow(clippy::needless_pass_by_value)] // minijinja hands the arguments over
fn tojson(_state: &State, value: &Value, ensure_ascii: Option<bool>, kwargs: Kwargs) -> Result<Value, Error> {
    let separators: Option<Vec<String>> = kwargs.get("separators")?;
    let indent: Option<Value> = kwargs.get("indent")?;
    let options = pyjson::Options {
        ensure_ascii: match ensure_ascii {
            Some(flag) => flag,
            None => kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        },
        indent: indent.map(indent_text).transpose()?.flatten(),
        separators: separators.map(two).transpose()?,
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    kwargs.assert_all_used()?;
    pyjson::dumps(value, &options).map(Value::from_safe_string)
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

fn two(list: Vec<String>) -> Result<(String, String), Error> {
    <[String; 2]>::try_from(list)
        .map(|[item, key]| (item, key))
        .map_err(|_| Error::new(ErrorKind::InvalidOperation, "tojson: separators must be a pair of texts"))
}
