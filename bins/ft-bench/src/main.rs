//! `ft-bench`: measure this machine's matrix products, training and generation.

mod args;
mod bounds;
mod check;
mod flops;
mod generate;
mod machine;
mod matmul;
mod plan;
mod plot;
mod precision;
mod profile;
mod report;
mod table;
mod train;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use ft_cli::Program;
use ft_io::{Distinct, Source};
use ft_kernels::simd::Isa;

use args::{Args, Measure, What};
use report::Outputs;

/// What `--version` tells.
const PROGRAM: Program = Program {
    name: "ft-bench",
    features: &[
        #[cfg(feature = "cuda")]
        "cuda",
    ],
    instruction_set: Some(|| Isa::best().name()),
};

fn main() -> ExitCode {
    ft_cli::run(PROGRAM, |args: &Args| &args.common, bench)
}

fn bench(args: Args) -> Result<()> {
    let started = Instant::now();
    ft_kernels::memory::keep_freed_pages();
    let Args { common, what } = args;
    match what {
        What::Plot(args) => plot::run(&args),
        What::Measure(mut what) => {
            if let Some(model) = what.loaded_model() {
                *model = common.model(model)?;
            }
            measure(&what, common.thread_count(), started)
        }
    }
}

fn measure(what: &Measure, threads: usize, started: Instant) -> Result<()> {
    // An output that cannot be written is told before anything is measured.
    let mut files = Distinct::new();
    what.models().iter().for_each(|model| files.input("--model", &Source::parse(model)));
    let outputs = Outputs::create(what.output(), what.png(), &mut files)?;
    let report = match what {
        Measure::Matmul(args) => matmul::run(args, threads)?,
        Measure::Train(args) => train::run(args, threads, started)?,
        Measure::Generate(args) => generate::run(args, threads, started)?,
        Measure::Plan(args) => plan::run(args)?,
        Measure::Precision(args) => precision::run(args, threads)?,
        Measure::Check(args) => {
            let (report, verdict) = check::run(args, threads)?;
            outputs.write(&report)?;
            return verdict;
        }
    };
    outputs.write(&report)
}
