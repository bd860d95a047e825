//! The file's bytes: a header known beforehand, rows written as they are ready, with all threads.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow};
use ft_cli::Progress;
use ft_io::gguf::{Metadata, NewTensor, header, places};
use ft_io::{AtomicFile, Interrupted};
use ft_model::export::{GgufPart, GgufTensor};
use rayon::prelude::*;

use super::job::Job;
use super::metadata;
use super::rows::{Buffers, Rows, rows_for};
use crate::merge::{Change, Merged};
use crate::weights::{PIECE, cannot_write, digests, syncing, unknown_digests};

/// Some rows of a tensor's part.
struct Piece<'a> {
    tensor: &'a GgufTensor,
    part: &'a GgufPart,
    /// The name of the base's tensor.
    from: &'a str,
    first: usize,
    count: usize,
    /// Where the part begins in the file.
    offset: u64,
}

/// Writes everything into `file`. `keys` is all that is said but of the inputs.
pub fn write(job: &Job<'_>, keys: &Metadata, file: &AtomicFile) -> Result<Change> {
    let tensors = job.model.headers()?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // The base's digest is taken meanwhile; it has its place in the header already.
        let digests = scope.spawn(|| digests(job.base.files(), &stop));
        let unknown = metadata::with_inputs(keys, unknown_digests(job.base.files()), job);
        let written = data(job, &tensors, header(&unknown, &tensors).len() as u64, file);
        stop.store(written.is_err(), Ordering::Relaxed);
        let digests = digests.join().map_err(|_| anyhow!("the thread that hashes the base model failed"))?;
        let change = written?;
        let start = header(&metadata::with_inputs(keys, digests?, job), &tensors);
        put(file.as_file(), &start, 0, file.path())?;
        Ok(change)
    })
}

/// Writes everything behind the header, which takes `start` bytes.
fn data(job: &Job<'_>, tensors: &[NewTensor], start: u64, file: &AtomicFile) -> Result<Change> {
    let (starts, end) = places(tensors);
    let handle = file.as_file();
    // What fills a tensor up to the next one's place is zeros.
    handle.set_len(start + end).with_context(|| cannot_write(file.path()))?;
    let small = job.model.rope.len();
    for ((_, values), place) in job.model.rope.iter().zip(&starts) {
        put(handle, bytemuck::cast_slice(values), start + place, file.path())?;
    }
    let bar = ft_cli::progress(Some(end), "writing");
    let pieces = pieces(job, &starts[small..], start)?;
    let change = syncing(handle, file.path(), || {
        let one =
            |buffers: &mut Buffers, piece: &Piece<'_>| write_piece(job, piece, buffers, handle, file.path(), &bar);
        let changes: Vec<Change> = pieces.par_iter().map_init(Buffers::default, one).collect::<Result<_>>()?;
        // In the order of the pieces, whoever was ready first.
        let mut total = Change::default();
        changes.iter().for_each(|change| total.add(change));
        Ok(total)
    })?;
    bar.finish();
    Ok(change)
}

fn pieces<'a>(job: &'a Job<'_>, starts: &[u64], data: u64) -> Result<Vec<Piece<'a>>> {
    let mut pieces = Vec::new();
    for (tensor, start) in job.model.tensors.iter().zip(starts) {
        let mut offset = data + start;
        for part in &tensor.parts {
            let head = job.head.as_ref().filter(|(head, _)| *head == part.from);
            let from = head.map_or(part.from.as_str(), |(_, embedding)| embedding);
            let stored = job.base.stored(from)?;
            let step = rows_for(stored, part, PIECE);
            for first in (0..stored.rows()).step_by(step) {
                let count = step.min(stored.rows() - first);
                pieces.push(Piece { tensor, part, from, first, count, offset });
            }
            offset += tensor.format.bytes(part.rows * part.columns).unwrap_or(0);
        }
    }
    Ok(pieces)
}

fn write_piece(
    job: &Job<'_>,
    piece: &Piece<'_>,
    buffers: &mut Buffers,
    file: &File,
    path: &Path,
    bar: &Progress,
) -> Result<Change> {
    if ft_io::interrupt::requested() {
        return Err(Interrupted.into());
    }
    let name = piece.part.from.as_str();
    let (saved, additions) = (job.adapters.saved(name), job.adapters.on(name));
    let merged = Merged { name, base: job.base.stored(piece.from)?, saved, additions, option: "--quantize" };
    let Piece { part, first, count, offset, .. } = *piece;
    let rows = Rows { merged, part, format: piece.tensor.format, first, count, offset };
    rows.write(buffers, |bytes, at| {
        put(file, bytes, at, path)?;
        bar.inc(bytes.len() as u64);
        Ok(())
    })
}

fn put(file: &File, bytes: &[u8], at: u64, path: &Path) -> Result<()> {
    file.write_all_at(bytes, at).with_context(|| cannot_write(path))
}
