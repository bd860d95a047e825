//! Rows into batches of examples.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::{Field, Schema, SchemaRef};
use ft_table::schema::{MESSAGES, TEXT};
use ft_table::shapes::{Fault, Reading, Reason, Shape};
use ft_table::{Error, Rows};

use crate::columns::{kept_column, kept_field};
use crate::counts::Counts;
use crate::dedup::{Digest, Seen};
use crate::examples::Examples;
use crate::notes::Notes;
use crate::pairs::TextPairs;

/// A batch of examples ends here at the latest, well below the 2 GiB that its
/// 32-bit offsets can tell.
const BATCH_BYTES: usize = 256 << 20;

/// Takes a batch, and whether all later ones of its input will have the same columns.
pub type Emit<'a> = dyn FnMut(RecordBatch, bool) -> anyhow::Result<()> + 'a;

/// Makes examples and counts what becomes of the rows.
pub struct Converter {
    keep: Vec<String>,
    reading: Reading,
    seen: Option<Seen>,
    schema: Option<SchemaRef>,
    /// Rows of all inputs so far.
    pub counts: Counts,
}

impl Converter {
    /// A converter that keeps these columns and, with `dedup`, drops examples
    /// that came before.
    pub fn new(keep: &[String], reading: Reading, dedup: bool) -> Self {
        let seen = dedup.then(Seen::default);
        Self { keep: keep.to_vec(), reading, seen, schema: None, counts: Counts::default() }
    }

    /// Converts rows; calls `emit` with each batch of examples. Later batches have all columns of those before, and
    /// perhaps more.
    pub fn convert(&mut self, shape: &Shape, rows: &Rows, notes: &mut Notes, emit: &mut Emit) -> anyhow::Result<()> {
        notes.look_at(rows);
        let pairs = TextPairs::new(shape, rows);
        let bytes = pairs.as_ref().map_or(0, |pairs| pairs.bytes().min(BATCH_BYTES));
        let mut next = 0;
        while next < rows.len() {
            let mut examples = Examples::with_capacity(rows.len() - next, bytes);
            let mut chosen = Vec::with_capacity(rows.len() - next);
            while next < rows.len() && examples.bytes() < BATCH_BYTES {
                self.counts.read += 1;
                let outcome = match pairs.as_ref().and_then(|pairs| pairs.row(next)) {
                    Some(pair) => self.push_pair(pair, &mut examples),
                    None => self.push_any(shape, rows, next, &mut examples, notes),
                };
                match outcome {
                    Ok(()) => chosen.push(next as u32),
                    Err(Fault::Drop(why)) => self.counts.drop_row(why),
                    Err(Fault::Broken(told)) => return Err(rows.error(next, told).into()),
                }
                next += 1;
            }
            if !chosen.is_empty() {
                self.counts.kept += chosen.len() as u64;
                emit(self.batch(rows, examples, chosen)?, pairs.is_some())?;
            }
        }
        Ok(())
    }

    fn push_pair(&mut self, (system, input, output): (&str, &str, &str), examples: &mut Examples) -> Result<(), Fault> {
        if is_blank(input) {
            return Err(Reason::EmptyInput.into());
        }
        if is_blank(output) {
            return Err(Reason::EmptyOutput.into());
        }
        let system = Some(system).filter(|text| !is_blank(text)).or(self.reading.system.as_deref());
        let messages = system.map(|text| ("system", text)).into_iter();
        let messages = messages.chain([("user", input), ("assistant", output)]);
        if let Some(seen) = &mut self.seen {
            let mut digest = Digest::new();
            messages.clone().for_each(|(role, content)| digest.message(role, content));
            require_new(seen, digest)?;
        }
        messages.for_each(|(role, content)| examples.push(role, content));
        examples.end_row();
        Ok(())
    }

    fn push_any(
        &mut self,
        shape: &Shape,
        rows: &Rows,
        row: usize,
        examples: &mut Examples,
        notes: &mut Notes,
    ) -> Result<(), Fault> {
        let example = shape.example(rows, row, &self.reading)?;
        if let Some(seen) = &mut self.seen {
            require_new(seen, Digest::of(&example))?;
        }
        notes.add_fields(&example.unknown, rows, row);
        examples.push_example(example);
        Ok(())
    }

    fn batch(&mut self, rows: &Rows, examples: Examples, chosen: Vec<u32>) -> anyhow::Result<RecordBatch> {
        let chosen = UInt32Array::from(chosen);
        let (mut fields, mut columns) = examples.finish(self.schema.as_deref())?;
        for column in &self.keep {
            fields.push(kept_field(rows, column));
            columns.push(kept_column(rows, column, &chosen)?);
        }
        if let Some(before) = &self.schema {
            fields = agreed(before, fields, &columns).map_err(|told| Error::row(rows.place(0), told))?;
        }
        let schema = Arc::new(Schema::new(fields));
        self.schema = Some(schema.clone());
        Ok(RecordBatch::try_new(schema, columns)?)
    }
}

/// The fields of a batch beside those before it: kept columns have the types of the first input, and what kind of rows
/// there are does not change.
fn agreed(before: &Schema, fields: Vec<Field>, columns: &[ArrayRef]) -> Result<Vec<Field>, String> {
    let is_documents = |name: Option<&str>| name == Some(TEXT);
    let first = before.fields().first().map(|field| field.name().as_str());
    if is_documents(first) != is_documents(fields.first().map(|field| field.name().as_str())) {
        return Err(format!(
            "conversations ('{MESSAGES}') and whole documents ('{TEXT}') do not go into one file; make one of each"
        ));
    }
    let of_first = |field: Field, column: &ArrayRef| match before.field_with_name(field.name()) {
        Ok(known) if field.name() == MESSAGES || known.data_type() == column.data_type() => {
            Ok(field.with_nullable(known.is_nullable()))
        }
        Ok(known) => {
            let (name, found, expected) = (field.name(), column.data_type(), known.data_type());
            Err(format!("column '{name}' is {found} here and {expected} in the first input"))
        }
        Err(_) => Ok(field),
    };
    fields.into_iter().zip(columns).map(|(field, column)| of_first(field, column)).collect()
}

fn require_new(seen: &mut Seen, digest: Digest) -> Result<(), Fault> {
    if seen.is_new(digest) { Ok(()) } else { Err(Reason::Duplicate.into()) }
}

fn is_blank(text: &str) -> bool {
    text.trim_start().is_empty()
}
