//! Jinja's filters and tests where minijinja's differ.

use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value, filters};

use super::arguments::Arguments;
use super::lazy::{self, Generator};

/// Puts them into `env`.
pub(super) fn add(env: &mut Environment<'static>) {
    for (name, filter) in [
        ("map", Value::from_function(filters::map)),
        ("select", Value::from_function(filters::select)),
        ("reject", Value::from_function(filters::reject)),
        ("selectattr", Value::from_function(filters::selectattr)),
        ("rejectattr", Value::from_function(filters::rejectattr)),
    ] {
        // These alone take none for no items, in Python too.
        env.add_filter(name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
            generator(filter.call(state, &args.into_values())?)
        });
    }
    for (name, filter) in [
        ("unique", Value::from_function(filters::unique)),
        ("batch", Value::from_function(filters::batch)),
        ("slice", Value::from_function(filters::slice)),
        ("items", Value::from_function(filters::items)),
        ("reverse", Value::from_function(filters::reverse)),
    ] {
        env.add_filter(name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
            generator(checked(state, &filter, args)?)
        });
    }
    // These give no generators, but need an iterable all the same.
    for (name, filter) in [
        ("list", Value::from_function(filters::list)),
        ("sort", Value::from_function(filters::sort)),
        ("groupby", Value::from_function(filters::groupby)),
        ("sum", Value::from_function(filters::sum)),
    ] {
        env.add_filter(name, move |state: &mut State, args: Rest<ValueOrKwargs>| checked(state, &filter, args));
    }
    env.add_filter(lazy::ITERABLE, lazy::iterable);
    env.add_filter("default", default);
    env.add_filter("d", default);
    env.add_filter("dictsort", dict_sort);
    env.add_filter("int", int);
    env.add_filter("float", float);
    // What minijinja has and Jinja has not is unknown here too.
    for name in ["split", "lines", "bool", "chain", "zip"] {
        env.remove_filter(name);
    }
    env.add_test("iterable", is_iterable);
    env.add_test("sequence", is_sequence);
    env.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
}

/// Items to be gone through once. A text turned around stays a text.
fn generator(items: Value) -> Result<Value, Error> {
    if items.as_str().is_some() {
        return Ok(items);
    }
    Ok(Generator::value(items.try_iter()?.collect()))
}

fn checked(state: &mut State, filter: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = args.into_values();
    if let Some(value) = args.first() {
        lazy::check(value)?;
    }
    filter.call(state, &args)
}

/// `default(value, default_value="", boolean=false)`.
#[allow(clippy::needless_pass_by_value)] // minijinja hands the arguments over
fn default(value: Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = Arguments::of(&args.into_values(), &["default_value", "boolean"])?;
    let replaced = value.is_undefined() || (args.flag(1) && !value.is_true());
    Ok(if replaced { args.get(0).cloned().unwrap_or_else(|| Value::from("")) } else { value })
}

/// `dictsort(value, case_sensitive=false, by="key", reverse=false)`.
fn dict_sort(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    const NAMES: [&str; 3] = ["case_sensitive", "by", "reverse"];
    let args = Arguments::of(&args.into_values(), &NAMES)?;
    let named = NAMES.iter().enumerate().filter_map(|(i, name)| Some((*name, args.get(i)?.clone())));
    filters::dictsort(value, named.collect::<Kwargs>())
}

/// `int(value, default=0, base=10)`: a text with a fraction counts, without it.
fn int(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = Arguments::of(&args.into_values(), &["default", "base"])?;
    let base = args.maybe_number(1)?.and_then(|base| u32::try_from(base).ok()).unwrap_or(10);
    let found = match value.as_str() {
        Some(text) => whole(text, base).or_else(|| text.trim().parse::<f64>().ok().and_then(truncated)),
        None if value.kind() == ValueKind::Bool => Some(i64::from(value.is_true())),
        None if value.is_integer() => return Ok(value.clone()),
        None => f64::try_from(value.clone()).ok().and_then(truncated),
    };
    Ok(found.map_or_else(|| args.get(0).cloned().unwrap_or_else(|| Value::from(0)), Value::from))
}

/// A whole number in `base`, as Python's `int` reads it.
fn whole(text: &str, base: u32) -> Option<i64> {
    let text = text.trim().to_lowercase().replace('_', "");
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(&text)),
    };
    let prefix = match base {
        2 => "0b",
        8 => "0o",
        16 => "0x",
        _ => "",
    };
    let digits = digits.strip_prefix(prefix).unwrap_or(digits);
    (2..=36).contains(&base).then(|| i64::from_str_radix(digits, base).ok())?.map(|n| sign * n)
}

fn truncated(x: f64) -> Option<i64> {
    (x.is_finite() && x.abs() < 9e18).then_some(x as i64)
}

/// `float(value, default=0.0)`.
fn float(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = Arguments::of(&args.into_values(), &["default"])?;
    let found = match value.as_str() {
        Some(text) => text.trim().replace('_', "").parse::<f64>().ok(),
        None if value.kind() == ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        None => f64::try_from(value.clone()).ok(),
    };
    Ok(found.map_or_else(|| args.get(0).cloned().unwrap_or_else(|| Value::from(0.0)), Value::from))
}

/// Python's None has no items; minijinja's has none of them. Templates ask this of
/// `tools` before they count them.
fn is_iterable(value: &Value) -> bool {
    use ValueKind::{Iterable, Map, Seq, String, Undefined};
    matches!(value.kind(), String | Seq | Map | Iterable | Undefined)
}

/// A sequence has a length and can be asked for an item: texts and dicts count.
fn is_sequence(value: &Value) -> bool {
    match value.kind() {
        ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Undefined => true,
        // Slices and ranges.
        ValueKind::Iterable => !lazy::is_lazy(value),
        _ => false,
    }
}
