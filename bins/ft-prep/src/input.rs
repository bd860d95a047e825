//! One input: opened, told its shape, and parsed ahead.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use anyhow::anyhow;
use ft_cli::Usage;
use ft_io::Source;
use ft_table::schema::TEXT;
use ft_table::shapes::{Shape, shape_names};
use ft_table::{Error, Rows, TableReader};

use crate::args::Args;
use crate::notes::Notes;
use crate::report::InputReport;

/// Batches that may wait to be converted.
const AHEAD: usize = 4;

type Batch = Result<Rows, Error>;

/// An input that is being read.
pub struct Input {
    /// How its rows become examples.
    pub shape: Shape,
    /// What of it is not read.
    pub notes: Notes,
    source: Source,
    batches: Receiver<Batch>,
    parser: JoinHandle<TableReader>,
}

impl Input {
    /// Opens `source` and begins to parse it on a thread of its own.
    pub fn open(args: &Args, source: &Source) -> anyhow::Result<Self> {
        let mut reader = TableReader::open_with(source, &args.read_options())?;
        if reader.columns().is_empty() {
            return Err(Error::format(reader.name(), "holds no rows").into());
        }
        let shape = shape(args, &reader)?;
        check_options(args, &shape, reader.name())?;
        let mut columns = shape.columns_of(reader.columns());
        let named = || args.keep_columns.iter().chain(&args.group_column).chain(&args.stratify_column);
        columns.extend(named().cloned());
        let notes = Notes::new(reader.columns(), shape.columns().chain(named()));
        if args.rejects.is_some() {
            columns.extend(reader.columns().to_vec());
        }
        reader.select(&columns)?;
        tracing::debug!("{}: {}, columns of the shape {}", reader.name(), reader.format(), shape.name);
        let (batches, parser) = parse_ahead(reader)?;
        Ok(Self { shape, notes, source: source.clone(), batches, parser })
    }

    /// The next rows.
    pub fn next(&mut self) -> Result<Option<Rows>, Error> {
        self.batches.recv().ok().transpose()
    }

    /// Reads what is left of it for its digest, and says what was not read.
    pub fn finish(self, rows: u64) -> anyhow::Result<InputReport> {
        self.notes.tell(&self.source.name());
        // The parser stops where nobody takes its rows.
        drop(self.batches);
        let mut reader = self.parser.join().map_err(|_| anyhow!("the parsing thread failed"))?;
        if rows == 0 {
            return Err(Error::format(reader.name(), "holds no rows").into());
        }
        Ok(InputReport {
            name: self.source.file_name(),
            sha256: reader.sha256()?,
            format: reader.format().name(),
            shape: self.shape.name,
            rows,
            written: None,
        })
    }
}

/// Fails for options that the input gives no meaning.
fn check_options(args: &Args, shape: &Shape, name: &str) -> anyhow::Result<()> {
    let told = if shape.text.is_some() && args.keep_columns.iter().any(|column| column == TEXT) {
        format!("--keep-columns: '{TEXT}' is written anyway")
    } else if shape.text.is_some() && args.system.is_some() {
        format!("--system: {name} has whole documents (a column '{TEXT}'), which have no system message")
    } else if let Some(side) = args.preference
        && shape.name != side.column()
    {
        let side = side.column();
        format!("--preference {side}: {name} has no column '{side}'")
    } else {
        return Ok(());
    };
    Err(Usage(told).into())
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
