//! Rows into batches of examples.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use ft_table::schema::{SOURCE, SOURCE_FILE, SOURCE_ROW};
use ft_table::shapes::{Fault, Reading, Reason, Shape};
use ft_table::{Error, Rows};
use serde_json::Value;
use twox_hash::XxHash64;

use crate::args::{Args, OnFault};
use crate::columns::{agreed, kept_column, kept_field};
use crate::copies::{Copies, LeftOut};
use crate::counts::Counts;
use crate::dedup::{Digest, Place};
use crate::examples::Examples;
use crate::facts::{Facts, Wanted};
use crate::input::Input;
use crate::near::{shingles, shingles_of};
use crate::notes::Notes;
use crate::pairs::TextPairs;
use crate::random::mixed;
use crate::rejects::Rejects;

/// A batch of examples ends here at the latest, well below the 2 GiB that its
/// 32-bit offsets can tell.
const BATCH_BYTES: usize = 256 << 20;

/// Takes a batch, and whether all later ones of its input will have the same columns.
pub type Emit<'a> = dyn FnMut(RecordBatch, bool) -> anyhow::Result<()> + 'a;

/// Makes examples and counts what becomes of the rows.
pub struct Converter {
    keep: Vec<String>,
    reading: Reading,
    policy: Policy,
    /// Examples to make at most.
    limit: u64,
    origin: Origin,
    wanted: Wanted,
    group: Option<String>,
    stratum: Option<String>,
    copies: Copies,
    schema: Option<SchemaRef>,
    rejects: Rejects,
    /// Rows of all inputs so far.
    pub counts: Counts,
}

/// What becomes of rows that give no example.
#[derive(Clone, Copy)]
struct Policy {
    bad_rows: OnFault,
    non_text: OnFault,
}

/// Which columns tell where a row comes from.
#[derive(Clone, Copy)]
struct Origin {
    /// Its input: `source`.
    source: bool,
    /// Its input, and its line or row: `source_file`, `source_row`.
    lineage: bool,
}

/// The rows of one batch while it is made.
#[derive(Default)]
struct Chosen {
    rows: Vec<u32>,
    facts: Facts,
}

impl Converter {
    /// A converter as the arguments have it.
    pub fn new(args: &Args) -> anyhow::Result<Self> {
        let mut keep: Vec<String> = Vec::new();
        for column in &args.keep_columns {
            if !keep.contains(column) {
                keep.push(column.clone());
            }
        }
        Ok(Self {
            keep,
            reading: args.reading(),
            policy: Policy { bad_rows: args.bad_rows, non_text: args.non_text },
            // The rows of a random order are chosen at its end.
            limit: args.limit.filter(|_| !args.shuffle).unwrap_or(u64::MAX),
            origin: Origin { source: !args.mix.is_empty(), lineage: args.lineage },
            wanted: args.wanted_facts(),
            group: args.group_column.clone(),
            stratum: args.stratify_column.clone(),
            copies: Copies::new(args.dedup, args.near_dedup),
            schema: None,
            rejects: Rejects::create(args.rejects.as_ref())?,
            counts: Counts::default(),
        })
    }

    /// Whether as many examples are made as are wanted.
    pub fn is_full(&self) -> bool {
        self.counts.kept >= self.limit
    }

    /// The columns of the last batch, which has all columns of those before.
    pub fn schema(&self) -> Option<&SchemaRef> {
        self.schema.as_ref()
    }

    /// The names of the inputs by their numbers; the rows that were left out are written.
    pub fn finish(self) -> anyhow::Result<(Counts, Vec<String>)> {
        self.rejects.finish()?;
        Ok((self.counts, self.copies.into_names()))
    }

    /// Converts rows of input `number`; calls `emit` with each batch of examples. Later batches have all columns of those
    /// before, and perhaps more.
    pub fn convert(&mut self, input: &mut Input, rows: &Rows, number: usize, emit: &mut Emit) -> anyhow::Result<()> {
        let Input { shape, notes, .. } = input;
        notes.look_at(rows);
        self.copies.set_name(number, rows.name());
        for bad in rows.bad() {
            self.counts.read += 1;
            self.counts.drop_row(bad.reason);
            self.rejects.bad(rows.name(), bad)?;
        }
        let pairs = TextPairs::new(shape, rows);
        let bytes = pairs.as_ref().map_or(0, |pairs| pairs.bytes().min(BATCH_BYTES));
        let mut next = 0;
        while next < rows.len() && !self.is_full() {
            let mut examples = Examples::with_capacity(rows.len() - next, bytes);
            let mut chosen = Chosen::default();
            while next < rows.len() && examples.bytes() < BATCH_BYTES && !self.is_full() {
                self.counts.read += 1;
                let place = (number, rows.number(next));
                let outcome = match pairs.as_ref().and_then(|pairs| pairs.row(next)) {
                    Some(pair) => self.push_pair(pair, place, &mut examples, &mut chosen),
                    None => self.push_any(shape, rows, next, place, &mut examples, &mut chosen, notes),
                };
                match outcome {
                    Ok(()) => {
                        self.add_facts(rows, next, place, &mut chosen);
                        self.counts.kept += 1;
                    }
                    Err(left_out) => self.leave_out(rows, next, left_out)?,
                }
                next += 1;
            }
            if !chosen.rows.is_empty() {
                emit(self.batch(rows, examples, chosen)?, pairs.is_some())?;
            }
        }
        Ok(())
    }

    /// Counts a row that gives no example, or fails for it.
    fn leave_out(&mut self, rows: &Rows, row: usize, left_out: LeftOut) -> anyhow::Result<()> {
        let LeftOut { fault, mut more } = left_out;
        let reason = match fault {
            Fault::Drop(reason @ Reason::NotText(_)) if self.policy.non_text == OnFault::Error => {
                let told = format!("the row holds {reason}; --non-text drop leaves such rows out");
                return Err(rows.error(row, told).into());
            }
            Fault::Drop(reason) => reason,
            Fault::Broken(told) if self.policy.bad_rows == OnFault::Error => return Err(rows.error(row, told).into()),
            Fault::Broken(told) => {
                more.insert("detail".into(), told.into());
                Reason::NotUnderstood
            }
        };
        self.counts.drop_row(reason);
        Ok(self.rejects.row(rows, row, reason, more)?)
    }

    /// The common case: question and answer as texts.
    fn push_pair(
        &mut self,
        (system, input, output): (&str, &str, &str),
        place: Place,
        examples: &mut Examples,
        chosen: &mut Chosen,
    ) -> Result<(), LeftOut> {
        if is_blank(input) {
            return Err(Fault::from(Reason::EmptyInput).into());
        }
        if is_blank(output) {
            return Err(Fault::from(Reason::EmptyOutput).into());
        }
        let system = Some(system).filter(|text| !is_blank(text)).or(self.reading.system.as_deref());
        let messages = system.map(|text| ("system", text)).into_iter();
        let messages = messages.chain([("user", input), ("assistant", output)]);
        self.copies.refuse_same(place, || {
            let mut digest = Digest::new();
            messages.clone().for_each(|(role, content)| digest.message(role, content));
            digest
        })?;
        if self.wanted.shingles || self.copies.look_near() {
            let shingles = shingles_of([input, output].into_iter());
            self.copies.refuse_near(place, &shingles)?;
            chosen.facts.shingles.extend(self.wanted.shingles.then_some(shingles));
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
        place: Place,
        examples: &mut Examples,
        chosen: &mut Chosen,
        notes: &mut Notes,
    ) -> Result<(), LeftOut> {
        let example = shape.example(rows, row, &self.reading)?;
        self.copies.refuse_same(place, || Digest::of(&example))?;
        if self.wanted.shingles || self.copies.look_near() {
            let shingles = shingles(&example);
            self.copies.refuse_near(place, &shingles)?;
            chosen.facts.shingles.extend(self.wanted.shingles.then_some(shingles));
        }
        notes.add_fields(&example.unknown, rows, row);
        examples.push_example(example);
        Ok(())
    }

    /// Notes a row that is an example.
    fn add_facts(&self, rows: &Rows, row: usize, place: Place, chosen: &mut Chosen) {
        chosen.rows.push(row as u32);
        let digest = |column: &String| match &*rows.value(row, column) {
            Value::Null => None,
            Value::String(text) => Some(XxHash64::oneshot(0, text.as_bytes())),
            other => Some(XxHash64::oneshot(0, other.to_string().as_bytes())),
        };
        let of_its_own = || mixed(mixed(place.0 as u64) ^ place.1);
        let Facts { groups, strata, files, rows: numbers, .. } = &mut chosen.facts;
        if self.wanted.group {
            groups.push(self.group.as_ref().and_then(digest).unwrap_or_else(of_its_own));
        }
        if self.wanted.stratum {
            strata.push(self.stratum.as_ref().and_then(digest).unwrap_or(0));
        }
        if self.wanted.place {
            files.push(place.0 as u64);
            numbers.push(place.1);
        }
    }

    fn batch(&mut self, rows: &Rows, examples: Examples, chosen: Chosen) -> anyhow::Result<RecordBatch> {
        let n = chosen.rows.len();
        let numbers = chosen.rows.iter().map(|&row| rows.number(row as usize));
        let numbers: ArrayRef = Arc::new(UInt64Array::from_iter_values(numbers));
        let taken = UInt32Array::from(chosen.rows);
        let (mut fields, mut columns) = examples.finish(self.schema.as_deref())?;
        for column in &self.keep {
            fields.push(kept_field(rows, column));
            columns.push(kept_column(rows, column, &taken)?);
        }
        let name = || -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(rows.name(), n))) };
        if self.origin.source {
            fields.push(Field::new(SOURCE, DataType::Utf8, false));
            columns.push(name());
        }
        if self.origin.lineage {
            fields.extend(
                [(SOURCE_FILE, DataType::Utf8), (SOURCE_ROW, DataType::UInt64)]
                    .map(|(c, kind)| Field::new(c, kind, false)),
            );
            columns.extend([name(), numbers]);
        }
        chosen.facts.into_columns(&mut fields, &mut columns);
        if let Some(before) = &self.schema {
            fields = agreed(before, fields, &columns).map_err(|told| Error::row(rows.place(0), told))?;
        }
        let schema = Arc::new(Schema::new(fields));
        self.schema = Some(schema.clone());
        Ok(RecordBatch::try_new(schema, columns)?)
    }
}

fn is_blank(text: &str) -> bool {
    text.trim_start().is_empty()
}
