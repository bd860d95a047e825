//! The published name of a model that lies in the Hugging Face cache.

use std::path::Path;

/// `org/name` of `…/models--org--name/snapshots/COMMIT`, with the path of a file below it; none for any other path. This
/// is what others find the model by, on their machines.
pub fn hub_name(path: &Path) -> Option<String> {
    let parts: Vec<&str> = path.iter().map(|part| part.to_str().unwrap_or_default()).collect();
    let at = parts.iter().rposition(|part| *part == "snapshots").filter(|&at| at > 0)?;
    let (org, name) = parts[at - 1].strip_prefix("models--")?.split_once("--")?;
    let file = parts.get(at + 2..)?;
    Some([&[org, name][..], file].concat().join("/"))
}

/// What a report calls a model: its published name, or the last part of its path.
pub fn model_name(path: &Path) -> String {
    let last = || path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    hub_name(path).unwrap_or_else(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_has_the_name_that_it_was_published_under() {
        let name = |path: &str| hub_name(Path::new(path));
        assert_eq!(name("/c/hub/models--a--b-c/snapshots/0123").as_deref(), Some("a/b-c"));
        assert_eq!(name("/c/models--a--b/snapshots/0123/b.Q8_0.gguf").as_deref(), Some("a/b/b.Q8_0.gguf"));
        for path in ["model", "/models--a--b", "/c/snapshots/0123", "/models--a--b/snapshots", "/x/snapshots/y"] {
            assert_eq!(name(path), None, "{path}");
        }
    }
}
