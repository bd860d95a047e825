//! Rows into batches of examples.

use std::collections::HashSet;

use arrow::array::{Array, AsArray, RecordBatch, StringArray, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef};
use ft_io::Sha256;
use ft_table::schema::examples_schema;
use ft_table::{Data, Error, Rows};

use crate::columns::{kept_column, kept_field};
use crate::drops::{Counts, Drop};
use crate::examples::Examples;
use crate::message::{self, Fault, Message};
use crate::recipe::Recipe;

/// A batch of examples ends here at the latest, well below the 2 GiB that its
/// 32-bit offsets can tell.
const BATCH_BYTES: usize = 256 << 20;

/// Makes examples and counts what becomes of the rows.
pub struct Converter {
    keep: Vec<String>,
    seen: Option<HashSet<[u8; 16]>>,
    schema: Option<SchemaRef>,
    /// Rows of all inputs so far.
    pub counts: Counts,
}

impl Converter {
    /// A converter that keeps these columns and, with `dedup`, drops examples
    /// that came before.
    pub fn new(keep: &[String], dedup: bool) -> Self {
        Self { keep: keep.to_vec(), seen: dedup.then(HashSet::new), schema: None, counts: Counts::default() }
    }

    /// Converts rows; calls `emit` with each batch of examples.
    pub fn convert(
        &mut self,
        recipe: &Recipe,
        rows: &Rows,
        emit: &mut dyn FnMut(RecordBatch) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let pairs = TextPairs::new(recipe, rows);
        let bytes = pairs.as_ref().map_or(0, TextPairs::bytes);
        let mut next = 0;
        while next < rows.len() {
            let mut examples = Examples::with_capacity(rows.len() - next, bytes);
            let mut chosen = Vec::with_capacity(rows.len() - next);
            while next < rows.len() && examples.bytes() < BATCH_BYTES {
                self.counts.read += 1;
                let outcome = match &pairs {
                    Some(pairs) => self.push_pair(pairs, next, &mut examples),
                    None => self.push_any(recipe, rows, next, &mut examples),
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
                emit(self.batch(rows, examples, chosen)?)?;
            }
        }
        Ok(())
    }

    /// The common case without a detour through JSON.
    fn push_pair(&mut self, pairs: &TextPairs, row: usize, examples: &mut Examples) -> Result<(), Fault> {
        let (system, input, output) = pairs.row(row);
        if is_blank(input) {
            return Err(Drop::EmptyInput.into());
        }
        if is_blank(output) {
            return Err(Drop::EmptyOutput.into());
        }
        let system = Some(system).filter(|text| !is_blank(text));
        let messages = system.map(|text| ("system", text)).into_iter();
        let messages = messages.chain([("user", input), ("assistant", output)]);
        self.refuse_repeated(messages.clone())?;
        messages.for_each(|(role, content)| examples.push(role, content));
        examples.end_row();
        Ok(())
    }

    fn push_any(&mut self, recipe: &Recipe, rows: &Rows, row: usize, examples: &mut Examples) -> Result<(), Fault> {
        let messages = message::complete(gather(recipe, rows, row)?)?;
        self.refuse_repeated(messages.iter().map(|m| (m.role, m.content.as_str())))?;
        for message in &messages {
            examples.push(message.role, &message.content);
        }
        examples.end_row();
        Ok(())
    }

    fn refuse_repeated<'a>(&mut self, messages: impl Iterator<Item = (&'a str, &'a str)>) -> Result<(), Fault> {
        let Some(seen) = &mut self.seen else {
            return Ok(());
        };
        let mut hash = Sha256::new();
        for (role, content) in messages {
            // Lengths first, so that no two lists of messages read alike.
            hash.update((role.len() as u64).to_le_bytes());
            hash.update(role);
            hash.update((content.len() as u64).to_le_bytes());
            hash.update(content);
        }
        let mut key = [0; 16];
        key.copy_from_slice(&hash.digest()[..16]);
        if seen.insert(key) { Ok(()) } else { Err(Drop::Duplicate.into()) }
    }

    fn batch(&mut self, rows: &Rows, examples: Examples, chosen: Vec<u32>) -> anyhow::Result<RecordBatch> {
        let chosen = UInt32Array::from(chosen);
        let mut columns = vec![examples.finish()?];
        for column in &self.keep {
            columns.push(kept_column(rows, column, &chosen)?);
        }
        let keep = &self.keep;
        let schema =
            self.schema.get_or_insert_with(|| examples_schema(keep.iter().map(|column| kept_field(rows, column))));
        for (field, column) in schema.fields().iter().zip(&columns) {
            if field.data_type() != column.data_type() {
                let told = format!(
                    "column '{}' is {} here and {} in the first input",
                    field.name(),
                    column.data_type(),
                    field.data_type()
                );
                return Err(Error::row(rows.place(0), told).into());
            }
        }
        Ok(RecordBatch::try_new(schema.clone(), columns)?)
    }
}

/// The messages of one row, complete or not.
fn gather(recipe: &Recipe, rows: &Rows, row: usize) -> Result<Vec<Message>, Fault> {
    let mut messages = Vec::with_capacity(4);
    if let Some(column) = &recipe.system
        && let Some(text) = message::text(&rows.value(row, column), column)?
    {
        messages.push(Message::new("system", text));
    }
    if let Some(column) = &recipe.history {
        messages.extend(message::history(&rows.value(row, column), column)?);
    }
    let value = rows.value(row, &recipe.input);
    let mut asked = if recipe.conversation {
        message::conversation(&value, &recipe.input)?
    } else {
        message::question(&value, &recipe.input)?
    };
    if let Some(column) = &recipe.context
        && let Some(text) = message::text(&rows.value(row, column), column)?
        && !is_blank(&text)
        && let Some(last) = asked.last_mut()
    {
        last.content.push('\n');
        last.content.push_str(&text);
    }
    messages.append(&mut asked);
    if let Some(column) = &recipe.output {
        messages.extend(message::answer(&rows.value(row, column), column)?);
    }
    Ok(messages)
}

fn is_blank(text: &str) -> bool {
    text.trim_start().is_empty()
}

/// Question and answer as plain columns of text.
struct TextPairs<'a> {
    system: Option<&'a StringArray>,
    input: &'a StringArray,
    output: &'a StringArray,
}

impl<'a> TextPairs<'a> {
    fn new(recipe: &Recipe, rows: &'a Rows) -> Option<Self> {
        let Data::Columns(batch) = rows.data() else {
            return None;
        };
        if !recipe.is_pair() {
            return None;
        }
        let text = |column: &str| {
            let array = batch.column_by_name(column)?;
            (array.data_type() == &DataType::Utf8).then(|| array.as_string::<i32>())
        };
        Some(Self {
            system: match &recipe.system {
                Some(column) => Some(text(column)?),
                None => None,
            },
            input: text(&recipe.input)?,
            output: text(recipe.output.as_ref()?)?,
        })
    }

    fn bytes(&self) -> usize {
        [self.system, Some(self.input), Some(self.output)]
            .into_iter()
            .flatten()
            .map(|array| array.get_buffer_memory_size().min(BATCH_BYTES))
            .sum()
    }

    /// System, question and answer; null as the empty text.
    fn row(&self, row: usize) -> (&'a str, &'a str, &'a str) {
        let text = |array: &'a StringArray| {
            if array.is_null(row) { "" } else { array.value(row) }
        };
        (self.system.map_or("", text), text(self.input), text(self.output))
    }
}
