//! The whole of it: read, convert, split, write, tell.

use arrow::array::RecordBatch;
use ft_cli::{progress, typed_arguments};
use ft_io::{InputDigest, Provenance, Source, interrupt};
use ft_table::Error;

use crate::args::Args;
use crate::convert::Converter;
use crate::input::Input;
use crate::plan::Plan;
use crate::random::{Use, seed_of};
use crate::report::{InputReport, Report};
use crate::sink::{Ending, Sink};
use crate::split::Chooser;

/// Runs the program.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let plan = Plan::new(args)?;
    let mut converter = Converter::new(args)?;
    let mut sink = Sink::Empty;
    let mut inputs = Vec::with_capacity(args.inputs.len());
    let may_stream = args.inputs.len() == 1 && !args.shuffle;
    for source in &args.inputs {
        if converter.is_full() {
            tracing::info!("{source}: not read, the limit is reached");
            continue;
        }
        let mut push = |batch: RecordBatch, is_final: bool| sink.push(&plan, batch, is_final && may_stream);
        inputs.push(read(args, source, &mut converter, &mut push)?);
    }
    let counts = converter.finish()?;
    tracing::info!("{}", counts.line());
    if counts.kept == 0 {
        let told = format!("no row is left: {}", counts.line());
        return Err(Error::format(names(args), told).into());
    }
    let mut report = Report::new(inputs, &counts);
    let provenance = provenance(args, &report).to_pairs();
    let chooser = chooser(args, counts.kept, &mut report)?;
    let shuffle = args.shuffle.then(|| seed_of(args.seed, Use::Shuffle));
    sink.end(&plan, Ending { chooser, shuffle, provenance: &provenance }, &mut report)?;
    if let Some(target) = &args.report {
        report.write(target)?;
    }
    Ok(())
}

/// Reads and converts one input.
fn read(
    args: &Args,
    source: &Source,
    converter: &mut Converter,
    emit: &mut crate::convert::Emit,
) -> anyhow::Result<InputReport> {
    let mut input = Input::open(args, source)?;
    let before = converter.counts.read;
    let bar = progress(None, "rows");
    while let Some(rows) = input.next()? {
        interrupt::check()?;
        converter.convert(&input.shape, &rows, &mut input.notes, emit)?;
        bar.inc(rows.len() as u64);
        if converter.is_full() {
            break;
        }
    }
    input.finish(converter.counts.read - before)
}

/// Which rows go where, of `rows` that are kept.
fn chooser(args: &Args, rows: u64, report: &mut Report) -> anyhow::Result<Chooser> {
    let sampled = args.limit.filter(|&limit| args.shuffle && limit < rows);
    let taken = sampled.unwrap_or(rows);
    let test = match args.test_size {
        Some(size) => Some(size.of(taken).map_err(|told| Error::format(names(args), told))?),
        None => None,
    };
    if test.is_some() || args.shuffle {
        report.seed = Some(args.seed);
    }
    let sample = sampled.map(|limit| (seed_of(args.seed, Use::Sample), limit));
    Ok(Chooser::new(rows, sample, test.map(|test| (args.seed, test))))
}

fn names(args: &Args) -> String {
    args.inputs.iter().map(Source::name).collect::<Vec<_>>().join(", ")
}

/// Names of files are left out of it, so that a file and a pipe give the same
/// bytes.
fn provenance(args: &Args, report: &Report) -> Provenance {
    let left_out = ["-o", "--output", "--report", "--format", "--rejects"];
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
