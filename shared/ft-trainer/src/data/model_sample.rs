//! Whether ranks have the same model: a digest of parts of its files.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use crate::error::{Context, Result};

/// Bytes of a file that [`model_sample`] takes at a time, and how many times.
const PIECE: u64 = 1 << 16;
const PIECES: u64 = 16;

/// A digest of each file's length and of some pieces all over it: fast for files of any length, and another one for
/// other weights.
///
/// # Errors
/// If a file cannot be read.
pub fn model_sample(files: &[PathBuf]) -> Result<String> {
    let mut hash = ft_io::Sha256::new();
    for path in files {
        let mut take = || -> std::io::Result<()> {
            let mut file = File::open(path)?;
            let length = file.metadata()?.len();
            hash.update(length.to_le_bytes());
            for i in 0..PIECES {
                file.seek(SeekFrom::Start(length.saturating_sub(PIECE) / (PIECES - 1) * i))?;
                let mut bytes = Vec::new();
                file.by_ref().take(PIECE).read_to_end(&mut bytes)?;
                hash.update(&bytes);
            }
            Ok(())
        };
        take().with_context(|| format!("cannot read '{}'", path.display()))?;
    }
    Ok(hash.finish())
}
