//! CSV and TSV with a header, quoted as RFC 4180 says.
//!
//! A quote inside an unquoted field is text, as other readers take it. What
//! they pass over in silence is an error here: a row with another number of
//! fields than the header, text after a closing quote, a quote left open.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field as ColumnField, Schema};
use memchr::{memchr, memchr_iter, memchr2};

use crate::error::{Error, listed};
use crate::rows::{Data, Places, Rows};
use crate::window::{Window, not_utf8};

/// A batch ends at one of these.
const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: usize = 16 << 20;

/// Reads batches of text columns.
pub(crate) struct Delimited {
    window: Window,
    name: Arc<str>,
    delimiter: u8,
    header: Vec<String>,
    /// Which columns to give out.
    wanted: Vec<bool>,
    fields: Vec<Field>,
    /// Bytes to expect in each column of the next batch.
    sizes: Vec<usize>,
}

/// A field's bytes within the window, quotes taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    start: usize,
    end: usize,
    /// Holds doubled quotes.
    escaped: bool,
}

/// What [`scan`] found at the front of the window.
#[derive(Debug, PartialEq, Eq)]
enum Scan {
    /// A record of so many bytes and line breaks.
    Record { bytes: usize, lines: u64 },
    /// The record goes on behind the window.
    More,
    /// A quote is never closed.
    OpenQuote,
    /// There is text after a closing quote, in the field of this number.
    AfterQuote(usize),
}

impl Delimited {
    pub fn new(window: Window, delimiter: u8) -> Result<Self, Error> {
        let name: Arc<str> = window.name().into();
        let mut reader = Self {
            window,
            name,
            delimiter,
            header: Vec::new(),
            wanted: Vec::new(),
            fields: Vec::new(),
            sizes: Vec::new(),
        };
        reader.read_header()?;
        Ok(reader)
    }

    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Gives out only these columns.
    pub fn select(&mut self, columns: &[String]) {
        for (name, wanted) in self.header.iter().zip(&mut self.wanted) {
            *wanted = columns.contains(name);
        }
    }

    pub fn sha256(&mut self) -> Result<String, Error> {
        self.window.sha256()
    }

    fn read_header(&mut self) -> Result<(), Error> {
        let Some((bytes, lines)) = self.next_record()? else {
            return Err(Error::format(&*self.name, "is empty, expected a header"));
        };
        let mut text = Vec::new();
        for field in &self.fields {
            text.clear();
            push(&mut text, self.window.rest(), *field);
            let name = std::str::from_utf8(&text).map_err(|_| Error::row(self.window.place(), not_utf8(&text)))?;
            if !name.is_empty() && self.header.iter().any(|other| other == name) {
                let told = format!("column '{name}' stands twice in the header");
                return Err(Error::format(&*self.name, told));
            }
            self.header.push(name.to_owned());
        }
        self.window.consume(bytes, lines);
        self.wanted = vec![true; self.header.len()];
        Ok(())
    }

    /// The next batch, or None at the end.
    pub fn next_rows(&mut self) -> Result<Option<Rows>, Error> {
        let count = self.wanted.iter().filter(|wanted| **wanted).count();
        self.sizes.resize(count, 0);
        let mut columns: Vec<Column> = self.sizes.iter().map(|&bytes| Column::new(bytes)).collect();
        let mut lines = Vec::with_capacity(BATCH_ROWS);
        let mut total = 0;
        while lines.len() < BATCH_ROWS && total < BATCH_BYTES {
            let Some((bytes, breaks)) = self.next_record()? else {
                break;
            };
            self.check_count()?;
            let data = self.window.rest();
            let chosen = self.fields.iter().zip(&self.wanted);
            let chosen = chosen.filter_map(|(field, wanted)| wanted.then_some(field));
            for (column, field) in columns.iter_mut().zip(chosen) {
                push(&mut column.bytes, data, *field);
                column.end_row();
            }
            lines.push(self.window.line);
            total += bytes;
            self.window.consume(bytes, breaks);
        }
        if lines.is_empty() {
            return Ok(None);
        }
        for (size, column) in self.sizes.iter_mut().zip(&columns) {
            *size = column.bytes.len() + column.bytes.len() / 16;
        }
        let batch = self.batch(columns, &lines)?;
        let places = Places::Lines(lines);
        Ok(Some(Rows::new(Data::Columns(batch), self.name.clone(), places)))
    }

    fn check_count(&self) -> Result<(), Error> {
        let (found, expected) = (self.fields.len(), self.header.len());
        if found == expected {
            return Ok(());
        }
        let told = format!(
            "{found} {}, expected {expected} as in the header ({}); quote fields that hold the delimiter or a line break",
            if found == 1 { "field" } else { "fields" },
            listed(&self.header)
        );
        Err(Error::row(self.window.place(), told))
    }

    /// Finds the next record's fields; gives its bytes and line breaks.
    fn next_record(&mut self) -> Result<Option<(usize, u64)>, Error> {
        loop {
            let ended = self.window.ended();
            let data = self.window.rest();
            if data.is_empty() && ended {
                return Ok(None);
            }
            // Empty lines separate nothing.
            let blank = match data {
                [b'\n', ..] => 1,
                [b'\r', b'\n', ..] => 2,
                _ => 0,
            };
            if blank > 0 {
                self.window.consume(blank, 1);
                continue;
            }
            match scan(data, self.delimiter, ended, &mut self.fields) {
                Scan::Record { bytes, lines } => return Ok(Some((bytes, lines))),
                Scan::More => self.window.grow()?,
                Scan::OpenQuote => {
                    let told = "a quote is opened in this row and never closed";
                    return Err(Error::row(self.window.place(), told));
                }
                Scan::AfterQuote(field) => {
                    let column = self.header.get(field).map(|n| format!(" ('{n}')"));
                    let told = format!(
                        "text after the closing quote of field {}{}; a quote inside a quoted field is doubled",
                        field + 1,
                        column.unwrap_or_default()
                    );
                    return Err(Error::row(self.window.place(), told));
                }
            }
        }
    }

    fn batch(&self, columns: Vec<Column>, lines: &[u64]) -> Result<RecordBatch, Error> {
        let names = self.header.iter().zip(&self.wanted);
        let names = names.filter_map(|(name, wanted)| wanted.then_some(name));
        let mut fields = Vec::with_capacity(columns.len());
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len());
        for (name, column) in names.zip(columns) {
            fields.push(ColumnField::new(name, DataType::Utf8, false));
            arrays.push(Arc::new(column.finish(&self.name, name, lines)?));
        }
        let schema = Arc::new(Schema::new(fields));
        let options = RecordBatchOptions::new().with_row_count(Some(lines.len()));
        RecordBatch::try_new_with_options(schema, arrays, &options)
            .map_err(|error| Error::format(&*self.name, error.to_string()))
    }
}

/// One column of a batch while it grows.
struct Column {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl Column {
    /// Room for `bytes` of text.
    fn new(bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(BATCH_ROWS + 1);
        offsets.push(0);
        Self { bytes: Vec::with_capacity(bytes), offsets }
    }

    // A batch holds at most BATCH_BYTES and one record of at most 1 GiB.
    fn end_row(&mut self) {
        self.offsets.push(self.bytes.len() as i32);
    }

    /// Checks the text of all rows at once; only a fault costs a search.
    fn finish(self, name: &str, column: &str, lines: &[u64]) -> Result<StringArray, Error> {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        let bytes = Buffer::from_vec(self.bytes);
        StringArray::try_new(offsets.clone(), bytes.clone(), None).map_err(|error| {
            for (bounds, line) in offsets.windows(2).zip(lines) {
                let cell = &bytes[bounds[0] as usize..bounds[1] as usize];
                if let Err(fault) = std::str::from_utf8(cell) {
                    let before = &cell[..fault.valid_up_to()];
                    let line = line + memchr_iter(b'\n', before).count() as u64;
                    let told = format!("column '{column}' is {}", not_utf8(cell));
                    return Error::row(crate::window::place(name, line), told);
                }
            }
            Error::format(name, error.to_string())
        })
    }
}

/// Appends a field's text.
fn push(out: &mut Vec<u8>, data: &[u8], field: Field) {
    let mut bytes = &data[field.start..field.end];
    if field.escaped {
        // Every quote in here is the first of two.
        while let Some(quote) = memchr(b'"', bytes) {
            out.extend_from_slice(&bytes[..=quote]);
            bytes = bytes.get(quote + 2..).unwrap_or_default();
        }
    }
    out.extend_from_slice(bytes);
}

/// Finds the fields of the record at the front of `data`. `ended` says that
/// nothing follows `data`.
fn scan(data: &[u8], delimiter: u8, ended: bool, fields: &mut Vec<Field>) -> Scan {
    fields.clear();
    let mut at = 0;
    let mut breaks = 0;
    loop {
        let next = if data.get(at) == Some(&b'"') {
            let field = match quoted(data, at + 1, ended) {
                Ok(field) => field,
                Err(other) => return other,
            };
            breaks += memchr_iter(b'\n', &data[field.start..field.end]).count() as u64;
            fields.push(field);
            field.end + 1
        } else {
            let next = match memchr2(delimiter, b'\n', &data[at..]) {
                Some(length) => at + length,
                None if ended => data.len(),
                None => return Scan::More,
            };
            let end = match data.get(next) {
                Some(&found) if found == delimiter => next,
                _ if next > at && data[next - 1] == b'\r' => next - 1,
                _ => next,
            };
            fields.push(Field { start: at, end, escaped: false });
            next
        };
        let record = |bytes, last| Scan::Record { bytes, lines: breaks + last };
        match (data.get(next), data.get(next + 1)) {
            (Some(&found), _) if found == delimiter => at = next + 1,
            (Some(b'\n'), _) => return record(next + 1, 1),
            (Some(b'\r'), Some(b'\n')) => return record(next + 2, 1),
            (None, _) if ended => return record(next, 0),
            (Some(b'\r'), None) if ended => return record(next + 1, 0),
            (None, _) | (Some(b'\r'), None) => return Scan::More,
            _ => return Scan::AfterQuote(fields.len() - 1),
        }
    }
}

/// The quoted field whose text begins at `start`.
fn quoted(data: &[u8], start: usize, ended: bool) -> Result<Field, Scan> {
    let mut at = start;
    let mut escaped = false;
    loop {
        let Some(length) = memchr(b'"', &data[at..]) else {
            return Err(if ended { Scan::OpenQuote } else { Scan::More });
        };
        let end = at + length;
        match data.get(end + 1) {
            Some(b'"') => {
                escaped = true;
                at = end + 2;
            }
            None if !ended => return Err(Scan::More),
            _ => {
                return Ok(Field { start, end, escaped });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str, ended: bool) -> Result<(Vec<String>, usize, u64), Scan> {
        let mut fields = Vec::new();
        match scan(text.as_bytes(), b',', ended, &mut fields) {
            Scan::Record { bytes, lines } => {
                let texts = fields.iter().map(|field| {
                    let mut out = Vec::new();
                    push(&mut out, text.as_bytes(), *field);
                    String::from_utf8(out).unwrap()
                });
                Ok((texts.collect(), bytes, lines))
            }
            other => Err(other),
        }
    }

    fn fields(text: &str) -> Vec<String> {
        record(text, true).unwrap().0
    }

    #[test]
    fn quotes_line_breaks_and_endings() {
        assert_eq!(fields("a,b\n"), ["a", "b"]);
        assert_eq!(fields("a,b\r\n"), ["a", "b"]);
        assert_eq!(fields("a,"), ["a", ""]);
        assert_eq!(fields(",\r\n"), ["", ""]);
        assert_eq!(fields("\"a\"\"b\",\"\"\"\"\n"), ["a\"b", "\""]);
        assert_eq!(fields("5\" pipe,x\n"), ["5\" pipe", "x"]);
        let (texts, bytes, lines) = record("\"a\n,b\",c\r\nnext", true).unwrap();
        assert_eq!((texts[0].as_str(), bytes, lines), ("a\n,b", 10, 2));
    }

    #[test]
    fn a_cut_record_asks_for_more_and_a_broken_one_is_told() {
        for text in ["a,b", "\"a", "\"a\"", "\"a\"\r", "a,\"b\"\"", "a,"] {
            assert_eq!(record(text, false), Err(Scan::More), "{text}");
        }
        assert_eq!(record("x,\"a", true), Err(Scan::OpenQuote));
        assert_eq!(record("x,\"a\"b\n", true), Err(Scan::AfterQuote(1)));
    }

    #[test]
    fn a_record_is_the_same_wherever_the_window_ends() {
        let text = "\"a\"\"\",b\r\nc,\"d\ne\"\n,\nlast,\"\"";
        let mut start = 0;
        let mut found = Vec::new();
        while start < text.len() {
            let (texts, bytes, _) = record(&text[start..], true).unwrap();
            for cut in start..text.len() {
                match record(&text[start..cut], false) {
                    Ok((early, length, _)) => assert_eq!((&early, length), (&texts, bytes), "cut at {cut}"),
                    Err(other) => assert_eq!(other, Scan::More, "cut at {cut}"),
                }
            }
            found.push(texts);
            start += bytes;
        }
        assert_eq!(found, [["a\"", "b"], ["c", "d\ne"], ["", ""], ["last", ""]]);
    }
}
