//! Which format an input has: by its content, then by its name.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use memchr::memchr;

use crate::dialect::DELIMITERS;
use crate::error::Error;

/// The formats that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a header; semicolons, tabs and bars are found too.
    Csv,
    /// Tab-separated values with a header.
    Tsv,
    /// A JSON object a line.
    Jsonl,
    /// One JSON array of objects.
    Json,
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC: file (Feather) or stream.
    Arrow,
}

impl Format {
    /// The format that a file's name tells, also before `.gz`, `.zst` and the like.
    pub fn of_name(name: &str) -> Option<Self> {
        extension(name)
    }

    /// All of them.
    pub const ALL: [Self; 6] = [Self::Csv, Self::Tsv, Self::Jsonl, Self::Json, Self::Parquet, Self::Arrow];

    /// The name in arguments and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Jsonl => "jsonl",
            Self::Json => "json",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("no format '{text}'; there are: {names}")
        })
    }
}

pub(crate) const ARROW_FILE: &[u8] = b"ARROW1";
const ARROW_STREAM: &[u8] = &[0xff; 4];
const PARQUET: &[u8] = b"PAR1";

/// Finds the format from the name and the first (decompressed) bytes.
pub(crate) fn detect(name: &str, head: &[u8]) -> Result<Format, Error> {
    for (magic, format) in [(PARQUET, Format::Parquet), (ARROW_FILE, Format::Arrow), (ARROW_STREAM, Format::Arrow)] {
        if head.starts_with(magic) {
            return Ok(format);
        }
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    match (extension(name), text.trim_ascii_start().first()) {
        (Some(format @ (Format::Csv | Format::Tsv)), _) => return Ok(format),
        (Some(Format::Parquet), _) => return Err(Error::format(name, NOT_PARQUET)),
        (_, Some(b'[')) => return Ok(Format::Json),
        (_, Some(b'{')) => return Ok(Format::Jsonl),
        (Some(format), _) => return Ok(format),
        (None, _) => {}
    }
    let line = &text[..memchr(b'\n', text).unwrap_or(text.len())];
    if line.contains(&0) {
        return Err(unknown(name));
    }
    if line.contains(&b'\t') {
        Ok(Format::Tsv)
    } else if line.iter().any(|byte| DELIMITERS.contains(byte)) {
        Ok(Format::Csv)
    } else {
        Err(unknown(name))
    }
}

const NOT_PARQUET: &str = "is named Parquet, but does not begin with 'PAR1'";

fn unknown(name: &str) -> Error {
    let names = Format::ALL.map(Format::name).join(", ");
    let told = format!("neither its name nor its content tells the format; give --format ({names})");
    Error::format(name, told)
}

/// By the name's extension, the one before `.gz`, `.zst` and the like.
fn extension(name: &str) -> Option<Format> {
    let mut path = Path::new(name);
    let lower = |path: &Path| Some(path.extension()?.to_str()?.to_ascii_lowercase());
    let mut found = lower(path)?;
    if matches!(found.as_str(), "gz" | "gzip" | "zst" | "zstd") {
        path = Path::new(path.file_stem()?);
        found = lower(path)?;
    }
    match found.as_str() {
        "csv" => Some(Format::Csv),
        "tsv" | "tab" => Some(Format::Tsv),
        "jsonl" | "ndjson" => Some(Format::Jsonl),
        "json" => Some(Format::Json),
        "parquet" | "pq" => Some(Format::Parquet),
        "arrow" | "feather" | "ipc" => Some(Format::Arrow),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, head: &[u8]) -> Result<Format, String> {
        detect(name, head).map_err(|error| error.to_string())
    }

    #[test]
    fn content_goes_before_names() {
        assert_eq!(found("a.csv", b"PAR1...."), Ok(Format::Parquet));
        assert_eq!(found("a.json", b" {\"a\":1}\n"), Ok(Format::Jsonl));
        assert_eq!(found("a.jsonl.gz", b"\n[{}]"), Ok(Format::Json));
        assert_eq!(found("a.CSV.zst", b"[a],b"), Ok(Format::Csv));
        assert_eq!(found("standard input", b"a\tb,c\n"), Ok(Format::Tsv));
        assert_eq!(found("a.txt", b"a,b\n1,2\n"), Ok(Format::Csv));
    }

    #[test]
    fn what_cannot_be_told_is_asked_for() {
        let error = found("notes.txt", b"hello\n").unwrap_err();
        assert!(error.starts_with("notes.txt: neither"), "{error}");
        assert!(error.contains("--format (csv, tsv"), "{error}");
    }
}
