//! What huggingface_hub's cache holds: `models--org--name/refs/REVISION` names a commit, `snapshots/COMMIT/` has its
//! files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::files::says;
use crate::name::{GgufFile, Name};

/// The folder or file of a name, where it is in the cache and whole.
pub(crate) fn find(cache: &Path, name: &Name) -> Option<PathBuf> {
    let snapshot = snapshot(cache, name)?;
    match &name.file {
        None => is_whole(&snapshot).then_some(snapshot),
        Some(GgufFile::Path(path)) => Some(snapshot.join(path)).filter(|path| path.is_file()),
        Some(GgufFile::Quantization(tag)) => {
            let files = fs::read_dir(&snapshot).ok()?.filter_map(Result::ok).map(|entry| entry.path());
            let mut found = files.filter(|path| says(&path.file_name().unwrap_or_default().to_string_lossy(), tag));
            found.next().filter(|path| path.is_file() && found.next().is_none())
        }
    }
}

/// The folder of a repository.
pub(crate) fn repository(cache: &Path, name: &Name) -> PathBuf {
    cache.join(format!("models--{}", name.repository.replace('/', "--")))
}

/// The folder of the commit that the revision names.
fn snapshot(cache: &Path, name: &Name) -> Option<PathBuf> {
    let repository = repository(cache, name);
    let commit = match fs::read_to_string(repository.join("refs").join(&name.revision)) {
        Ok(commit) => commit.trim().to_owned(),
        // A commit is its own name.
        Err(_) => name.revision.clone(),
    };
    let usual = |c: char| c.is_ascii_hexdigit();
    let folder = repository.join("snapshots").join(&commit);
    (commit.len() == 40 && commit.chars().all(usual) && folder.is_dir()).then_some(folder)
}

/// Whether a model's configuration and all of its weights are there: an interrupted download leaves some.
fn is_whole(folder: &Path) -> bool {
    let weights = || match fs::read_to_string(folder.join("model.safetensors.index.json")) {
        Ok(index) => parts(&index).is_some_and(|parts| parts.iter().all(|part| folder.join(part).is_file())),
        Err(_) => folder.join("model.safetensors").is_file(),
    };
    folder.join("config.json").is_file() && weights()
}

/// The files that an index names.
fn parts(index: &str) -> Option<Vec<String>> {
    let index: serde_json::Value = serde_json::from_str(index).ok()?;
    let map = index.get("weight_map")?.as_object()?;
    map.values().map(|file| file.as_str().map(str::to_owned)).collect()
}
