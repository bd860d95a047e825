//! Methods of Python's types, for `{{ value.method(…) }}`.
//!
//! Transformers renders in a sandbox, where nothing can be changed in place: `append` and
//! its like are refused there as here.

use std::sync::LazyLock;

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use regex::Regex;

use super::arguments::{Arguments, invalid};
use super::lazy::View;
use super::pytext;

/// Calls `value.method(args)`.
#[allow(clippy::unnecessary_wraps)] // as minijinja wants it
pub(super) fn call(_state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => text(value.as_str().unwrap_or_default(), method, args),
        ValueKind::Map => map(value, method, args),
        ValueKind::Seq | ValueKind::Iterable => list(value, method, args),
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

fn text(s: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let none = || Arguments::of(args, &[]);
    Ok(match method {
        "strip" | "lstrip" | "rstrip" => {
            let args = Arguments::of(args, &["chars"])?;
            Value::from(pytext::strip(s, args.maybe_text(0)?, method != "rstrip", method != "lstrip"))
        }
        "split" | "rsplit" => split(s, method == "rsplit", &Arguments::of(args, &["sep", "maxsplit"])?)?,
        "splitlines" => {
            let args = Arguments::of(args, &["keepends"])?;
            texts(pytext::lines(s, args.flag(0)))
        }
        "partition" | "rpartition" => partition(s, method == "rpartition", &Arguments::of(args, &["sep"])?)?,
        "startswith" | "endswith" => Value::from(affix(s, method == "startswith", args)?),
        "find" | "rfind" | "index" | "rindex" | "count" => search(s, method, args)?,
        "replace" => {
            let args = Arguments::of(args, &["old", "new", "count"])?;
            Value::from(s.replacen(args.text(0)?, args.text(1)?, args.limit(2)?))
        }
        "removeprefix" => {
            let args = Arguments::of(args, &["prefix"])?;
            Value::from(s.strip_prefix(args.text(0)?).unwrap_or(s))
        }
        "removesuffix" => {
            let args = Arguments::of(args, &["suffix"])?;
            Value::from(s.strip_suffix(args.text(0)?).unwrap_or(s))
        }
        "join" => join(s, &Arguments::of(args, &["iterable"])?)?,
        "ljust" | "rjust" | "center" => fill(s, method, &Arguments::of(args, &["width", "fillchar"])?)?,
        "zfill" => {
            let args = Arguments::of(args, &["width"])?;
            Value::from(pytext::zero_fill(s, args.limit(0)?.min(1 << 20)))
        }
        "expandtabs" => {
            let args = Arguments::of(args, &["tabsize"])?;
            Value::from(pytext::expand_tabs(s, usize::try_from(args.maybe_number(0)?.unwrap_or(8)).unwrap_or(0)))
        }
        "format" => Value::from(format(FormatStyle::StrFormat, s, args)?),
        "upper" => none().map(|_| Value::from(s.to_uppercase()))?,
        "lower" => none().map(|_| Value::from(s.to_lowercase()))?,
        // Full case folding, for the letters where it is more than lower case.
        "casefold" => none().map(|_| Value::from(s.to_lowercase().replace('ß', "ss").replace('ς', "σ")))?,
        "title" => none().map(|_| Value::from(pytext::title(s)))?,
        "capitalize" => none().map(|_| Value::from(pytext::capitalize(s)))?,
        "swapcase" => none().map(|_| Value::from(pytext::swap_case(s)))?,
        _ => Value::from(question(s, method).ok_or(ErrorKind::UnknownMethod)?),
    })
}

/// The methods that answer yes or no.
fn question(s: &str, method: &str) -> Option<bool> {
    let all = |test: fn(char) -> bool| !s.is_empty() && s.chars().all(test);
    let cased = |test: fn(char) -> bool, other: fn(char) -> bool| s.chars().any(test) && !s.chars().any(other);
    Some(match method {
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isdecimal" => all(is_decimal),
        "isdigit" => all(|c| is_decimal(c) || is_script_digit(c)),
        "isnumeric" => all(char::is_numeric),
        "isspace" => all(pytext::is_space),
        "isascii" => s.is_ascii(),
        "islower" => cased(char::is_lowercase, char::is_uppercase),
        "isupper" => cased(char::is_uppercase, char::is_lowercase),
        "istitle" => s.chars().any(char::is_uppercase) && pytext::title(s) == s,
        "isidentifier" => {
            s.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
                && s.chars().all(|c| c.is_alphanumeric() || c == '_')
        }
        _ => return None,
    })
}

/// Unicode's decimal digits, of any script.
fn is_decimal(c: char) -> bool {
    static DECIMAL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\A\p{Nd}\z").ok());
    c.is_ascii_digit() || (c.is_numeric() && DECIMAL.as_ref().is_some_and(|d| d.is_match(c.encode_utf8(&mut [0; 4]))))
}

/// Superscripts and subscripts, which are digits to Python but no decimals.
fn is_script_digit(c: char) -> bool {
    matches!(c, '²' | '³' | '¹' | '\u{2070}' | '\u{2074}'..='\u{2079}' | '\u{2080}'..='\u{2089}')
}

fn texts<'a>(parts: impl IntoIterator<Item = &'a str>) -> Value {
    Value::from(parts.into_iter().map(Value::from).collect::<Vec<_>>())
}

fn split(s: &str, from_right: bool, args: &Arguments) -> Result<Value, Error> {
    let limit = args.limit(1)?;
    let Some(separator) = args.maybe_text(0)? else {
        return Ok(texts(if from_right { pytext::rsplit_space(s, limit) } else { pytext::split_space(s, limit) }));
    };
    if separator.is_empty() {
        return Err(invalid("empty separator"));
    }
    let pieces = limit.saturating_add(1);
    if from_right {
        let mut parts: Vec<&str> = s.rsplitn(pieces, separator).collect();
        parts.reverse();
        return Ok(texts(parts));
    }
    Ok(texts(s.splitn(pieces, separator)))
}

fn partition(s: &str, from_right: bool, args: &Arguments) -> Result<Value, Error> {
    let separator = args.text(0)?;
    if separator.is_empty() {
        return Err(invalid("empty separator"));
    }
    let found = if from_right { s.rsplit_once(separator) } else { s.split_once(separator) };
    let parts = match found {
        Some((before, after)) => [before, separator, after],
        None if from_right => ["", "", s],
        None => [s, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

/// `startswith` and `endswith`: of a text or of any of several.
fn affix(s: &str, at_start: bool, args: &[Value]) -> Result<bool, Error> {
    let args = Arguments::of(args, &["affix", "start", "end"])?;
    let Some((_, s)) = pytext::part(s, args.maybe_number(1)?, args.maybe_number(2)?) else {
        return Ok(false);
    };
    let holds = |affix: &str| if at_start { s.starts_with(affix) } else { s.ends_with(affix) };
    let wanted = args.value(0)?;
    if let Some(text) = wanted.as_str() {
        return Ok(holds(text));
    }
    if !wanted.is_tuple() {
        return Err(invalid(format!("expected a text or a tuple of texts, found {}", wanted.kind())));
    }
    for affix in wanted.try_iter()? {
        if holds(affix.as_str().ok_or_else(|| invalid("expected a tuple of texts"))?) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn search(s: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let args = Arguments::of(args, &["sub", "start", "end"])?;
    let what = args.text(0)?;
    let part = pytext::part(s, args.maybe_number(1)?, args.maybe_number(2)?);
    if method == "count" {
        return Ok(Value::from(part.map_or(0, |(_, part)| part.matches(what).count())));
    }
    let found = part.and_then(|(before, part)| {
        let byte = if method.starts_with('r') { part.rfind(what) } else { part.find(what) }?;
        Some(before + part[..byte].chars().count())
    });
    match found {
        Some(at) => Ok(Value::from(at)),
        None if method.ends_with("find") => Ok(Value::from(-1)),
        None => Err(invalid("substring not found")),
    }
}

fn join(s: &str, args: &Arguments) -> Result<Value, Error> {
    let parts: Vec<Value> = args.value(0)?.try_iter()?.collect();
    let parts: Option<Vec<&str>> = parts.iter().map(Value::as_str).collect();
    Ok(Value::from(parts.ok_or_else(|| invalid("join: expected texts"))?.join(s)))
}

fn fill(s: &str, method: &str, args: &Arguments) -> Result<Value, Error> {
    let width = usize::try_from(args.maybe_number(0)?.ok_or(ErrorKind::MissingArgument)?).unwrap_or(0).min(1 << 20);
    let mut fill = args.maybe_text(1)?.unwrap_or(" ").chars();
    let (Some(c), None) = (fill.next(), fill.next()) else {
        return Err(invalid("the fill character must be exactly one character long"));
    };
    Ok(Value::from(match method {
        "ljust" => pytext::left(s, width, c),
        "rjust" => pytext::right(s, width, c),
        _ => pytext::center(s, width, c),
    }))
}

fn map(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let pairs = || -> Result<Vec<(Value, Value)>, Error> {
        Arguments::of(args, &[])?;
        value.try_iter()?.map(|key| Ok((key.clone(), value.get_item(&key)?))).collect()
    };
    Ok(match method {
        "get" => {
            let args = Arguments::of(args, &["key", "default"])?;
            let found = value.as_object().and_then(|map| map.get_value(args.get(0)?));
            args.value(0)?;
            found.unwrap_or_else(|| args.get(1).cloned().unwrap_or_else(|| Value::from(())))
        }
        "keys" => View::value("dict_keys", pairs()?.into_iter().map(|(key, _)| key).collect()),
        "values" => View::value("dict_values", pairs()?.into_iter().map(|(_, value)| value).collect()),
        "items" => {
            let items = pairs()?.into_iter().map(|(key, value)| Value::from(Tuple::from([key, value])));
            View::value("dict_items", items.collect())
        }
        "copy" => Arguments::of(args, &[]).map(|_| value.clone())?,
        _ => return Err(ErrorKind::UnknownMethod.into()),
    })
}

fn list(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let wanted = || Arguments::of(args, &["value"]);
    Ok(match method {
        "count" => {
            let args = wanted()?;
            let wanted = args.value(0)?;
            Value::from(value.try_iter()?.filter(|item| item == wanted).count())
        }
        "index" => {
            let args = wanted()?;
            let wanted = args.value(0)?;
            Value::from(value.try_iter()?.position(|item| item == *wanted).ok_or_else(|| invalid("not in list"))?)
        }
        "copy" => Arguments::of(args, &[]).map(|_| value.clone())?,
        _ => return Err(ErrorKind::UnknownMethod.into()),
    })
}
