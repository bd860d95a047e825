//! `ft-merge`: adapters into a model's weights, as a Hugging Face folder or a GGUF file.

mod adapter;
mod adapters;
mod args;
mod combine;
mod folder;
mod form;
mod gguf;
mod given;
mod merge;
mod ollama;
mod output;
mod plan;
mod prove;
mod proving;
mod report;
mod weights;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use ft_cli::Program;
use ft_io::AtomicDir;
use ft_io::output::require_replaceable;
use ft_kernels::simd::Isa;
use ft_model::Checkpoint;

use adapters::Adapters;
use args::{Args, To};
use output::check_folder;
use plan::Plan;

/// What `--version` tells.
const PROGRAM: Program = Program { name: "ft-merge", features: &[], instruction_set: Some(|| Isa::best().name()) };

fn main() -> ExitCode {
    ft_cli::run(PROGRAM, |args: &Args| &args.common, run)
}

fn run(mut args: Args) -> Result<()> {
    let started = Instant::now();
    args.model = args.common.model(&args.model)?;
    let args = &args;
    args.check()?;
    prove::check(args)?;
    let output = &args.output;
    match args.to {
        To::Hf => {
            folder(args, started)?;
            prove::run(args, output, &output.join(prove::FIGURES))
        }
        To::Gguf => {
            gguf::run(args, started)?;
            prove::run(args, output, &prove::beside(output))
        }
        To::Ollama => {
            ollama::run(args, started)?;
            prove::run(args, &output.join(ollama::MODEL), &output.join(prove::FIGURES))
        }
        To::GgufLora => gguf::lora::run(args, started),
        To::Adapter => adapter::run(args, started),
    }
}

fn folder(args: &Args, started: Instant) -> Result<()> {
    let dtype = args.dtype()?;
    let replaces = check_output(args)?;
    let base = Checkpoint::open(&args.model)?;
    let adapters = Adapters::load(args, &base)?;
    let plan = Plan::new(&base, &adapters, dtype, args.max_shard_size)?;
    let output = AtomicDir::create(&args.output)?;
    // Tokenizer and configuration first: what is wrong with them shows before the long part.
    folder::write(&base, &plan, output.path())?;
    form::write(&adapters.form, output.path())?;
    let change = weights::write(&base, &adapters, &plan, output.path())?;
    folder::check(&base, &plan, output.path())?;
    output.commit_over(&|name| replaces && folder::is_of_a_result(name))?;
    report::tell(args, &plan, &adapters, &change, started.elapsed());
    Ok(())
}

/// Fails early where the end would fail late, and never replaces what is read or what is no result of this program.
/// Whether an old result stands there, whose files go.
fn check_output(args: &Args) -> Result<bool> {
    check_folder(args)?;
    if !args.overwrite {
        AtomicDir::require_free(&args.output)?;
        return Ok(false);
    }
    require_replaceable(&args.output, ft_cli::home().as_deref())?;
    let replaces = folder::is_result(&args.output);
    if !replaces && let Some(name) = folder::in_the_way(&args.output) {
        return Err(ft_io::Error::Foreign(args.output.join(name)).into());
    }
    Ok(replaces)
}
