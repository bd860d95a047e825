//! From the input's batches to the output's, in order.

use std::cell::RefCell;
use std::ops::Range;

use anyhow::{Result, anyhow, bail};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use ft_cli::progress;
use ft_io::{Interrupted, Source, interrupt};
use ft_table::ParquetWriter;
use ft_text::Scratch;
use rayon::prelude::*;

use crate::args::{Args, Overlong, Policy};
use crate::columns::Columns;
use crate::conversations::Conversations;
use crate::counts::Counts;
use crate::example;
use crate::input::Input;
use crate::packer::Packer;
use crate::provenance::inputs;
use crate::recipe::Recipe;
use crate::row::{Reject, Row};

/// Rows that one thread makes at a time.
const CHUNK: usize = 512;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Everything that does not change from row to row.
pub struct Work<'a> {
    pub name: &'a str,
    pub source: &'a Source,
    pub recipe: &'a Recipe,
    pub args: &'a Args,
    /// The output's.
    pub schema: SchemaRef,
    /// Columns of the input that are read, and of these the ones that go with their rows.
    pub columns: Vec<&'a str>,
    pub kept: Vec<&'a str>,
}

/// What a chunk of rows came to.
struct Made {
    /// None where the rows are packed.
    batch: Option<RecordBatch>,
    rows: Vec<Row>,
    counts: Counts,
    /// The first row that was kept.
    first: Option<Row>,
}

impl Work<'_> {
    /// Reads, makes and writes all rows.
    pub fn all(&self, input: Input, mut writer: ParquetWriter) -> Result<Counts> {
        let bar = progress(input.num_rows(), "rows");
        let mut batches = input.batches(&self.columns, &self.kept)?;
        let mut counts = Counts::default();
        let mut packer = self.args.packing.then(|| Packer::new(self.recipe.longest.unwrap_or(usize::MAX)));
        let mut shown = false;
        let mut next = batches.next()?;
        while let Some(batch) = next {
            if interrupt::requested() {
                return Err(Interrupted.into());
            }
            let before = counts.read;
            let (made, following) = rayon::join(|| self.batch(&batch, before), || batches.next());
            for made in made {
                let made = made?;
                if let Some(row) = made.first.filter(|_| !shown) {
                    tracing::info!("{}", example::show(&row));
                    shown = true;
                }
                if let Some((row, token)) = made.counts.open_end.as_ref().filter(|_| counts.open_end.is_none()) {
                    tracing::warn!(
                        "row {row}: what is learned ends in {token:?}, which is no end token of the model: there it will \
                         not learn to stop (the summary counts such rows)"
                    );
                }
                counts += made.counts;
                if let Some(batch) = made.batch {
                    writer.write(&batch)?;
                }
                let full = packer.as_mut().map(|p| made.rows.iter().flat_map(|row| p.push(row)).collect::<Vec<_>>());
                self.write_packed(full.as_deref().unwrap_or_default(), &mut writer, &mut counts)?;
            }
            bar.inc(batch.len() as u64);
            next = following?;
        }
        bar.finish();
        if let Some(row) = packer.and_then(|mut packer| packer.finish()) {
            self.write_packed(&[row], &mut writer, &mut counts)?;
        }
        if counts.kept == 0 {
            return Err(nothing_left(self.name, &counts));
        }
        writer.add_metadata(batches.digest(self.source)?.map(inputs).unwrap_or_default());
        writer.finish()?;
        Ok(counts)
    }

    fn write_packed(&self, rows: &[Row], writer: &mut ParquetWriter, counts: &mut Counts) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut columns = Columns::default();
        for row in rows {
            counts.keep(row, 0);
            columns.add(row, 0);
        }
        Ok(writer.write(&columns.finish(self.schema.clone(), &[])?)?)
    }

    /// The rows of one batch, in chunks; `before` rows came before it.
    fn batch(&self, batch: &Conversations, before: u64) -> Vec<Result<Made>> {
        let starts: Vec<usize> = (0..batch.len()).step_by(CHUNK).collect();
        starts
            .into_par_iter()
            .map(|start| {
                let end = (start + CHUNK).min(batch.len());
                SCRATCH.with_borrow_mut(|scratch| self.chunk(batch, start..end, before, scratch))
            })
            .collect()
    }

    fn chunk(&self, batch: &Conversations, rows: Range<usize>, before: u64, scratch: &mut Scratch) -> Result<Made> {
        let mut counts = Counts::default();
        let mut columns = Columns::default();
        let (mut first, mut packed) = (None, Vec::new());
        for i in rows {
            let number = before + i as u64 + 1;
            counts.read += 1;
            batch.unread(i).iter().for_each(|field| counts.unread.add(field, number));
            let made = self.rows(batch, i, scratch);
            counts.cut_up += u64::from(made.len() > 1);
            for row in made {
                match row {
                    Ok(row) if self.args.packing => packed.push(row),
                    Ok(row) => {
                        counts.keep(&row, number);
                        columns.add(&row, i);
                        first.get_or_insert(row);
                    }
                    Err(reject) => self.reject(reject, number, batch.place(i), &mut counts)?,
                }
            }
        }
        let kept = &batch.kept;
        let batch = if self.args.packing { None } else { Some(columns.finish(self.schema.clone(), kept)?) };
        Ok(Made { batch, rows: packed, counts, first })
    }

    /// What row `i` of the batch becomes.
    fn rows(&self, batch: &Conversations, i: usize, scratch: &mut Scratch) -> Vec<Result<Row, Reject>> {
        if let Some(document) = batch.document(i) {
            return match document {
                Ok(text) => self.recipe.document(text, scratch),
                Err(reason) => vec![Err(Reject::Bad(reason))],
            };
        }
        match batch.messages(i).and_then(|messages| Ok((messages, batch.variables(i)?))) {
            Ok((messages, variables)) => self.recipe.chat(messages, variables, batch.reference(i), scratch),
            Err(reason) => vec![Err(Reject::Bad(reason))],
        }
    }

    /// Counts a row that is left out, or fails with it.
    fn reject(&self, reject: Reject, number: u64, line: Option<String>, counts: &mut Counts) -> Result<()> {
        let place = || line.unwrap_or_else(|| format!("{}: row {number}", self.name));
        match reject {
            Reject::Fatal(error) => return Err(anyhow!(error).context(place())),
            Reject::Bad(reason) if self.args.bad_rows == Policy::Error => {
                bail!("{}: {reason} (--bad-rows drop leaves such rows out)", place())
            }
            Reject::Bad(reason) => counts.bad.add(number, || reason),
            Reject::Unlabelled if self.args.unlabelled == Policy::Error => {
                bail!("{}: no token of it would be learned (--unlabelled drop leaves such rows out)", place())
            }
            Reject::Unlabelled => counts.unlabelled.add(number, || "it has no labelled token".into()),
            Reject::Overlong { tokens } => {
                let longest = self.recipe.longest.unwrap_or_default();
                let reason = || format!("{tokens} tokens, --max-seq-length is {longest}");
                if self.args.overlong == Overlong::Error {
                    bail!("{}: {} (--overlong drop or truncate goes on)", place(), reason())
                }
                counts.overlong.add(number, reason);
                counts.lost_tokens += tokens as u64;
            }
        }
        Ok(())
    }
}

fn nothing_left(name: &str, counts: &Counts) -> anyhow::Error {
    if counts.read == 0 {
        return anyhow!("{name}: has no rows");
    }
    let first = [&counts.overlong, &counts.unlabelled, &counts.bad].into_iter().find_map(|d| d.first.as_ref());
    let (row, reason) = first.map_or((1, "unknown"), |(row, reason)| (*row, reason.as_str()));
    anyhow!("{name}: none of the {} rows can be used; row {row}: {reason}", counts.read)
}
