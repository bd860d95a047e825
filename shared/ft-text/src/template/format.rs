//! Filters that lay text out, and `%`.

use std::fmt::Write;

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Rest, ValueOrKwargs};
use minijinja::{Environment, Error, Value};

use super::arguments::{Arguments, invalid};
use super::{pyrepr, pytext};

/// The name of the filter [`percent`] inside rewritten templates.
pub(super) const PERCENT: &str = "ft_percent";

/// Puts them into `env`.
pub(super) fn add(env: &mut Environment<'static>) {
    env.add_filter(PERCENT, percent);
    for name in ["e", "escape", "forceescape"] {
        env.add_filter(name, escape);
    }
    env.add_filter("string", |value: &Value| pyrepr::text(value));
    env.add_filter("join", join);
    env.add_filter("trim", trim);
    env.add_filter("center", |value: &Value, width: Option<usize>| {
        pytext::center(&pyrepr::text(value), width.unwrap_or(80).min(1 << 20), ' ')
    });
    env.add_filter("indent", indent);
    env.add_filter("truncate", truncate);
    env.add_filter("wordcount", |text: &str| pytext::words(text).count());
}

/// HTML's five characters, written as markupsafe writes them; not in what is `safe`.
fn escape(value: &Value) -> Value {
    if value.is_safe() {
        return value.clone();
    }
    let text = pyrepr::text(value).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    Value::from_safe_string(text.replace('\'', "&#39;").replace('"', "&#34;"))
}

/// `text % arguments` of Python.
fn percent(text: &str, arguments: &Value) -> Result<String, Error> {
    let arguments: Vec<Value> =
        if arguments.is_tuple() { arguments.try_iter()?.collect() } else { vec![arguments.clone()] };
    // %s is the text of a value, and %r what Python would show of it.
    let mut shown = arguments.iter();
    let mut pattern = String::with_capacity(text.len());
    let mut ready = Vec::with_capacity(arguments.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let length = 1 + rest[at + 1..].find(|c: char| !"#0- +.123456789".contains(c)).unwrap_or(rest.len() - at - 1);
        let kind = rest[at + length..].chars().next().ok_or_else(|| invalid("incomplete format"))?;
        let end = at + length + kind.len_utf8();
        let kind_written = if kind == 'r' { 's' } else { kind };
        let _ = write!(pattern, "{}{kind_written}", &rest[..at + length]);
        rest = &rest[end..];
        if kind != '%' {
            let value = shown.next().ok_or_else(|| invalid("not enough arguments for format string"))?;
            ready.push(match kind {
                's' => Value::from(pyrepr::text(value)),
                'r' => Value::from(pyrepr::repr(value)),
                _ => value.clone(),
            });
        }
    }
    pattern.push_str(rest);
    if shown.next().is_some() {
        return Err(invalid("not all arguments converted during string formatting"));
    }
    format(FormatStyle::Printf, &pattern, &ready)
}

/// `join(value, d="", attribute=none)`.
fn join(value: &Value, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    super::lazy::check(value)?;
    let args = Arguments::of(&args.into_values(), &["d", "attribute"])?;
    let between = args.get(0).map(pyrepr::text).unwrap_or_default();
    let parts: Vec<String> = match args.get(1) {
        None => value.try_iter()?.map(|item| pyrepr::text(&item)).collect(),
        Some(name) => {
            value.try_iter()?.map(|item| Ok(pyrepr::text(&path(&item, name)?))).collect::<Result<_, Error>>()?
        }
    };
    Ok(parts.join(&between))
}

/// `item.a.b` for `a.b`, `item[1]` for a number.
fn path(item: &Value, name: &Value) -> Result<Value, Error> {
    let Some(text) = name.as_str() else {
        return item.get_item(name);
    };
    text.split('.').try_fold(item.clone(), |value, part| match part.parse::<usize>() {
        Ok(index) => value.get_item(&Value::from(index)),
        Err(_) => value.get_attr(part),
    })
}

/// `trim(value, chars=none)`, as `str.strip` has it.
fn trim(value: &Value, chars: Option<&str>) -> String {
    pytext::strip(&pyrepr::text(value), chars, true, true).to_owned()
}

/// `indent(text, width=4, first=false, blank=false)`; the width may be the text itself.
fn indent(text: &Value, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let args = Arguments::of(&args.into_values(), &["width", "first", "blank"])?;
    let margin = match args.get(0) {
        Some(width) if width.as_str().is_some() => pyrepr::text(width),
        _ => " ".repeat(args.maybe_number(0)?.map_or(4, |n| usize::try_from(n).unwrap_or(0)).min(1 << 20)),
    };
    // Jinja adds a line break first, so that an empty text is one empty line.
    let text = pyrepr::text(text) + "\n";
    let mut out = String::with_capacity(text.len() * 2);
    for (i, line) in pytext::lines(&text, false).into_iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        let wanted = if i == 0 { args.flag(1) } else { args.flag(2) || !line.is_empty() };
        if wanted {
            out.push_str(&margin);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// `truncate(text, length=255, killwords=false, end="...", leeway=5)`.
fn truncate(text: &str, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let args = Arguments::of(&args.into_values(), &["length", "killwords", "end", "leeway"])?;
    let number = |at: usize, default: usize| -> Result<usize, Error> {
        Ok(args.maybe_number(at)?.map_or(default, |n| usize::try_from(n).unwrap_or(0)))
    };
    let (length, leeway) = (number(0, 255)?, number(3, 5)?);
    let end = args.maybe_text(2)?.unwrap_or("...");
    if text.chars().count() <= length + leeway {
        return Ok(text.to_owned());
    }
    let kept: String = text.chars().take(length.saturating_sub(end.chars().count())).collect();
    let kept = if args.flag(1) { &kept } else { kept.rsplit_once(' ').map_or(kept.as_str(), |(words, _)| words) };
    Ok(format!("{kept}{end}"))
}
