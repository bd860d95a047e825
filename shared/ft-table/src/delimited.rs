//! CSV and TSV with a header, in the dialect of the `csv` crate.
//!
//! What that passes over in silence is an error here, or on demand a row that is left out: a row with another number of
//! fields than the header, text after a closing quote. A quote left open is always an error, for it takes the rest of the
//! input with it.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};

use crate::error::{Error, listed};
use crate::fields::FieldReader;
use crate::rows::{BadRow, Data, Places, Rows};
use crate::shapes::Reason;
use crate::stream::ByteStream;
use crate::text::TextColumn;
use crate::window::not_utf8;

/// A batch ends at one of these.
const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: usize = 16 << 20;

/// Reads batches of text columns.
pub(crate) struct Delimited {
    fields: FieldReader,
    name: Arc<str>,
    header: Vec<String>,
    /// Which columns to give out.
    wanted: Vec<bool>,
    /// Bytes to expect in each column of the next batch.
    sizes: Vec<usize>,
    /// Takes the fields that nobody wants.
    ignored: TextColumn,
    /// Leaves rows out that are not what they should be.
    lenient: bool,
}

/// A batch that grows.
struct Growing {
    /// None where nobody wants the column.
    columns: Vec<Option<TextColumn>>,
    lines: Vec<u64>,
    bad: Vec<BadRow>,
}

impl Delimited {
    /// Reads the header. Without a `delimiter` it is found; the `usual` one is taken where nothing tells.
    pub fn new(stream: ByteStream, delimiter: Option<u8>, usual: u8, lenient: bool) -> Result<Self, Error> {
        let name: Arc<str> = stream.name().into();
        let mut fields = FieldReader::new(stream, delimiter, usual)?;
        let header = read_header(&mut fields, &name)?;
        if lenient {
            fields.set_lenient();
        }
        let wanted = vec![true; header.len()];
        let sizes = vec![0; header.len()];
        Ok(Self { fields, name, header, wanted, sizes, ignored: TextColumn::new(0, 0), lenient })
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
        self.fields.sha256()
    }

    /// The next batch, or None at the end.
    pub fn next_rows(&mut self) -> Result<Option<Rows>, Error> {
        let wanted = self.sizes.iter().zip(&self.wanted);
        let columns = wanted.map(|(&bytes, wanted)| wanted.then(|| TextColumn::new(BATCH_ROWS, bytes)));
        let lines = Vec::with_capacity(BATCH_ROWS);
        let mut growing = Growing { columns: columns.collect(), lines, bad: Vec::new() };
        let mut total = 0;
        while growing.lines.len() + growing.bad.len() < BATCH_ROWS
            && total < BATCH_BYTES
            && self.fields.begin_record()?
        {
            self.read_record(&mut growing)?;
            total += self.fields.record_bytes();
        }
        if growing.lines.is_empty() && growing.bad.is_empty() {
            return Ok(None);
        }
        for (size, column) in self.sizes.iter_mut().zip(&growing.columns) {
            *size = column.as_ref().map_or(0, |column| column.bytes() + column.bytes() / 16);
        }
        if self.lenient {
            growing.leave_out_broken_text(&self.header);
        }
        let batch = self.batch(growing.columns, &growing.lines)?;
        let places = Places::Lines(growing.lines);
        Ok(Some(Rows::new(Data::Columns(batch), self.name.clone(), places).with_bad(growing.bad)))
    }

    fn read_record(&mut self, growing: &mut Growing) -> Result<(), Error> {
        let mut found = 0;
        let mut surplus = Vec::new();
        loop {
            let named = self.header.get(found).map(String::as_str);
            let ended = if let Some(Some(column)) = growing.columns.get_mut(found) {
                let ended = self.fields.next_field(column, found, named)?;
                column.end_row();
                ended
            } else {
                self.ignored.clear();
                let ended = self.fields.next_field(&mut self.ignored, found, named)?;
                if self.lenient && found >= self.header.len() {
                    surplus.push(String::from_utf8_lossy(self.ignored.last()).into_owned());
                }
                ended
            };
            found += 1;
            if ended {
                break;
            }
        }
        let fault = self.fields.take_fault();
        if found == self.header.len() && fault.is_none() {
            growing.lines.push(self.fields.line());
            return Ok(());
        }
        let told = fault.unwrap_or_else(|| self.ragged(found));
        if !self.lenient {
            return Err(Error::row(self.fields.place(), told));
        }
        growing.leave_out_last(self.fields.line(), found, surplus, told);
        Ok(())
    }

    fn ragged(&self, found: usize) -> String {
        let expected = self.header.len();
        let mut told = format!(
            "{found} {}, expected {expected} as in the header ({}); quote fields that hold the delimiter or a line break",
            if found == 1 { "field" } else { "fields" },
            listed(&self.header)
        );
        if expected == 1 {
            let delimiter = char::from(self.fields.delimiter()).escape_default();
            told = format!("{told}, or give the --delimiter ('{delimiter}' was taken)");
        }
        told
    }

    fn batch(&self, columns: Vec<Option<TextColumn>>, lines: &[u64]) -> Result<RecordBatch, Error> {
        let mut fields = Vec::with_capacity(columns.len());
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len());
        for (name, column) in self.header.iter().zip(columns) {
            if let Some(column) = column {
                fields.push(Field::new(name, DataType::Utf8, false));
                arrays.push(Arc::new(column.finish(&self.name, name, lines)?));
            }
        }
        let schema = Arc::new(Schema::new(fields));
        let options = RecordBatchOptions::new().with_row_count(Some(lines.len()));
        RecordBatch::try_new_with_options(schema, arrays, &options)
            .map_err(|error| Error::format(&*self.name, error.to_string()))
    }
}

impl Growing {
    /// Takes back the record that ended last, of which the first `found` fields were read.
    fn leave_out_last(&mut self, number: u64, found: usize, surplus: Vec<String>, told: String) {
        let rows = self.lines.len();
        let mut fields = Vec::with_capacity(found);
        for column in self.columns.iter_mut().take(found).flatten() {
            fields.push(column.lossy(rows));
            column.truncate(rows);
        }
        fields.extend(surplus);
        let text = serde_json::Value::from(fields).to_string();
        self.bad.push(BadRow { number, reason: Reason::Ragged, told, text });
    }

    /// Takes out the rows that are not UTF-8.
    fn leave_out_broken_text(&mut self, header: &[String]) {
        let mut keep = vec![true; self.lines.len()];
        for (row, keep) in keep.iter_mut().enumerate() {
            let broken = |column: &Option<TextColumn>| column.as_ref().is_some_and(|column| !column.is_text(row));
            let Some(column) = self.columns.iter().position(broken) else {
                continue;
            };
            *keep = false;
            let fields: Vec<_> = self.columns.iter().flatten().map(|column| column.lossy(row)).collect();
            let text = serde_json::Value::from(fields).to_string();
            let told = format!("column '{}' is not UTF-8", header[column]);
            self.bad.push(BadRow { number: self.lines[row], reason: Reason::NotUtf8, told, text });
        }
        if keep.contains(&false) {
            for column in self.columns.iter_mut().flatten() {
                *column = column.filtered(&keep);
            }
            let lines = self.lines.iter().zip(&keep);
            self.lines = lines.filter(|(_, keep)| **keep).map(|(line, _)| *line).collect();
            self.bad.sort_by_key(|bad| bad.number);
        }
    }
}

fn read_header(fields: &mut FieldReader, name: &str) -> Result<Vec<String>, Error> {
    if !fields.begin_record()? {
        return Err(Error::format(name, "is empty, expected a header"));
    }
    let mut header = Vec::new();
    let mut text = TextColumn::new(1, 0);
    loop {
        text.clear();
        let ended = fields.next_field(&mut text, header.len(), None)?;
        let column = std::str::from_utf8(text.last()).map_err(|_| Error::row(fields.place(), not_utf8(text.last())))?;
        let column = column.trim();
        if !column.is_empty() && header.iter().any(|other| other == column) {
            let told = format!("column '{column}' stands twice in the header; rename one of them");
            return Err(Error::format(name, told));
        }
        header.push(column.to_owned());
        if ended {
            return Ok(header);
        }
    }
}
