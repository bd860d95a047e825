//! An adapter as llama.cpp's file of one, for a base that stays as it is.

use std::io::{BufWriter, Write};
use std::time::Instant;

use anyhow::{Context, Result};
use ft_cli::Usage;
use ft_io::AtomicFile;
use ft_io::gguf::{Metadata, NewTensor, Typed, header};
use ft_model::Checkpoint;
use ft_model::checkpoint::{Element, Format};
use ft_model::export::{FileType, GgufLora, LoraTensor};
use half::{bf16, f16};

use super::check_output;
use super::metadata::origin;
use crate::adapters;
use crate::args::{Args, Quantize};
use crate::weights::{cannot_write, provenance_of};

/// Writes the file.
pub fn run(args: &Args, started: Instant) -> Result<()> {
    let format = match args.quantize.map(Quantize::file_type) {
        None | Some(FileType::F32) => Format::F32,
        Some(FileType::F16) => Format::F16,
        Some(FileType::Bf16) => Format::Bf16,
        Some(_) => {
            return Err(Usage("--to gguf-lora takes --quantize f32, f16 or bf16; an adapter is small".into()).into());
        }
    };
    check_output(args)?;
    let base = Checkpoint::open(&args.model)?;
    let (adapter, digests, form) = adapters::one(args, &base)?;
    let lora = GgufLora::new(base.architecture(), &adapter)?;
    let file_type = if format == Format::F32 { FileType::F32 } else { FileType::F16 };
    let mut metadata: Metadata = lora.metadata.clone();
    metadata.push(("general.name".into(), Typed::Text(digests.first().map_or_else(String::new, |d| d.name.clone()))));
    metadata.push(("general.file_type".into(), Typed::U32(file_type.number())));
    metadata.extend(origin(&provenance_of(digests, &form)));
    let tensors: Vec<NewTensor> = lora.tensors.iter().map(|tensor| plan(tensor, format)).collect();
    let file = AtomicFile::create(&args.output)?;
    let written = write(&header(&metadata, &tensors), &tensors, &lora.tensors, &file);
    written.with_context(|| cannot_write(file.path()))?;
    file.commit()?;
    let pairs = lora.tensors.len() / 2;
    tracing::info!("wrote {pairs} pairs to '{}' in {:.2} s", args.output.display(), started.elapsed().as_secs_f64());
    Ok(())
}

fn plan(tensor: &LoraTensor, format: Format) -> NewTensor {
    let bytes = format.bytes(tensor.values.len()).unwrap_or(0);
    NewTensor { name: tensor.name.clone(), shape: tensor.shape.clone(), kind: format.ggml().unwrap_or(0), bytes }
}

fn write(start: &[u8], planned: &[NewTensor], tensors: &[LoraTensor], file: &AtomicFile) -> std::io::Result<()> {
    let mut to = BufWriter::new(file.as_file());
    to.write_all(start)?;
    for (tensor, planned) in tensors.iter().zip(planned) {
        let bytes = match planned.bytes / tensor.values.len().max(1) as u64 {
            4 => bytemuck::cast_slice(&tensor.values).to_vec(),
            _ if Some(planned.kind) == Format::F16.ggml() => narrow::<f16>(&tensor.values),
            _ => narrow::<bf16>(&tensor.values),
        };
        to.write_all(&bytes)?;
        let filling = bytes.len().next_multiple_of(32) - bytes.len();
        to.write_all(&[0; 32][..filling])?;
    }
    to.flush()
}

fn narrow<T: Element>(values: &[f32]) -> Vec<u8> {
    let mut out = vec![T::zeroed(); values.len()];
    T::narrow(values, &mut out);
    bytemuck::cast_slice(&out).to_vec()
}
