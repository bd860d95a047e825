//! JSON objects: one a line, or the elements of one array.

use std::sync::Arc;

use memchr::memchr;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::json_text::parse_object;
use crate::rows::{BadRow, Data, Places, Rows};
use crate::shapes::Reason;
use crate::window::{Window, not_utf8};

/// A batch ends at one of these.
const BATCH_ROWS: usize = 4096;
const BATCH_BYTES: usize = 16 << 20;

/// The longest object over several lines that is looked for in a file of lines.
const LONGEST_PRETTY: usize = 64 << 20;

/// Reads batches of objects.
pub(crate) struct JsonReader {
    window: Window,
    name: Arc<str>,
    array: Option<ArrayState>,
    /// Leaves rows out that are no JSON objects.
    lenient: bool,
}

/// An object, or the words for what is wrong with it.
type Parsed = Result<Map<String, Value>, String>;

/// How far into the array we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ArrayState {
    Before,
    /// Behind the '['.
    Begun,
    /// Behind an element.
    Element,
    /// Behind a comma.
    Comma,
    After,
}

impl JsonReader {
    /// A reader of lines.
    pub fn lines(window: Window, lenient: bool) -> Self {
        let name = window.name().into();
        Self { window, name, array: None, lenient }
    }

    /// A reader of one array.
    pub fn array(window: Window, lenient: bool) -> Self {
        Self { array: Some(ArrayState::Before), ..Self::lines(window, lenient) }
    }

    pub fn sha256(&mut self) -> Result<String, Error> {
        self.window.sha256()
    }

    /// The next batch, or None at the end.
    pub fn next_rows(&mut self) -> Result<Option<Rows>, Error> {
        let (mut objects, mut lines, mut bad) = (Vec::new(), Vec::new(), Vec::new());
        let mut total = 0;
        while objects.len() + bad.len() < BATCH_ROWS && total < BATCH_BYTES {
            let found = if self.array.is_some() { self.next_element()? } else { self.next_line()? };
            let Some(bytes) = found else {
                break;
            };
            let (bytes, outcome) = self.parse(bytes)?;
            match outcome {
                Some(Ok(object)) => {
                    objects.push(object);
                    lines.push(self.window.line);
                }
                Some(Err(told)) if self.lenient => bad.push(self.bad_row(bytes, told)),
                Some(Err(told)) => return Err(Error::row(self.window.place(), told)),
                None => {}
            }
            total += bytes;
            self.window.consume(bytes);
        }
        if objects.is_empty() && bad.is_empty() {
            return Ok(None);
        }
        let data = Data::Objects(objects);
        Ok(Some(Rows::new(data, self.name.clone(), Places::Lines(lines)).with_bad(bad)))
    }

    fn bad_row(&self, bytes: usize, told: String) -> BadRow {
        let text = &self.window.rest()[..bytes];
        let reason = if std::str::from_utf8(text).is_ok() { Reason::NotJson } else { Reason::NotUtf8 };
        let text = String::from_utf8_lossy(text.trim_ascii()).into_owned();
        BadRow { number: self.window.line, reason, told, text }
    }

    /// The object in the first `bytes` bytes and what it takes in all; none where there are only spaces. An object of a
    /// line may go on in the lines behind it, as tools that print prettily have it.
    fn parse(&mut self, bytes: usize) -> Result<(usize, Option<Parsed>), Error> {
        let text = &self.window.rest()[..bytes];
        if text.trim_ascii().is_empty() {
            return Ok((bytes, None));
        }
        let outcome = parse(text);
        if self.array.is_none() && outcome.is_err() && looks_pretty(text) {
            while closing(self.window.rest()).is_none() && !self.window.ended() {
                if self.window.rest().len() > LONGEST_PRETTY {
                    return Ok((bytes, Some(outcome)));
                }
                self.window.grow()?;
            }
            if let Some(end) = closing(self.window.rest())
                && let Ok(object) = parse(&self.window.rest()[..end])
            {
                return Ok((end, Some(Ok(object))));
            }
        }
        Ok((bytes, Some(outcome)))
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
            let state = self.array.unwrap_or(ArrayState::Before);
            match (state, first) {
                (ArrayState::Before, b'[') => self.step(ArrayState::Begun),
                (ArrayState::Before, _) => return Err(self.broken("expected an array of objects, '['")),
                (ArrayState::After, b'[') => {
                    return Err(self.broken("a second array begins behind the first; put the rows of both into one"));
                }
                (ArrayState::After, _) => return Err(self.broken("text after the array's ']'")),
                (ArrayState::Begun | ArrayState::Element, b']') => self.step(ArrayState::After),
                (ArrayState::Element, b',') => self.step(ArrayState::Comma),
                (ArrayState::Begun | ArrayState::Comma, b'{') => {
                    self.array = Some(ArrayState::Element);
                    return self.object_end().map(Some);
                }
                (ArrayState::Comma, b']') => return Err(self.broken("a comma stands before the array's ']'")),
                (ArrayState::Comma, b',') => return Err(self.broken("two commas, expected an object between them")),
                (ArrayState::Begun, b',') => return Err(self.broken("a comma stands before the first object")),
                (ArrayState::Element, b'{') => return Err(self.broken("a comma is missing between two objects")),
                (ArrayState::Element, _) => return Err(self.broken("expected a comma or the array's ']'")),
                _ => return Err(self.broken("expected an object, '{'")),
            }
        }
    }

    fn step(&mut self, state: ArrayState) {
        self.window.consume(1);
        self.array = Some(state);
    }

    fn broken(&self, told: &str) -> Error {
        Error::row(self.window.position(), told)
    }

    /// Passes white space; gives the byte behind it, None at the end.
    fn skip_space(&mut self) -> Result<Option<u8>, Error> {
        loop {
            let rest = self.window.rest();
            let space = rest.len() - rest.trim_ascii_start().len();
            self.window.consume(space);
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

/// Whether an object may go on in the next lines.
fn looks_pretty(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    text.first() == Some(&b'{') && matches!(text.last(), Some(b'{' | b'[' | b','))
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

fn parse(bytes: &[u8]) -> Parsed {
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
