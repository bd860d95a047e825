//! JSON objects: one a line, or the elements of one array.

use std::sync::Arc;

use memchr::memchr;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::json_text::parse_object;
use crate::rows::{Data, Places, Rows};
use crate::window::{Window, not_utf8};

/// A batch ends at one of these.
const BATCH_ROWS: usize = 4096;
const BATCH_BYTES: usize = 16 << 20;

/// Reads batches of objects.
pub(crate) struct JsonReader {
    window: Window,
    name: Arc<str>,
    array: Option<ArrayState>,
}

/// How far into the array we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ArrayState {
    Before,
    Inside,
    After,
}

impl JsonReader {
    /// A reader of lines.
    pub fn lines(window: Window) -> Self {
        let name = window.name().into();
        Self { window, name, array: None }
    }

    /// A reader of one array.
    pub fn array(window: Window) -> Self {
        Self { array: Some(ArrayState::Before), ..Self::lines(window) }
    }

    pub fn sha256(&mut self) -> Result<String, Error> {
        self.window.sha256()
    }

    /// The next batch, or None at the end.
    pub fn next_rows(&mut self) -> Result<Option<Rows>, Error> {
        let mut objects = Vec::new();
        let mut lines = Vec::new();
        let mut total = 0;
        while objects.len() < BATCH_ROWS && total < BATCH_BYTES {
            let found = if self.array.is_some() { self.next_element()? } else { self.next_line()? };
            let Some(bytes) = found else {
                break;
            };
            let text = &self.window.rest()[..bytes];
            if !text.trim_ascii().is_empty() {
                objects.push(parse(text).map_err(|told| Error::row(self.window.place(), told))?);
                lines.push(self.window.line);
                total += bytes;
            }
            let breaks = memchr::memchr_iter(b'\n', text).count() as u64;
            self.window.consume(bytes, breaks);
        }
        if objects.is_empty() {
            return Ok(None);
        }
        let data = Data::Objects(objects);
        Ok(Some(Rows::new(data, self.name.clone(), Places::Lines(lines))))
    }

    /// Length of the next line with its line break.
    fn next_line(&mut self) -> Result<Option<usize>, Error> {
        loop {
            let rest = self.window.rest();
            if let Some(end) = memchr(b'\n', rest) {
                return Ok(Some(end + 1));
            }
            if self.window.ended() {
                return Ok((!rest.is_empty()).then_some(rest.len()));
            }
            self.window.grow()?;
        }
    }

    /// Length of the next element, which then stands at the front.
    fn next_element(&mut self) -> Result<Option<usize>, Error> {
        loop {
            let Some(first) = self.skip_space()? else {
                return match self.array {
                    Some(ArrayState::After) => Ok(None),
                    _ => Err(self.broken("the array is cut short: no closing ']'")),
                };
            };
            match (self.array, first) {
                (Some(ArrayState::Before), b'[') => self.step(ArrayState::Inside),
                (Some(ArrayState::Before), _) => {
                    return Err(self.broken("expected an array of objects, '['"));
                }
                (Some(ArrayState::After), _) => {
                    return Err(self.broken("text after the array's ']'"));
                }
                (_, b']') => self.step(ArrayState::After),
                (_, b',') => self.step(ArrayState::Inside),
                (_, b'{') => return self.object_end().map(Some),
                _ => return Err(self.broken("expected an object, '{'")),
            }
        }
    }

    fn step(&mut self, state: ArrayState) {
        self.window.consume(1, 0);
        self.array = Some(state);
    }

    fn broken(&self, told: &str) -> Error {
        Error::row(self.window.place(), told)
    }

    /// Passes white space; gives the byte behind it, None at the end.
    fn skip_space(&mut self) -> Result<Option<u8>, Error> {
        loop {
            let rest = self.window.rest();
            let space = rest.len() - rest.trim_ascii_start().len();
            let breaks = memchr::memchr_iter(b'\n', &rest[..space]).count() as u64;
            self.window.consume(space, breaks);
            if let Some(&first) = self.window.rest().first() {
                return Ok(Some(first));
            }
            if self.window.ended() {
                return Ok(None);
            }
            self.window.grow()?;
        }
    }

    /// Length of the object at the front.
    fn object_end(&mut self) -> Result<usize, Error> {
        loop {
            if let Some(end) = closing(self.window.rest()) {
                return Ok(end);
            }
            if self.window.ended() {
                return Err(self.broken("the object that begins here is never closed"));
            }
            self.window.grow()?;
        }
    }
}

/// One past the bracket that closes the one at the front.
fn closing(text: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b'"' => loop {
                at += 1;
                match text.get(at)? {
                    b'\\' => at += 1,
                    b'"' => break,
                    _ => {}
                }
            },
            _ => {}
        }
        at += 1;
    }
    None
}

/// One object, or the words for what is wrong with it.
fn parse(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    parse_object(std::str::from_utf8(bytes).map_err(|_| not_utf8(bytes))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_do_not_close() {
        assert_eq!(closing(br#"{"a":"}\"]","b":[1]} rest"#), Some(20));
        assert_eq!(closing(br#"{"a":"\"#), None);
        assert_eq!(closing(b"{[1,2]"), None);
    }

    #[test]
    fn bytes_that_are_no_text_are_told() {
        assert!(parse(b"{\"a\":\"\xff\"}").unwrap_err().contains("0xff"));
    }
}
