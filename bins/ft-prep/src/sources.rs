//! The inputs that are meant: files, those of a folder, those that a pattern matches.

use std::path::Path;

use anyhow::{Context, bail};
use ft_cli::Usage;
use ft_io::Source;
use ft_table::Format;
use walkdir::{DirEntry, WalkDir};

/// Files beside the rows in the folders that datasets writes.
const NO_ROWS: [&str; 4] = ["dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"];

/// The files that `typed` means, in the order of their names within a folder or pattern. A file that is there goes before
/// a pattern.
pub fn expand(typed: &[Source]) -> anyhow::Result<Vec<Source>> {
    let mut all = Vec::with_capacity(typed.len());
    for source in typed {
        match source.path() {
            None => all.push(Source::Stdin),
            Some(path) if is_standard_input(path) => all.push(Source::Stdin),
            Some(path) if path.is_dir() => all.extend(within(path)?),
            Some(path) if !path.exists() && is_pattern(path) => all.extend(matching(path)?),
            Some(_) => all.push(source.clone()),
        }
    }
    Ok(all)
}

fn is_standard_input(path: &Path) -> bool {
    ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"].iter().any(|name| path == Path::new(name))
}

fn is_pattern(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.contains(['*', '?', '[']))
}

/// The files below a folder whose names tell that they hold rows; hidden ones and those that begin with _ do not count.
fn within(folder: &Path) -> anyhow::Result<Vec<Source>> {
    let name = folder.display();
    let is_hidden = |entry: &DirEntry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() > 0 && (name.starts_with('.') || name.starts_with('_'))
    };
    let mut found = Vec::new();
    for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter().filter_entry(|e| !is_hidden(e))
    {
        let entry = entry.with_context(|| format!("cannot read '{name}'"))?;
        let file = entry.file_name().to_string_lossy();
        if !entry.file_type().is_dir() && Format::of_name(&file).is_some() && !NO_ROWS.contains(&&*file) {
            found.push(Source::Path(entry.into_path()));
        }
    }
    if found.is_empty() {
        let names = "csv, tsv, jsonl, json, parquet or arrow";
        bail!("cannot read '{name}': it is a folder without a file that ends in {names} (and perhaps gz or zst)");
    }
    Ok(found)
}

fn matching(path: &Path) -> anyhow::Result<Vec<Source>> {
    let pattern = path.to_string_lossy();
    let paths = glob::glob(&pattern).map_err(|error| Usage(format!("'{pattern}' is no pattern: {error}")))?;
    let mut found = Vec::new();
    for path in paths {
        let path = path.with_context(|| format!("cannot read '{pattern}'"))?;
        if !path.is_dir() {
            found.push(Source::Path(path));
        }
    }
    if found.is_empty() {
        bail!("cannot read '{pattern}': no file matches this pattern");
    }
    Ok(found)
}
