//! Fields of delimited text by `csv-core`, the automaton of the `csv` crate,
//! straight from the stream's chunks into columns.
//!
//! The automaton takes any bytes for some record. What it lets pass is told by
//! the bytes it took and gave.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use memchr::memchr_iter;

use crate::dialect::{find_delimiter, separator_line};
use crate::error::Error;
use crate::stream::ByteStream;
use crate::text::TextColumn;
use crate::window::{BYTE_ORDER_MARK, MAX_RECORD, place, too_long};

pub(crate) struct FieldReader {
    stream: ByteStream,
    automaton: Reader,
    delimiter: u8,
    /// Line on which the record begins, counted from 1.
    line: u64,
    /// Bytes of the record so far.
    record: usize,
    /// Whether a fault in the record is kept for [`FieldReader::take_fault`] and no error.
    lenient: bool,
    fault: Option<String>,
}

/// A field as it stands in the input, without what ends it.
#[derive(Default)]
struct Raw {
    quoted: bool,
    bytes: usize,
    last: u8,
}

impl FieldReader {
    /// A reader at the start of the stream, after a byte order mark and Excel's line `sep=;`. Without a `delimiter` it
    /// is found; the `usual` one is taken where nothing tells.
    pub fn new(mut stream: ByteStream, delimiter: Option<u8>, usual: u8) -> Result<Self, Error> {
        if stream.peek()?.starts_with(BYTE_ORDER_MARK) {
            stream.skip(BYTE_ORDER_MARK.len());
        }
        let head = stream.peek()?;
        let separator = separator_line(head);
        let head = &head[separator.map_or(0, |(_, length)| length)..];
        let delimiter =
            delimiter.or(separator.map(|(delimiter, _)| delimiter)).unwrap_or_else(|| find_delimiter(head, usual));
        let mut automaton = ReaderBuilder::new().delimiter(delimiter).build();
        if let Some((_, length)) = separator {
            stream.skip(length);
            automaton.set_line(2);
        }
        Ok(Self { stream, automaton, delimiter, line: 1, record: 0, lenient: false, fault: None })
    }

    /// Lets records with text after a closing quote pass, for [`FieldReader::take_fault`] to tell.
    pub fn set_lenient(&mut self) {
        self.lenient = true;
    }

    /// What is wrong with the record, if anything is that was let pass.
    pub fn take_fault(&mut self) -> Option<String> {
        self.fault.take()
    }

    /// The byte between fields.
    pub fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// Goes to the next record; false at the end.
    pub fn begin_record(&mut self) -> Result<bool, Error> {
        // Empty lines separate nothing, nor does the second half of a CRLF.
        // The automaton would pass over them too, but with the next record,
        // which would then begin on their line.
        loop {
            let data = self.stream.peek()?;
            let Some(&first) = data.first() else {
                return Ok(false);
            };
            if first != b'\n' && first != b'\r' {
                break;
            }
            self.stream.skip(1);
            self.automaton.set_line(self.automaton.line() + u64::from(first == b'\n'));
        }
        self.line = self.automaton.line();
        self.record = 0;
        Ok(true)
    }

    /// Appends the next field of the record to `text`; true if it is the last.
    /// `number` (counted from 0) and `name` are those of the field, for
    /// messages.
    ///
    /// # Errors
    /// If a quote is never closed or text follows the closing one.
    pub fn next_field(&mut self, text: &mut TextColumn, number: usize, name: Option<&str>) -> Result<bool, Error> {
        let mut raw = Raw::default();
        // With room for one end the automaton stops after each field.
        let mut end = [0];
        loop {
            let rest = self.stream.peek()?;
            // A delimiter ends the last field, unless it is taken for text.
            let at_end = rest.is_empty();
            let input = if at_end { &[self.delimiter] } else { rest };
            let (result, taken, given, ends) = self.automaton.read_record(input, text.room(), &mut end);
            let ended = ends == 1;
            raw.extend(&input[..taken], ended);
            if !at_end {
                self.stream.skip(taken);
            } else if !ended {
                let told = "a quote is opened in this row and never closed";
                return Err(Error::row(self.place(), told));
            }
            text.advance(given);
            self.record += taken;
            if ended {
                if raw.quoted && !raw.is_closed_at_the_end(text.last()) {
                    let told = text_after_quote(number, name);
                    if !self.lenient {
                        return Err(Error::row(self.place(), told));
                    }
                    self.fault.get_or_insert(told);
                }
                return Ok(at_end || result == ReadRecordResult::Record);
            }
            if self.record > MAX_RECORD {
                return Err(too_long(self.place()));
            }
        }
    }

    /// The line on which the record begins, counted from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Bytes of the record so far.
    pub fn record_bytes(&self) -> usize {
        self.record
    }

    /// The input and the line of the record.
    pub fn place(&self) -> String {
        place(self.stream.name(), self.line)
    }

    pub fn sha256(&mut self) -> Result<String, Error> {
        self.stream.sha256()
    }
}

fn text_after_quote(number: usize, name: Option<&str>) -> String {
    let column = name.map(|name| format!(" ('{name}')")).unwrap_or_default();
    let number = number + 1;
    format!("text after the closing quote of field {number}{column}; a quote inside a quoted field is doubled")
}

impl Raw {
    /// Adds what the automaton took; where it `ended` the field, the last byte
    /// is the delimiter or the line's end.
    fn extend(&mut self, taken: &[u8], ended: bool) {
        let content = &taken[..taken.len().saturating_sub(usize::from(ended))];
        if self.bytes == 0 {
            self.quoted = content.first() == Some(&b'"');
        }
        self.bytes += content.len();
        self.last = *content.last().unwrap_or(&self.last);
    }

    /// Whether the quote that closes this quoted field of such a `text` is its
    /// last byte. The automaton took away both of the quotes around the text
    /// and one of each pair in it. Text after the closing quote comes through
    /// as it is: either its last byte is no quote, or it has a quote that stands
    /// for itself.
    fn is_closed_at_the_end(&self, text: &[u8]) -> bool {
        self.last == b'"' && self.bytes == text.len() + 2 + memchr_iter(b'"', text).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All records with their lines, or the first error.
    fn records(chunks: &[&[u8]]) -> Result<Vec<(u64, Vec<String>)>, String> {
        let told = |error: Error| error.to_string();
        let mut reader = FieldReader::new(ByteStream::of_chunks(chunks), Some(b','), b',').map_err(told)?;
        let mut text = TextColumn::new(0, 0);
        let mut records = Vec::new();
        while reader.begin_record().map_err(told)? {
            let mut record = Vec::new();
            loop {
                text.clear();
                let ended = reader.next_field(&mut text, record.len(), Some("name")).map_err(told)?;
                record.push(String::from_utf8(text.last().to_vec()).unwrap());
                if ended {
                    break;
                }
            }
            records.push((reader.line(), record));
        }
        Ok(records)
    }

    fn fields(text: &str) -> Vec<String> {
        let mut records = records(&[text.as_bytes()]).unwrap();
        assert_eq!(records.len(), 1, "{text}");
        records.remove(0).1
    }

    #[test]
    fn quotes_line_breaks_and_endings() {
        assert_eq!(fields("a,b\n"), ["a", "b"]);
        assert_eq!(fields("a,b\r\n"), ["a", "b"]);
        assert_eq!(fields("\u{feff}\"a\",b"), ["a", "b"]);
        assert_eq!(fields("a,"), ["a", ""]);
        assert_eq!(fields(",\r\n"), ["", ""]);
        assert_eq!(fields("\"\"\n"), [""]);
        assert_eq!(fields("\"a\"\"b\",\"\"\"\"\n"), ["a\"b", "\""]);
        assert_eq!(fields("5\" pipe,x\n"), ["5\" pipe", "x"]);
    }

    #[test]
    fn lines_are_those_on_which_records_begin() {
        for end in ["\n", "\r\n"] {
            let text = format!("a,b{end}{end}\"c{end},d\",e{end}f,g");
            let lines: Vec<_> = records(&[text.as_bytes()]).unwrap().iter().map(|(line, _)| *line).collect();
            assert_eq!(lines, [1, 3, 5], "{text:?}");
        }
    }

    #[test]
    fn broken_quotes_are_told_wherever_a_chunk_ends() {
        let open = "test.csv, line 2: a quote is opened in this row and never closed";
        let after = "test.csv, line 2: text after the closing quote of field 2 ('name'); \
                     a quote inside a quoted field is doubled";
        let cases = [
            ("x,\"a", open),
            ("x,\"", open),
            ("x,\"a\"\"", open),
            ("\"a,b\nc,d\n", open),
            ("x,\"a\"b\n", after),
            ("x,\"a\"b\"\n", after),
            ("x,\"a\"b\"\"\n", after),
            ("x,\"a\" ,\"b\"", after),
            ("x,\"\"a", after),
            ("x,\"a\"\"b\"c\"d\",y", after),
        ];
        for (record, told) in cases {
            let text = format!("h\n{record}");
            for cut in 0..=text.len() {
                let (front, back) = text.as_bytes().split_at(cut);
                assert_eq!(records(&[front, back]).unwrap_err(), told, "{text:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn records_are_the_same_wherever_a_chunk_ends() {
        let text = b"\"a\"\"\",b\r\nc,\"d\ne\"\n,\nlast,\"\"";
        let whole = records(&[text]).unwrap();
        let texts: Vec<_> = whole.iter().map(|(_, record)| record.clone()).collect();
        assert_eq!(texts, [["a\"", "b"], ["c", "d\ne"], ["", ""], ["last", ""]]);
        for cut in 0..=text.len() {
            let (front, back) = text.split_at(cut);
            assert_eq!(records(&[front, back]).unwrap(), whole, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(records(&bytes).unwrap(), whole);
    }
}
