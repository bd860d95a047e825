//! A window over a byte stream that always holds a whole record.

use memchr::{memchr_iter, memrchr};

use crate::error::Error;
use crate::stream::ByteStream;

/// A record longer than this is taken for a mistake, such as a quote that is
/// never closed.
pub(crate) const MAX_RECORD: usize = 1 << 30;

pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub(crate) struct Window {
    stream: ByteStream,
    buffer: Vec<u8>,
    start: usize,
    ended: bool,
    /// Line of the first byte, counted from 1.
    pub line: u64,
    /// Bytes of that line before it.
    column: u64,
}

impl Window {
    /// A window at the start of the stream, after a byte order mark.
    pub fn new(stream: ByteStream) -> Result<Self, Error> {
        let mut window = Self { stream, buffer: Vec::new(), start: 0, ended: false, line: 1, column: 0 };
        window.grow()?;
        if window.rest().starts_with(BYTE_ORDER_MARK) {
            window.start = BYTE_ORDER_MARK.len();
        }
        Ok(window)
    }

    /// The bytes from the next record on.
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Whether [`Window::rest`] reaches to the end of the input.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Takes `bytes` off the front.
    pub fn consume(&mut self, bytes: usize) {
        let taken = &self.buffer[self.start..self.start + bytes];
        self.line += memchr_iter(b'\n', taken).count() as u64;
        self.column = match memrchr(b'\n', taken) {
            Some(last) => (bytes - last - 1) as u64,
            None => self.column + bytes as u64,
        };
        self.start += bytes;
    }

    /// The input, the line and the column of the next byte.
    pub fn position(&self) -> String {
        format!("{}, column {}", self.place(), self.column + 1)
    }

    /// Reads on; afterwards `rest` is longer or the input has ended.
    pub fn grow(&mut self) -> Result<(), Error> {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.len() > MAX_RECORD {
            return Err(too_long(self.place()));
        }
        // As much again as waits here, so that a long record costs no
        // quadratic time.
        let wanted = 2 * self.buffer.len();
        loop {
            self.ended = !self.stream.append_to(&mut self.buffer)?;
            if self.ended || self.buffer.len() >= wanted {
                return Ok(());
            }
        }
    }

    /// The input and the line of the next record.
    pub fn place(&self) -> String {
        place(self.stream.name(), self.line)
    }

    pub fn name(&self) -> &str {
        self.stream.name()
    }

    pub fn sha256(&mut self) -> Result<String, Error> {
        self.stream.sha256()
    }
}

/// How messages name a line.
pub(crate) fn place(name: &str, line: u64) -> String {
    format!("{name}, line {line}")
}

/// A record beyond [`MAX_RECORD`].
pub(crate) fn too_long(place: String) -> Error {
    Error::row(place, "a row longer than 1 GiB begins here; is a quote or a bracket left open?")
}

/// The words for bytes that are no UTF-8.
pub(crate) fn not_utf8(bytes: &[u8]) -> String {
    let bad = match std::str::from_utf8(bytes) {
        Ok(_) => String::new(),
        Err(error) => match bytes.get(error.valid_up_to()) {
            Some(byte) => format!(" (byte 0x{byte:02x})"),
            None => String::new(),
        },
    };
    format!(
        "not UTF-8{bad}; convert the file, or let ft-prep do it: --encoding windows-1252 is the usual one in the West"
    )
}
