//! What the typed arguments mean together.

use std::fs;
use std::path::Path;

use ft_cli::Usage;
use ft_io::{AtomicFile, Distinct, Source, Target};
use ft_table::schema::{CHAT_TEMPLATE_KWARGS, MESSAGES, SOURCE, SOURCE_FILE, SOURCE_ROW, TOOLS};

use crate::args::Args;
use crate::split::{Side, TestSize};

/// What to write.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// All rows, as they come.
    All(Target),
    /// A split: each side that is wanted, and where it goes.
    Split(Vec<(Side, Target)>),
}

impl Plan {
    /// Checks the arguments, and that the outputs can be made, before a long
    /// input is read.
    pub fn new(args: &Args, inputs: &[Source]) -> anyhow::Result<Self> {
        check_inputs(inputs)?;
        check_columns(args)?;
        let target = Target::binary(args.output.clone())?;
        let plan = match (args.test_size, args.split) {
            (None, Some(_)) => return Err(usage("--split needs --test-size")),
            (None, None) => Self::All(within_folder(target, Side::Train)),
            (Some(_), Some(side)) => Self::Split(vec![(side, within_folder(target, side))]),
            (Some(_), None) => Self::Split(both_sides(&target)?),
        };
        plan.check_outputs(args, inputs)?;
        Ok(plan)
    }

    /// Each can be written, and none takes the place of an input or of another one.
    fn check_outputs(&self, args: &Args, inputs: &[Source]) -> anyhow::Result<()> {
        let mut files = Distinct::new();
        inputs.iter().for_each(|input| files.input("INPUT", input));
        let targets: Vec<_> = match self {
            Self::All(target) => vec![target],
            Self::Split(sides) => sides.iter().map(|(_, target)| target).collect(),
        };
        let targets = targets.into_iter().map(|target| ("--output", target));
        let targets = targets.chain(args.rejects.iter().map(|rejects| ("--rejects", rejects)));
        let targets = targets.chain(args.leak_report.iter().map(|leaks| ("--leak-report", leaks)));
        for (option, target) in targets.chain(args.report.iter().map(|report| ("--report", report))) {
            files.output(option, target)?;
            // The report makes the folders that it needs.
            let must_be_there = |path: &&Path| option == "--output" || path.exists();
            target.path().filter(must_be_there).map_or(Ok(()), AtomicFile::check)?;
        }
        Ok(())
    }
}

/// A folder as target means the file of that side in it.
fn within_folder(target: Target, side: Side) -> Target {
    match target {
        Target::Path(path) if path.is_dir() => Target::Path(path.join(side.file_name())),
        other => other,
    }
}

fn both_sides(target: &Target) -> anyhow::Result<Vec<(Side, Target)>> {
    let told = "two sides need a folder: give -o DIR, or --split train or --split test";
    let Target::Path(folder) = target else {
        return Err(usage(told));
    };
    let names_a_file = folder.extension().is_some_and(|found| found == "parquet");
    if folder.is_file() || (names_a_file && !folder.is_dir()) {
        let named = folder.display();
        return Err(usage(format!("'{named}' names a file, but {told}")));
    }
    fs::create_dir_all(folder).map_err(|source| ft_io::Error::Write { path: folder.clone(), source })?;
    let side = |side: Side| (side, Target::Path(folder.join(side.file_name())));
    Ok(vec![side(Side::Train), side(Side::Test)])
}

fn check_inputs(inputs: &[Source]) -> anyhow::Result<()> {
    let pipes = inputs.iter().filter(|input| **input == Source::Stdin);
    if pipes.count() > 1 {
        return Err(usage("standard input can be read only once"));
    }
    // A later input that is missing should not cost the reading of the first.
    for path in inputs.iter().filter_map(Source::path) {
        fs::metadata(path).map_err(|source| ft_io::Error::Read { name: path.display().to_string(), source })?;
    }
    Ok(())
}

fn check_columns(args: &Args) -> anyhow::Result<()> {
    let question = args.input_column.is_some() || args.messages_column.is_some();
    if args.input_column.is_some() && args.output_column.is_none() {
        return Err(usage("--input-column needs --output-column"));
    }
    if args.output_column.is_some() && !question {
        return Err(usage("--output-column needs --input-column or --messages-column"));
    }
    if args.system_column.is_some() && !question {
        return Err(usage("--system-column needs --input-column and --output-column, or --messages-column"));
    }
    let mut written = vec![MESSAGES, TOOLS, CHAT_TEMPLATE_KWARGS];
    written.extend((!args.mix.is_empty()).then_some(SOURCE));
    written.extend(args.lineage.then_some([SOURCE_FILE, SOURCE_ROW]).into_iter().flatten());
    if let Some(name) = args.keep_columns.iter().find(|name| written.contains(&name.as_str())) {
        return Err(usage(format!("--keep-columns: '{name}' is written anyway, where there is something in it")));
    }
    if let Some(TestSize::Rows(0)) = args.test_size {
        return Err(usage("--test-size 0 leaves no test rows; leave it out"));
    }
    Ok(())
}

fn usage(told: impl Into<String>) -> anyhow::Error {
    Usage(told.into()).into()
}
