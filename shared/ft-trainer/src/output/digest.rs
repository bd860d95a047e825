//! The files that a run reads, and their SHA-256.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};

/// One file that a run reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    pub sha256: String,
}

/// The digests of the model's files, taken by a thread of its own while training goes on: the files were just read, so
/// they come from the system's cache, at 1 to 2 GB a second on a processor with SHA instructions and 0.3 without.
pub struct ModelDigests {
    thread: Mutex<Option<JoinHandle<Result<Vec<InputFile>>>>>,
    files: OnceLock<Vec<InputFile>>,
}

impl ModelDigests {
    /// Begins to hash a folder's configuration and weights, or the one file of a GGUF.
    pub fn start(model: &Path) -> Self {
        let model = model.to_path_buf();
        let thread = std::thread::spawn(move || files_of(&model)?.iter().map(|path| digest(path)).collect());
        Self { thread: Mutex::new(Some(thread)), files: OnceLock::new() }
    }

    /// Waits for the digests.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn get(&self) -> Result<&[InputFile]> {
        let thread = self.thread.lock().map_err(|_| failed())?.take();
        if let Some(thread) = thread {
            let files = thread.join().map_err(|_| failed())??;
            let _ = self.files.set(files);
        }
        self.files.get().map(Vec::as_slice).ok_or_else(failed)
    }
}

/// The thread that takes them ended before it had them.
fn failed() -> Error {
    Error::Output("the digests of the model's files were not taken to the end".into())
}

fn files_of(model: &Path) -> Result<Vec<PathBuf>> {
    if model.is_file() {
        return Ok(vec![model.to_path_buf()]);
    }
    let entries = std::fs::read_dir(model).with_context(|| format!("cannot read '{}'", model.display()))?;
    let counts = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name == "config.json" || name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json")
    };
    let mut files: Vec<PathBuf> = entries.filter_map(Result::ok).map(|e| e.path()).filter(counts).collect();
    files.sort();
    Ok(files)
}

fn digest(path: &Path) -> Result<InputFile> {
    let read = || format!("cannot read '{}'", path.display());
    Ok(InputFile {
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        bytes: Some(std::fs::metadata(path).with_context(read)?.len()),
        sha256: ft_io::sha256_file(path).with_context(read)?,
    })
}
