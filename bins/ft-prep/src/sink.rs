//! Where examples go as they are made.

use anyhow::bail;
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use ft_io::{Target, interrupt};
use ft_table::{ParquetWriter, RowBuffer};

use crate::plan::Plan;
use crate::report::Report;
use crate::shuffle::Shuffler;
use crate::split::{Chooser, Side};

/// Rows that wait are held in memory up to this many bytes.
const HELD_BYTES: usize = 256 << 20;

/// Takes examples.
pub enum Sink {
    /// None came yet, so the schema is not known.
    Empty,
    /// Straight to the output.
    Write(Box<ParquetWriter>),
    /// Held until all rows and columns are known.
    Hold(Box<RowBuffer>),
}

/// What is done with the rows at the end.
pub struct Ending<'a> {
    /// Which rows go where.
    pub chooser: Chooser,
    /// The seed of a random order.
    pub shuffle: Option<u64>,
    /// For the footers.
    pub provenance: &'a [(String, String)],
}

impl Sink {
    /// Takes a batch; `may_stream`: later ones have the same columns, and nothing is done at the end but to write.
    pub fn push(&mut self, plan: &Plan, batch: RecordBatch, may_stream: bool) -> anyhow::Result<()> {
        if let Self::Empty = self {
            let schema = batch.schema();
            *self = match plan {
                Plan::All(target) if may_stream => Self::Write(Box::new(ParquetWriter::create(target, schema, &[])?)),
                _ => Self::Hold(Box::new(RowBuffer::new(schema, HELD_BYTES))),
            };
        }
        match self {
            Self::Empty => {}
            Self::Write(writer) if writer.schema() != batch.schema_ref() => {
                bail!(
                    "the input begins with questions and answers in plain text, and lists of messages with more fields \
                     come later; put a row of those first, or give the rows as JSON lines"
                )
            }
            Self::Write(writer) => writer.write(&batch)?,
            Self::Hold(buffer) => buffer.push(batch)?,
        }
        Ok(())
    }

    /// Writes what is held and gives the files their names.
    pub fn end(self, plan: &Plan, ending: Ending, report: &mut Report) -> anyhow::Result<()> {
        match (self, plan) {
            (Self::Write(mut writer), Plan::All(target)) => {
                writer.add_metadata(ending.provenance.to_vec());
                let rows = writer.rows();
                writer.finish()?;
                tell(report, None, rows, target);
            }
            (Self::Hold(buffer), Plan::All(target)) => write(*buffer, &[(None, target)], ending, report)?,
            (Self::Hold(buffer), Plan::Split(sides)) => {
                let sides: Vec<_> = sides.iter().map(|(side, target)| (Some(*side), target)).collect();
                write(*buffer, &sides, ending, report)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// One output while it is written.
struct Open<'a> {
    side: Option<Side>,
    target: &'a Target,
    writer: ParquetWriter,
    shuffler: Option<Shuffler>,
}

fn write(
    buffer: RowBuffer,
    outputs: &[(Option<Side>, &Target)],
    mut ending: Ending,
    report: &mut Report,
) -> anyhow::Result<()> {
    if buffer.is_spilled() {
        tracing::debug!("the rows were held in a temporary file");
    }
    let schema = buffer.schema().clone();
    let bytes = buffer.bytes();
    let shuffler = || ending.shuffle.map(|seed| Shuffler::new(&schema, seed, bytes, HELD_BYTES));
    let open = |&(side, target)| {
        let writer = ParquetWriter::create(target, schema.clone(), ending.provenance)?;
        Ok(Open { side, target, writer, shuffler: shuffler() })
    };
    let mut files = outputs.iter().map(open).collect::<Result<Vec<_>, ft_table::Error>>()?;
    for batch in buffer.into_batches()? {
        interrupt::check()?;
        let batch = batch?;
        let fates: Vec<_> = (0..batch.num_rows()).map(|_| ending.chooser.next_side()).collect();
        for file in &mut files {
            file.push(&batch, &fates)?;
        }
    }
    for file in &mut files {
        if let Some(shuffler) = file.shuffler.take() {
            shuffler.finish(|batch| Ok(file.writer.write(&batch)?))?;
        }
        file.writer.end_group()?;
    }
    for Open { side, target, writer, .. } in files {
        let rows = writer.rows();
        writer.finish()?;
        tell(report, side, rows, target);
    }
    Ok(())
}

impl Open<'_> {
    /// Takes the rows whose fate is this output.
    fn push(&mut self, batch: &RecordBatch, fates: &[Option<Side>]) -> anyhow::Result<()> {
        let is_mine = |fate: &Option<Side>| fate.is_some() && (self.side.is_none() || *fate == self.side);
        let batch = if fates.iter().all(is_mine) {
            batch.clone()
        } else {
            let chosen: BooleanArray = fates.iter().map(|fate| Some(is_mine(fate))).collect();
            filter_record_batch(batch, &chosen)?
        };
        match &mut self.shuffler {
            Some(shuffler) => shuffler.push(&batch),
            None => Ok(self.writer.write(&batch)?),
        }
    }
}

fn tell(report: &mut Report, side: Option<Side>, rows: u64, target: &Target) {
    let name = side.map_or("all", Side::name);
    report.written.insert(name.into(), rows.into());
    let prefix = side.map(|side| format!("{}: ", side.name())).unwrap_or_default();
    tracing::info!("{prefix}{rows} rows to {target}");
}
