//! `strftime_now`: the date that some templates write into the system message.

use chrono::NaiveDateTime;
use minijinja::{Error, ErrorKind};

/// `time` in Python's `strftime`, where it differs from chrono's: fractions are
/// microseconds, and a time without a zone has no zone's name.
pub(super) fn strftime(time: NaiveDateTime, format: &str) -> Result<String, Error> {
    use std::fmt::Write;
    let mut ours = String::with_capacity(format.len());
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        match (c, c == '%') {
            (_, false) => ours.push(c),
            (_, true) => match rest.next() {
                Some('f') => ours.push_str("%6f"),
                Some('z' | 'Z') => {}
                Some(other) => ours.extend(['%', other]),
                None => ours.push_str("%%"),
            },
        }
    }
    let mut text = String::new();
    write!(text, "{}", time.format(&ours)).map_err(|_| {
        Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {format:?} is not a date format"))
    })?;
    Ok(text)
}
