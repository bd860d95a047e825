//! A GGUF file, which llama.cpp, Ollama and others read.

mod check;
mod job;
pub mod lora;
mod metadata;
mod report;
mod rows;
mod write;

pub use metadata::is_result;

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use ft_io::{AtomicFile, Distinct, Error, Source, Target};
use ft_model::checkpoint::Format;
use ft_model::export::{FileType, GgufModel};
use ft_model::{Architecture, Checkpoint};

use job::Job;

use crate::adapters::Adapters;
use crate::args::Args;
use crate::given::Given;
use crate::plan::{default_dtype, untied_head};

/// Fails early where the end would fail late, and where something would be replaced that this program did not write.
pub fn check_output(args: &Args) -> Result<()> {
    let mut files = Distinct::new();
    files.input("--model", &Source::Path(args.model.clone()));
    args.adapters.iter().for_each(|adapter| files.input("--adapter", &Given::parse(adapter).source));
    files.output("--output", &Target::Path(args.output.clone()))?;
    check_file(&args.output, args.overwrite)?;
    Ok(AtomicFile::check(&args.output)?)
}

/// A file that stands there may be replaced where that is asked for, and an earlier run wrote it.
pub fn check_file(path: &Path, overwrite: bool) -> Result<()> {
    let is_file = fs::metadata(path).is_ok_and(|found| found.is_file());
    if !is_file {
        return Ok(());
    }
    if !overwrite {
        return Err(Error::NotEmpty(path.to_path_buf()).into());
    }
    if is_result(path) { Ok(()) } else { Err(Error::Foreign(path.to_path_buf()).into()) }
}

/// Writes the file.
pub fn run(args: &Args, started: Instant) -> Result<()> {
    check_output(args)?;
    let base = Checkpoint::open(&args.model)?;
    let adapters = Adapters::load(args, &base)?;
    write_to(args, &base, &adapters, (&args.output, &args.output), started)
}

/// Writes the file `output`, which a person is told of as `named`.
pub fn write_to(
    args: &Args,
    base: &Checkpoint,
    adapters: &Adapters,
    (output, named): (&Path, &Path),
    started: Instant,
) -> Result<()> {
    let to = file_type(args, base)?;
    let head = untied_head(base.architecture(), adapters);
    let arch = Architecture {
        tie_word_embeddings: base.architecture().tie_word_embeddings && head.is_none(),
        ..base.architecture().clone()
    };
    let model = GgufModel::new(&arch, to)?;
    let job = Job { args, base, adapters, to, model, head };
    let header = metadata::all(&job)?;
    job.model.remarks.iter().for_each(|remark| tracing::warn!("{remark}"));
    let file = AtomicFile::create(output)?;
    let change = write::write(&job, &header, &file)?;
    check::check(&job, &file)?;
    file.commit()?;
    report::tell(&job, &change, named, started.elapsed());
    Ok(())
}

/// `--quantize`, or the type of the model's own matrices.
fn file_type(args: &Args, base: &Checkpoint) -> Result<FileType> {
    Ok(match args.quantize {
        Some(given) => given.file_type(),
        None => match Format::from_float(default_dtype(base)?) {
            Some(Format::F16) => FileType::F16,
            Some(Format::Bf16) => FileType::Bf16,
            _ => FileType::F32,
        },
    })
}
