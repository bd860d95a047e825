//! The whole of it: read, convert, split, write, tell.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use anyhow::{anyhow, bail};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, not};
use ft_cli::{Usage, progress, typed_arguments};
use ft_io::{InputDigest, Provenance, Source, Target, interrupt};
use ft_table::schema::TEXT;
use ft_table::shapes::{Shape, shape_names};
use ft_table::{Error, ParquetWriter, RowBuffer, Rows, TableReader};

use crate::args::Args;
use crate::convert::{Converter, Emit};
use crate::notes::Notes;
use crate::plan::Plan;
use crate::report::{InputReport, Report};
use crate::split::{Selection, Side, TestSize};

/// Rows that wait for the split are held in memory up to this many bytes.
const HELD_BYTES: usize = 256 << 20;

/// Batches that may wait to be converted.
const AHEAD: usize = 4;

type Batch = Result<Rows, Error>;

/// Runs the program.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let plan = Plan::new(args)?;
    let mut converter = Converter::new(&args.keep_columns, args.reading(), args.dedup);
    let mut sink = Sink::Empty;
    let mut inputs = Vec::with_capacity(args.inputs.len());
    let only = args.inputs.len() == 1;
    for source in &args.inputs {
        inputs.push(read(args, source, &mut converter, &mut |batch, is_final| {
            sink.push(&plan, batch, is_final && only)
        })?);
    }
    let counts = &converter.counts;
    tracing::info!("{}", counts.line());
    if counts.kept == 0 {
        let names: Vec<_> = args.inputs.iter().map(Source::name).collect();
        let told = format!("no row is left: {}", counts.line());
        return Err(Error::format(names.join(", "), told).into());
    }
    let mut report = Report::new(inputs, counts);
    sink.end(args, &plan, counts.kept, &mut report)?;
    if let Some(target) = &args.report {
        report.write(target)?;
    }
    Ok(())
}

/// Reads and converts one input.
fn read(args: &Args, source: &Source, converter: &mut Converter, emit: &mut Emit) -> anyhow::Result<InputReport> {
    let mut reader = TableReader::open(source, args.format)?;
    if reader.columns().is_empty() {
        return Err(Error::format(reader.name(), "holds no rows").into());
    }
    let shape = shape(args, &reader)?;
    if shape.text.is_some() && args.keep_columns.iter().any(|name| name == TEXT) {
        return Err(Usage(format!("--keep-columns: '{TEXT}' is written anyway")).into());
    }
    let mut columns = shape.columns_of(reader.columns());
    columns.extend(args.keep_columns.iter().cloned());
    let mut notes = Notes::new(reader.columns(), shape.columns().chain(&args.keep_columns));
    reader.select(&columns)?;
    tracing::debug!("{}: {}, columns of the shape {}", reader.name(), reader.format(), shape.name);
    let before = converter.counts.read;
    let bar = progress(None, "rows");
    let (batches, parser) = parse_ahead(reader)?;
    for rows in batches {
        let rows = rows?;
        interrupt::check()?;
        converter.convert(&shape, &rows, &mut notes, emit)?;
        bar.inc(rows.len() as u64);
    }
    notes.tell(&source.name());
    let mut reader = parser.join().map_err(|_| anyhow!("the parsing thread failed"))?;
    let rows = converter.counts.read - before;
    if rows == 0 {
        return Err(Error::format(reader.name(), "holds no rows").into());
    }
    Ok(InputReport {
        name: source.file_name(),
        sha256: reader.sha256()?,
        format: reader.format().name(),
        shape: shape.name,
        rows,
    })
}

/// The shape that the arguments name or the columns tell.
fn shape(args: &Args, reader: &TableReader) -> anyhow::Result<Shape> {
    if let Some(shape) = args.shape() {
        return Ok(shape);
    }
    let columns = reader.columns();
    if let Some(shape) = Shape::detect(columns, &args.reading()) {
        return Ok(shape);
    }
    let names: Vec<_> = columns.iter().map(|name| format!("'{name}'")).collect();
    let pairs = ["chosen", "rejected"].iter().all(|side| columns.iter().any(|column| column == side));
    let advice = if pairs {
        "these are preference pairs: --preference chosen reads the better answer of each"
    } else {
        "name them with --input-column and --output-column, or --messages-column"
    };
    let (names, known) = (names.join(", "), shape_names());
    Err(Usage(format!("{}: the columns {names} tell no known shape ({known}); {advice}", reader.name())).into())
}

/// Parses on a thread of its own while the rows before are converted. The
/// thread gives the reader back at the end; after an error nobody waits for it.
fn parse_ahead(mut reader: TableReader) -> anyhow::Result<(Receiver<Batch>, JoinHandle<TableReader>)> {
    let (sender, batches) = sync_channel(AHEAD);
    let parse = move || {
        while let Some(rows) = reader.next_rows().transpose() {
            let failed = rows.is_err();
            if sender.send(rows).is_err() || failed {
                break;
            }
        }
        reader
    };
    let parser = thread::Builder::new().name("parse".into()).spawn(parse)?;
    Ok((batches, parser))
}

/// Where examples go as they are made.
enum Sink {
    /// None came yet, so the schema is not known.
    Empty,
    /// Straight to the output.
    Write(Box<ParquetWriter>),
    /// Held until all rows and columns are known.
    Hold(Box<RowBuffer>),
}

impl Sink {
    fn push(&mut self, plan: &Plan, batch: RecordBatch, is_final: bool) -> anyhow::Result<()> {
        if let Self::Empty = self {
            let schema = batch.schema();
            *self = match plan {
                Plan::All(target) if is_final => Self::Write(Box::new(ParquetWriter::create(target, schema, &[])?)),
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

    fn end(self, args: &Args, plan: &Plan, rows: u64, report: &mut Report) -> anyhow::Result<()> {
        let provenance = provenance(args, report).to_pairs();
        match (self, plan) {
            (Self::Write(mut writer), Plan::All(target)) => {
                writer.add_metadata(provenance);
                writer.finish()?;
                tell(report, "all", rows, target);
            }
            (Self::Hold(buffer), Plan::All(target)) => {
                let mut writer = ParquetWriter::create(target, buffer.schema().clone(), &provenance)?;
                for batch in buffer.into_batches()? {
                    interrupt::check()?;
                    writer.write(&batch?)?;
                }
                writer.finish()?;
                tell(report, "all", rows, target);
            }
            (Self::Hold(buffer), Plan::Split(sides)) => {
                let size = args.test_size.unwrap_or(TestSize::Rows(0));
                let names = || args.inputs.iter().map(Source::name).collect::<Vec<_>>();
                let test = size.of(rows).map_err(|told| Error::format(names().join(", "), told))?;
                report.seed = Some(args.seed);
                let selection = Selection::new(args.seed, test, rows);
                write_sides(*buffer, selection, sides, &provenance, report)?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn write_sides(
    buffer: RowBuffer,
    mut selection: Selection,
    sides: &[(Side, Target)],
    provenance: &[(String, String)],
    report: &mut Report,
) -> anyhow::Result<()> {
    if buffer.is_spilled() {
        tracing::debug!("the rows were held in a temporary file");
    }
    let mut writers = Vec::with_capacity(sides.len());
    let schema = buffer.schema().clone();
    for (side, target) in sides {
        let writer = ParquetWriter::create(target, schema.clone(), provenance)?;
        writers.push((*side, target, writer));
    }
    for batch in buffer.into_batches()? {
        interrupt::check()?;
        let batch = batch?;
        let rows = 0..batch.num_rows();
        let in_test: BooleanArray = rows.map(|_| Some(selection.next_is_test())).collect();
        for (side, _, writer) in &mut writers {
            let chosen = match side {
                Side::Test => &in_test,
                Side::Train => &not(&in_test)?,
            };
            writer.write(&filter_record_batch(&batch, chosen)?)?;
        }
    }
    for (_, _, writer) in &mut writers {
        writer.end_group()?;
    }
    for (side, target, writer) in writers {
        let rows = writer.rows();
        writer.finish()?;
        tell(report, side.name(), rows, target);
    }
    Ok(())
}

fn tell(report: &mut Report, side: &str, rows: u64, target: &Target) {
    report.written.insert(side.into(), rows.into());
    let prefix = if side == "all" { "" } else { side };
    let space = if prefix.is_empty() { "" } else { ": " };
    tracing::info!("{prefix}{space}{rows} rows to {target}");
}

/// Names of files are left out of it, so that a file and a pipe give the same
/// bytes.
fn provenance(args: &Args, report: &Report) -> Provenance {
    let left_out = ["-o", "--output", "--report", "--format"];
    let sources: Vec<_> = args.inputs.iter().collect();
    let digest = |input: &InputReport| InputDigest { name: String::new(), sha256: input.sha256.clone() };
    Provenance {
        tool: report.tool.into(),
        version: report.version.into(),
        arguments: typed_arguments(&left_out, &sources),
        inputs: report.inputs.iter().map(digest).collect(),
        ..Provenance::default()
    }
}
