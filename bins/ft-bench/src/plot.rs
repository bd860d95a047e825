//! The curves of a training run, from its `metrics.jsonl`.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ft_cli::Usage;
use ft_io::{Distinct, Source, Target};
use serde_json::{Map, Value};

use crate::args::{Format, PlotArgs};
use crate::report::put;

/// `ft-bench plot`
pub fn run(args: &PlotArgs) -> Result<()> {
    let source = Source::parse(&args.metrics);
    let target = Target::parse(&args.output);
    let format = args.format.map_or_else(|| format_of(&target), Ok)?;
    let mut files = Distinct::new();
    files.input("METRICS.jsonl", &source);
    files.output("--output", &target)?;
    let lines = read(&source)?;
    let title = args.title.clone().unwrap_or_else(|| title(&source));
    let chart = ft_plot::training(&title, &lines).with_context(|| source.name())?;
    let bytes = match format {
        Format::Svg => chart.svg()?.into_bytes(),
        Format::Png => chart.png()?,
    };
    put((target.name(), Target::binary(Some(target))?.create()?), &bytes)
}

/// What the output's name says.
fn format_of(target: &Target) -> Result<Format> {
    match target.path().and_then(Path::extension).and_then(|e| e.to_str()) {
        Some("svg") => Ok(Format::Svg),
        Some("png") => Ok(Format::Png),
        _ => bail!(Usage(format!("'{}' ends in neither .svg nor .png; give --format svg or png", target.name()))),
    }
}

fn read(source: &Source) -> Result<Vec<Map<String, Value>>> {
    let mut text = String::new();
    source.open()?.read_to_string(&mut text).with_context(|| format!("cannot read '{}'", source.name()))?;
    let object = |(i, line): (usize, &str)| {
        serde_json::from_str(line)
            .with_context(|| format!("{}, line {}: expected a JSON object, as in metrics.jsonl", source.name(), i + 1))
    };
    // The last line of a run that was killed may be half a one; a plot of it needs only the lines before.
    let whole = if text.ends_with('\n') { text.len() } else { text.rfind('\n').map_or(text.len(), |end| end + 1) };
    text[..whole].lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(object).collect()
}

/// The run's folder, where the path shows it.
fn title(source: &Source) -> String {
    let folder = source.path().and_then(Path::parent).and_then(Path::file_name);
    folder.map_or_else(|| source.file_name(), |name| name.to_string_lossy().into_owned())
}
