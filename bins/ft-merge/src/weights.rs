//! The files of weights: headers known beforehand, rows written as they are ready.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use candle_core::DType;
use ft_cli::{Progress, typed_arguments};
use ft_io::{InputDigest, Interrupted, Provenance, Sha256};
use ft_model::Checkpoint;
use ft_model::safetensors::Header;
use ft_text::Form;
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;
use serde_json::json;

use crate::adapters::Adapters;
use crate::merge::{Change, Merged, Number, Scratch};
use crate::plan::{Plan, Planned, Shard};

#[cfg(not(target_endian = "little"))]
compile_error!("safetensors are little-endian, and weights are written as they lie in memory");

/// Elements of a piece of work. The sums over a tensor are taken piece by piece, so this is no matter of
/// how many threads there are.
pub const PIECE: usize = 1 << 18;
/// How long written data may wait for the disk.
const SYNC_EVERY: Duration = Duration::from_millis(50);

/// Writes all tensors and, where there are several files, their index.
pub fn write(base: &Checkpoint, adapters: &Adapters, plan: &Plan, dir: &Path) -> Result<Change> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // The base's digest is taken meanwhile; it has its place in the headers already.
        let digests = scope.spawn(|| digests(base.files(), &stop));
        let written = write_data(base, adapters, plan, dir);
        stop.store(written.is_err(), Ordering::Relaxed);
        let digests = digests.join().map_err(|_| anyhow!("the thread that hashes the base model failed"))?;
        let (change, files) = written?;
        let metadata = metadata(digests?, adapters);
        for ((file, path), shard) in files.iter().zip(&plan.shards) {
            let header = header(shard, plan.dtype, &metadata);
            file.write_all_at(&header, 0).with_context(|| cannot_write(path))?;
        }
        if plan.shards.len() > 1 {
            write_index(plan, dir)?;
        }
        Ok(change)
    })
}

type Files = Vec<(File, PathBuf)>;

/// Writes everything but the headers.
fn write_data(base: &Checkpoint, adapters: &Adapters, plan: &Plan, dir: &Path) -> Result<(Change, Files)> {
    let bar = ft_cli::progress(Some(plan.total_bytes()), "merging");
    let metadata = metadata(unknown_digests(base.files()), adapters);
    let mut change = Change::default();
    let mut files = Vec::with_capacity(plan.shards.len());
    for shard in &plan.shards {
        let path = dir.join(&shard.file);
        let file = File::create(&path).with_context(|| cannot_write(&path))?;
        let start = header(shard, plan.dtype, &metadata).len() as u64;
        let job = Job { base, adapters, shard, file: &file, path: &path, bar: &bar };
        change.add(&match plan.dtype {
            DType::BF16 => job.write::<bf16>(start)?,
            DType::F16 => job.write::<f16>(start)?,
            _ => job.write::<f32>(start)?,
        });
        files.push((file, path));
    }
    bar.finish();
    Ok((change, files))
}

/// One file.
struct Job<'a> {
    base: &'a Checkpoint,
    adapters: &'a Adapters,
    shard: &'a Shard,
    file: &'a File,
    path: &'a Path,
    bar: &'a Progress,
}

/// Some rows of a tensor, and where they go.
struct Piece<'a> {
    tensor: &'a Planned,
    first: usize,
    elements: usize,
    offset: u64,
}

impl Job<'_> {
    /// Writes the tensors' data from byte `start` on, with all threads.
    fn write<T: Number>(&self, start: u64) -> Result<Change> {
        syncing(self.file, self.path, || self.compute::<T>(start))
    }

    fn compute<T: Number>(&self, start: u64) -> Result<Change> {
        let pieces = self.pieces::<T>(start)?;
        let one = |(scratch, out): &mut (Scratch, Vec<T>), piece: &Piece<'_>| self.piece(piece, scratch, out);
        let changes: Vec<Change> =
            pieces.par_iter().map_init(|| (Scratch::default(), Vec::new()), one).collect::<Result<_>>()?;
        // In the order of the pieces, whoever was ready first.
        let mut total = Change::default();
        for change in &changes {
            total.add(change);
        }
        Ok(total)
    }

    fn pieces<T: Number>(&self, mut offset: u64) -> Result<Vec<Piece<'_>>> {
        let mut pieces = Vec::new();
        for tensor in &self.shard.tensors {
            let stored = self.base.stored(&tensor.from)?;
            let step = stored.rows_for(PIECE);
            for first in (0..stored.rows()).step_by(step) {
                let elements = step.min(stored.rows() - first) * stored.columns();
                pieces.push(Piece { tensor, first, elements, offset });
                offset += (elements * size_of::<T>()) as u64;
            }
        }
        Ok(pieces)
    }

    fn piece<T: Number>(&self, piece: &Piece<'_>, scratch: &mut Scratch, out: &mut Vec<T>) -> Result<Change> {
        if ft_io::interrupt::requested() {
            return Err(Interrupted.into());
        }
        out.resize(piece.elements, T::ZERO);
        let Planned { name, from, .. } = piece.tensor;
        let (saved, additions) = (self.adapters.saved(name), self.adapters.on(name));
        let merged = Merged { name, base: self.base.stored(from)?, saved, additions, option: "--dtype" };
        let change = merged.rows(piece.first, out, scratch)?;
        let bytes: &[u8] = bytemuck::cast_slice(out);
        self.file.write_all_at(bytes, piece.offset).with_context(|| cannot_write(self.path))?;
        self.bar.inc(bytes.len() as u64);
        Ok(change)
    }
}

/// Does `work`, which writes to `file`; what is written goes to the disk meanwhile, so that the last sync has little left
/// to do.
pub fn syncing<T>(file: &File, path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let syncing = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                std::thread::park_timeout(SYNC_EVERY);
                file.sync_data()?;
            }
            std::io::Result::Ok(())
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        syncing.thread().unpark();
        let synced = syncing.join().map_err(|_| anyhow!("the thread that syncs the output failed"))?;
        let result = result?;
        synced.with_context(|| cannot_write(path))?;
        Ok(result)
    })
}

/// The head of one file, of the same length whatever the digests are.
fn header(shard: &Shard, dtype: DType, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let dtype = Dtype::from(dtype);
    let tensors: Vec<_> =
        shard.tensors.iter().map(|tensor| (tensor.name.clone(), dtype, tensor.shape.clone())).collect();
    Header::build(&tensors, metadata).1
}

/// transformers wants `format`; the rest says where the weights come from.
fn metadata(inputs: Vec<InputDigest>, adapters: &Adapters) -> BTreeMap<String, String> {
    let mut metadata: BTreeMap<String, String> = provenance(inputs, adapters).to_pairs().into_iter().collect();
    metadata.insert("format".into(), "pt".into());
    metadata
}

/// Where the result comes from: the base's files `inputs`, and the adapters'.
pub fn provenance(mut inputs: Vec<InputDigest>, adapters: &Adapters) -> Provenance {
    inputs.extend(adapters.digests.iter().cloned());
    provenance_of(inputs, &adapters.form)
}

/// The same of any inputs, with what is said of prompts.
pub fn provenance_of(inputs: Vec<InputDigest>, form: &Form) -> Provenance {
    Provenance {
        tool: env!("CARGO_PKG_NAME").into(),
        version: env!("CARGO_PKG_VERSION").into(),
        arguments: typed_arguments(&["-o", "--output", "--model", "--adapter"], &[]),
        inputs,
        extra: form.pairs().clone(),
    }
}

/// The files with digests still to be found.
pub fn unknown_digests(files: &[PathBuf]) -> Vec<InputDigest> {
    files.iter().map(|path| InputDigest { name: name(path), sha256: "0".repeat(64) }).collect()
}

/// `model.safetensors.index.json`, as transformers writes it.
fn write_index(plan: &Plan, dir: &Path) -> Result<()> {
    let map: BTreeMap<&str, &str> = plan
        .shards
        .iter()
        .flat_map(|shard| shard.tensors.iter().map(|tensor| (tensor.name.as_str(), shard.file.as_str())))
        .collect();
    let index = json!({"metadata": {"total_size": plan.total_bytes()}, "weight_map": map});
    let path = dir.join(crate::folder::INDEX);
    std::fs::write(&path, format!("{index:#}\n")).with_context(|| cannot_write(&path))
}

/// SHA-256 of each file, unless `stop` is set meanwhile.
pub fn digests(files: &[PathBuf], stop: &AtomicBool) -> Result<Vec<InputDigest>> {
    let mut buffer = vec![0; 1 << 18];
    let mut digest = |path: &PathBuf| -> Result<InputDigest> {
        let cannot_read = || format!("cannot read '{}'", path.display());
        let mut file = File::open(path).with_context(cannot_read)?;
        let mut hash = Sha256::new();
        loop {
            let n = file.read(&mut buffer).with_context(cannot_read)?;
            if n == 0 || stop.load(Ordering::Relaxed) {
                return Ok(InputDigest { name: name(path), sha256: hash.finish() });
            }
            hash.update(&buffer[..n]);
        }
    };
    files.iter().map(&mut digest).collect()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

pub fn cannot_write(path: &Path) -> String {
    format!("cannot write '{}'", path.display())
}
