//! The whole of it: read, convert, split, write, tell.

use arrow::array::RecordBatch;
use ft_cli::{progress, typed_arguments};
use ft_io::{InputDigest, Provenance, Source, interrupt};
use ft_table::Error;

use crate::args::Args;
use crate::choose;
use crate::convert::{Converter, Emit};
use crate::facts::Facts;
use crate::input::Input;
use crate::mix;
use crate::plan::Plan;
use crate::random::{Use, seed_of};
use crate::report::{InputReport, Report};
use crate::shares::Share;
use crate::sink::{Ending, Sink};
use crate::sources::expand;

/// Runs the program.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let sources = match &args.mix[..] {
        [] => expand(&args.inputs)?,
        mix => mix.iter().map(|share| share.source.clone()).collect(),
    };
    let plan = Plan::new(args, &sources)?;
    let mut converter = Converter::new(args)?;
    let (mut sink, mut facts, mut rows) = (Sink::Empty, Facts::default(), 0);
    let may_stream = sources.len() == 1 && !args.shuffle;
    let mut push = |batch: RecordBatch, is_final: bool| {
        let batch = facts.take(&batch)?;
        rows += batch.num_rows() as u64;
        sink.push(&plan, batch, is_final && may_stream)
    };
    let inputs = if args.mix.is_empty() {
        one_after_the_other(args, &sources, &mut converter, &mut push)?
    } else {
        mix::run(args, &mut converter, &mut push)?
    };
    let (counts, names) = converter.finish()?;
    tracing::info!("{}", counts.line());
    let all = || sources.iter().map(Source::name).collect::<Vec<_>>().join(", ");
    if rows == 0 {
        let told = format!("no row is left: {}", counts.line());
        return Err(Error::format(all(), told).into());
    }
    let mut report = Report::new(inputs, &counts);
    let provenance = provenance(args, &sources, &report).to_pairs();
    let chooser = choose::chooser(args, rows, facts, &names, &mut report).map_err(|fault| fault.about(all()))?;
    let shuffle = args.shuffle.then(|| seed_of(args.seed, Use::Shuffle));
    sink.end(&plan, Ending { chooser, shuffle, provenance: &provenance }, &mut report)?;
    if let Some(target) = &args.report {
        report.write(target)?;
    }
    Ok(())
}

/// Reads and converts the inputs.
fn one_after_the_other(
    args: &Args,
    sources: &[Source],
    converter: &mut Converter,
    emit: &mut Emit,
) -> anyhow::Result<Vec<InputReport>> {
    let mut inputs = Vec::with_capacity(sources.len());
    for (number, source) in sources.iter().enumerate() {
        if converter.is_full() {
            tracing::info!("{source}: not read, the limit is reached");
            continue;
        }
        let mut input = Input::open(args, source)?;
        let before = converter.counts.read;
        let bar = progress(None, "rows");
        while let Some(rows) = input.next()? {
            interrupt::check()?;
            converter.convert(&mut input, &rows, number, emit)?;
            bar.inc(rows.len() as u64);
            if converter.is_full() {
                break;
            }
        }
        inputs.push(input.finish(converter.counts.read - before)?);
    }
    Ok(inputs)
}

/// Names of files are left out of it, so that a file and a pipe give the same
/// bytes.
fn provenance(args: &Args, sources: &[Source], report: &Report) -> Provenance {
    let left_out = ["-o", "--output", "--report", "--format", "--rejects", "--leak-report"];
    let sources: Vec<_> = args.inputs.iter().chain(sources).collect();
    let digest = |input: &InputReport| InputDigest { name: String::new(), sha256: input.sha256.clone() };
    let without_folder = |argument: String| match argument.parse::<Share>() {
        Ok(share) if args.mix.contains(&share) => format!("{}={}", share.source.file_name(), share.weight),
        _ => argument,
    };
    Provenance {
        tool: report.tool.into(),
        version: report.version.into(),
        arguments: typed_arguments(&left_out, &sources).into_iter().map(without_folder).collect(),
        inputs: report.inputs.iter().map(digest).collect(),
        ..Provenance::default()
    }
}
