//! CSV and TSV with a header, in the dialect of the `csv` crate.
//!
//! What that passes over in silence is an error here: a row with another
//! number of fields than the header, text after a closing quote, a quote left
//! open.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};

use crate::error::{Error, listed};
use crate::fields::FieldReader;
use crate::rows::{Data, Places, Rows};
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
}

impl Delimited {
    pub fn new(stream: ByteStream, delimiter: u8) -> Result<Self, Error> {
        let name: Arc<str> = stream.name().into();
        let mut fields = FieldReader::new(stream, delimiter)?;
        let header = read_header(&mut fields, &name)?;
        let wanted = vec![true; header.len()];
        let sizes = vec![0; header.len()];
        Ok(Self { fields, name, header, wanted, sizes, ignored: TextColumn::new(0, 0) })
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
        let mut columns: Vec<Option<TextColumn>> =
            wanted.map(|(&bytes, wanted)| wanted.then(|| TextColumn::new(BATCH_ROWS, bytes))).collect();
        let mut lines = Vec::with_capacity(BATCH_ROWS);
        let mut total = 0;
        while lines.len() < BATCH_ROWS && total < BATCH_BYTES && self.fields.begin_record()? {
            self.read_record(&mut columns)?;
            lines.push(self.fields.line());
            total += self.fields.record_bytes();
        }
        if lines.is_empty() {
            return Ok(None);
        }
        for (size, column) in self.sizes.iter_mut().zip(&columns) {
            *size = column.as_ref().map_or(0, |column| column.bytes() + column.bytes() / 16);
        }
        let batch = self.batch(columns, &lines)?;
        let places = Places::Lines(lines);
        Ok(Some(Rows::new(Data::Columns(batch), self.name.clone(), places)))
    }

    fn read_record(&mut self, columns: &mut [Option<TextColumn>]) -> Result<(), Error> {
        let mut found = 0;
        loop {
            let named = self.header.get(found).map(String::as_str);
            let ended = if let Some(Some(column)) = columns.get_mut(found) {
                let ended = self.fields.next_field(column, found, named)?;
                column.end_row();
                ended
            } else {
                self.ignored.clear();
                self.fields.next_field(&mut self.ignored, found, named)?
            };
            found += 1;
            if ended {
                return self.check_count(found);
            }
        }
    }

    fn check_count(&self, found: usize) -> Result<(), Error> {
        let expected = self.header.len();
        if found == expected {
            return Ok(());
        }
        let told = format!(
            "{found} {}, expected {expected} as in the header ({}); quote fields that hold the delimiter or a line break",
            if found == 1 { "field" } else { "fields" },
            listed(&self.header)
        );
        Err(Error::row(self.fields.place(), told))
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
        if !column.is_empty() && header.iter().any(|other| other == column) {
            let told = format!("column '{column}' stands twice in the header");
            return Err(Error::format(name, told));
        }
        header.push(column.to_owned());
        if ended {
            return Ok(header);
        }
    }
}
