//! `ft-bench`: measure this machine's matrix products, training and generation.

mod args;
mod flops;
mod generate;
mod machine;
mod matmul;
mod plot;
mod report;
mod table;
mod train;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use args::{Args, What};
use report::Outputs;

fn main() -> ExitCode {
    ft_cli::run("ft-bench", |args: &Args| &args.common, bench)
}

fn bench(args: Args) -> Result<()> {
    let started = Instant::now();
    ft_kernels::memory::keep_freed_pages();
    let Args { what, common } = args;
    let threads = common.thread_count();
    // An output that cannot be written is told before anything is measured.
    let outputs = Outputs::create(what.output())?;
    let report = match what {
        What::Matmul(args) => matmul::run(&args, threads)?,
        What::Train(args) => train::run(&args, threads, started)?,
        What::Generate(args) => generate::run(&args, threads, started)?,
    };
    outputs.write(&report)
}
