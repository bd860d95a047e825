//! A column of text while it grows.

use arrow::array::StringArray;
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use memchr::memchr_iter;

use crate::error::Error;
use crate::window::{not_utf8, place};

/// The least by which the text grows.
const GROWTH: usize = 4 << 10;

pub(crate) struct TextColumn {
    /// The text, then zeroes to be written over.
    bytes: Vec<u8>,
    used: usize,
    /// Where each row ends, after a zero.
    offsets: Vec<i32>,
}

impl TextColumn {
    /// Room for so many rows and bytes of text.
    pub fn new(rows: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { bytes: vec![0; bytes], used: 0, offsets }
    }

    /// The bytes so far.
    pub fn bytes(&self) -> usize {
        self.used
    }

    /// Where the next bytes go; never empty.
    pub fn room(&mut self) -> &mut [u8] {
        if self.used == self.bytes.len() {
            self.bytes.resize(2 * self.used + GROWTH, 0);
        }
        &mut self.bytes[self.used..]
    }

    /// Takes the first `n` bytes of the room as text.
    pub fn advance(&mut self, n: usize) {
        self.used += n;
    }

    /// The text since the last row ended.
    pub fn last(&self) -> &[u8] {
        let start = self.offsets.last().map_or(0, |&end| end as usize);
        &self.bytes[start..self.used]
    }

    /// Forgets what comes after the first `rows` rows.
    pub fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.used = self.offsets.last().map_or(0, |&end| end as usize);
    }

    fn cell(&self, row: usize) -> &[u8] {
        &self.bytes[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }

    /// Whether the text of a row is UTF-8.
    pub fn is_text(&self, row: usize) -> bool {
        std::str::from_utf8(self.cell(row)).is_ok()
    }

    /// The text of a row, with marks for what is not UTF-8.
    pub fn lossy(&self, row: usize) -> String {
        String::from_utf8_lossy(self.cell(row)).into_owned()
    }

    /// The rows for which `keep` says true.
    pub fn filtered(&self, keep: &[bool]) -> Self {
        let mut out = Self::new(keep.len(), self.used);
        for row in (0..keep.len()).filter(|&row| keep[row]) {
            let cell = self.cell(row);
            out.bytes[out.used..out.used + cell.len()].copy_from_slice(cell);
            out.used += cell.len();
            out.end_row();
        }
        out
    }

    /// Ends a row. The caller sees to it that there are less than 2 GiB.
    pub fn end_row(&mut self) {
        self.offsets.push(self.used as i32);
    }

    /// Forgets all text and rows.
    pub fn clear(&mut self) {
        self.used = 0;
        self.offsets.truncate(1);
    }

    /// Checks the text of all rows at once; only a fault costs a search for
    /// its row. `lines` tells where each row begins.
    pub fn finish(mut self, name: &str, column: &str, lines: &[u64]) -> Result<StringArray, Error> {
        self.bytes.truncate(self.used);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        let bytes = Buffer::from_vec(self.bytes);
        StringArray::try_new(offsets.clone(), bytes.clone(), None).map_err(|error| {
            for (bounds, line) in offsets.windows(2).zip(lines) {
                let cell = &bytes[bounds[0] as usize..bounds[1] as usize];
                if let Err(fault) = std::str::from_utf8(cell) {
                    let before = &cell[..fault.valid_up_to()];
                    let line = line + memchr_iter(b'\n', before).count() as u64;
                    let told = format!("column '{column}' is {}", not_utf8(cell));
                    return Error::row(place(name, line), told);
                }
            }
            Error::format(name, error.to_string())
        })
    }
}
