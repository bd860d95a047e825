//! How Python writes a value: `str` and `repr`.

use std::fmt::Write;

use minijinja::Value;
use minijinja::value::ValueKind;

use super::{lazy, pyjson};

/// `str(value)`.
pub(super) fn text(value: &Value) -> String {
    match (value.as_str(), value.kind()) {
        (Some(text), _) => text.to_owned(),
        (None, ValueKind::Number | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) => repr(value),
        _ => value.to_string(),
    }
}

/// `repr(value)`.
pub(super) fn repr(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value);
    out
}

fn write(out: &mut String, value: &Value) {
    match value.kind() {
        ValueKind::String => quoted(out, value.as_str().unwrap_or_default()),
        ValueKind::Number => out.push_str(&number(value)),
        ValueKind::Map => {
            let keys = value.try_iter().into_iter().flatten();
            list(out, ('{', '}'), keys, |out, key| {
                write(out, key);
                out.push_str(": ");
                write(out, &value.get_item(key).unwrap_or_default());
            });
        }
        ValueKind::Seq if value.is_tuple() => {
            list(out, ('(', ')'), value.try_iter().into_iter().flatten(), write);
            if value.len() == Some(1) {
                out.truncate(out.len() - 1);
                out.push_str(",)");
            }
        }
        ValueKind::Seq | ValueKind::Iterable if !lazy::is_lazy(value) => {
            list(out, ('[', ']'), value.try_iter().into_iter().flatten(), write);
        }
        // Writing into a String cannot fail.
        _ => {
            let _ = write!(out, "{value}");
        }
    }
}

fn list(
    out: &mut String,
    (open, close): (char, char),
    items: impl Iterator<Item = Value>,
    item: impl Fn(&mut String, &Value),
) {
    out.push(open);
    for (i, value) in items.enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        item(out, &value);
    }
    out.push(close);
}

fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let float = f64::try_from(value.clone()).unwrap_or_default();
    match pyjson::float_repr(float).as_str() {
        "NaN" => "nan".into(),
        "Infinity" => "inf".into(),
        "-Infinity" => "-inf".into(),
        digits => digits.into(),
    }
}

/// A text in single quotes, or in double ones if it holds single ones alone.
fn quoted(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c => {
                let code = u32::from(c);
                let _ = match code {
                    0..=0xFF => write!(out, "\\x{code:02x}"),
                    0x100..=0xFFFF => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

/// `str.isprintable` of one character, which Rust's own escapes know as well: control
/// and format characters, separators but the space, and what is not assigned are not.
fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        '\u{ad}' => false,
        c if c.is_control() || c.is_whitespace() => false,
        // Rust leaves characters that join others escaped too; Python prints them.
        c => c.escape_debug().len() == 1 || is_joining(c),
    }
}

/// Marks that join the character before them.
fn is_joining(c: char) -> bool {
    let joined = ['a', c].iter().collect::<String>();
    joined.escape_debug().count() == 2
}
