//! Rows of several inputs, drawn by weight.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use ft_io::interrupt;
use ft_table::{BufferedRows, RowBuffer, conform};

use crate::args::Args;
use crate::convert::{Converter, Emit};
use crate::input::Input;
use crate::random::{Use, nth, seed_of};
use crate::report::InputReport;
use crate::shares::Until;

/// Rows of a batch that is given out.
const BATCH_ROWS: usize = 4096;

/// Bytes of one input that are held in memory to be read again; the rest waits in a file.
const HELD_BYTES: usize = 64 << 20;

/// An input that is mixed.
struct Stream {
    weight: f64,
    /// None where it was read to its end.
    input: Option<Input>,
    number: usize,
    read: u64,
    ready: VecDeque<RecordBatch>,
    /// The next row of the first batch that is ready.
    row: usize,
    /// Its examples, to be given out again.
    kept: Option<RowBuffer>,
    again: Option<BufferedRows>,
    /// Times that it was given out to the end.
    rounds: u64,
    given: u64,
    report: Option<InputReport>,
}

/// Mixes the inputs that `--mix` names; calls `emit` with the batches.
pub fn run(args: &Args, converter: &mut Converter, emit: &mut Emit) -> anyhow::Result<Vec<InputReport>> {
    let until = args.mix_until;
    let mut streams = Vec::with_capacity(args.mix.len());
    for (number, share) in args.mix.iter().enumerate() {
        let input = Some(Input::open(args, &share.source)?);
        let (weight, ready) = (share.weight, VecDeque::new());
        streams.push(Stream {
            weight,
            input,
            number,
            read: 0,
            ready,
            row: 0,
            kept: None,
            again: None,
            rounds: 0,
            given: 0,
            report: None,
        });
    }
    let total: f64 = streams.iter().map(|stream| stream.weight).sum();
    let seed = seed_of(args.seed, Use::Mix);
    let mut out = Mixed::default();
    for stream in &mut streams {
        stream.prepare(converter, until)?;
    }
    for n in 0_u64.. {
        let over = match until {
            Until::First => streams.iter().any(|stream| stream.rounds > 0),
            Until::All => streams.iter().all(|stream| stream.rounds > 0),
            Until::Rows(rows) => n >= rows,
        };
        if over {
            break;
        }
        let at = drawn(&streams, total, nth(seed, n));
        out.take(&mut streams[at]);
        if out.rows.len() >= BATCH_ROWS {
            interrupt::check()?;
            out.flush(converter.schema(), emit)?;
        }
        streams[at].prepare(converter, until)?;
    }
    out.flush(converter.schema(), emit)?;
    streams.into_iter().map(Stream::finish).collect()
}

/// The stream that a random number means.
fn drawn(streams: &[Stream], total: f64, random: u64) -> usize {
    // The upper 53 bits as a number in [0, 1).
    let mut left = (random >> 11) as f64 / (1_u64 << 53) as f64 * total;
    for (at, stream) in streams.iter().enumerate() {
        left -= stream.weight;
        if left < 0.0 {
            return at;
        }
    }
    streams.len() - 1
}

impl Stream {
    /// Sees to it that a row is ready; counts a round and begins the next one where there is none.
    fn prepare(&mut self, converter: &mut Converter, until: Until) -> anyhow::Result<()> {
        while self.ready.is_empty() {
            if self.fill(converter, until)? {
                continue;
            }
            self.rounds += 1;
            if until == Until::First {
                return Ok(());
            }
            let Some(kept) = self.kept.take() else {
                anyhow::bail!("input {} of the mix has no row that can be used", self.number + 1);
            };
            self.again = Some(kept.into_batches()?);
        }
        Ok(())
    }

    /// Makes batches ready; false at the end of the input.
    fn fill(&mut self, converter: &mut Converter, until: Until) -> anyhow::Result<bool> {
        if let Some(again) = &mut self.again {
            let Some(batch) = again.next().transpose()? else {
                return Ok(false);
            };
            self.keep(&batch)?;
            self.ready.push_back(batch);
            return Ok(true);
        }
        let Some(input) = &mut self.input else {
            return Ok(false);
        };
        let Some(rows) = input.next()? else {
            self.report = self.input.take().map(|input| input.finish(self.read)).transpose()?;
            return Ok(false);
        };
        let before = converter.counts.read;
        let mut made = Vec::new();
        converter.convert(input, &rows, self.number, &mut |batch, _| {
            made.push(batch);
            Ok(())
        })?;
        self.read += converter.counts.read - before;
        for batch in made {
            if until != Until::First {
                self.keep(&batch)?;
            }
            self.ready.push_back(batch);
        }
        Ok(true)
    }

    fn keep(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        let kept = self.kept.get_or_insert_with(|| RowBuffer::new(batch.schema(), HELD_BYTES));
        Ok(kept.push(batch.clone())?)
    }

    /// The report; reads what is left for the digest.
    fn finish(mut self) -> anyhow::Result<InputReport> {
        let mut report = match (self.report.take(), self.input.take()) {
            (Some(report), _) => report,
            (None, Some(input)) => input.finish(self.read)?,
            (None, None) => anyhow::bail!("an input was lost"),
        };
        report.written = Some(self.given);
        Ok(report)
    }
}

/// Rows on their way out.
#[derive(Default)]
struct Mixed {
    batches: Vec<RecordBatch>,
    /// The batch of each stream's current rows in `batches`.
    current: Vec<Option<usize>>,
    rows: Vec<(usize, usize)>,
}

impl Mixed {
    /// Takes the next row of a stream.
    fn take(&mut self, stream: &mut Stream) {
        let Some(batch) = stream.ready.front() else {
            return;
        };
        if self.current.len() <= stream.number {
            self.current.resize(stream.number + 1, None);
        }
        let at = *self.current[stream.number].get_or_insert_with(|| {
            self.batches.push(batch.clone());
            self.batches.len() - 1
        });
        self.rows.push((at, stream.row));
        stream.row += 1;
        stream.given += 1;
        if stream.row == batch.num_rows() {
            stream.ready.pop_front();
            stream.row = 0;
            self.current[stream.number] = None;
        }
    }

    /// Gives the rows out as one batch, with all columns that were ever seen.
    fn flush(&mut self, schema: Option<&SchemaRef>, emit: &mut Emit) -> anyhow::Result<()> {
        if let Some(schema) = schema.filter(|_| !self.rows.is_empty()) {
            let batches = self.batches.iter().map(|batch| conform(batch, schema)).collect::<Result<Vec<_>, _>>()?;
            let batches: Vec<_> = batches.iter().collect();
            emit(interleave_record_batch(&batches, &self.rows)?, false)?;
        }
        *self = Self::default();
        Ok(())
    }
}
