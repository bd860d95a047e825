//! What goes wrong with tables.

use std::io;

use arrow::error::ArrowError;
use parquet::errors::ParquetError;

/// Every failure names the file, and the line or row where there is one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be opened, created or renamed.
    #[error(transparent)]
    File(#[from] ft_io::Error),
    /// A signal came while an input was awaited: exit code 130.
    #[error("interrupted")]
    Interrupted(#[from] ft_io::Interrupted),
    /// Reading stopped half-way.
    #[error("cannot read '{name}'")]
    Read {
        /// The input as the user named it.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// Writing stopped half-way, for instance because the disk is full.
    #[error("cannot write '{name}'")]
    Write {
        /// The output as the user named it.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The temporary file for what does not fit into memory failed.
    #[error("cannot keep rows in a temporary file; give TMPDIR a folder with room for the whole input")]
    Spill(#[source] io::Error),
    /// The input as a whole is not what it should be: empty, cut short, of an
    /// unknown format, without a column.
    #[error("{name}: {message}")]
    Format {
        /// The input as the user named it.
        name: String,
        /// What was expected, what was found, what to do.
        message: String,
    },
    /// One row is not what it should be.
    #[error("{place}: {message}")]
    Row {
        /// The input and the line or row, such as `data.csv, line 7`.
        place: String,
        /// What was expected, what was found, what to do.
        message: String,
    },
}

impl Error {
    /// An [`Error::Format`].
    pub fn format(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Format { name: name.into(), message: message.into() }
    }

    /// An [`Error::Row`].
    pub fn row(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Row { place: place.into(), message: message.into() }
    }

    /// A missing column, with the names of those there are.
    pub fn missing_column<S: AsRef<str>>(name: &str, column: &str, present: &[S]) -> Self {
        Self::format(name, format!("no column '{column}'; there are: {}", listed(present)))
    }

    /// A failure while Parquet is read.
    pub(crate) fn parquet_read(name: &str, error: ParquetError) -> Self {
        match into_io(error) {
            Ok(source) => Self::Read { name: name.into(), source },
            Err(text) => Self::format(name, parquet_words(&text)),
        }
    }

    /// A failure while Parquet is written.
    pub(crate) fn parquet_write(name: &str, error: ParquetError) -> Self {
        match into_io(error) {
            Ok(source) => Self::Write { name: name.into(), source },
            Err(text) => Self::format(name, format!("cannot be written as Parquet: {text}")),
        }
    }

    /// A failure while Arrow's own format is read.
    pub(crate) fn arrow_read(name: &str, error: ArrowError) -> Self {
        match error {
            ArrowError::IoError(_, source) => Self::Read { name: name.into(), source },
            other => Self::format(name, format!("not readable as Arrow: {other}")),
        }
    }
}

/// What Parquet's words mean where they tell of what is not built in.
fn parquet_words(text: &str) -> String {
    let text = text.trim_start_matches("Arrow: ").trim_start_matches("Parquet argument error: ");
    let codec = ["brotli", "lzo"].into_iter().find(|codec| text.to_ascii_lowercase().contains(codec));
    match codec {
        Some(codec) if text.contains("Disabled feature") || text.contains("not supported") || text.contains("NYI") => {
            format!(
                "is compressed with {codec}, which is not built in; write it with zstd or snappy, such as df.to_parquet(path, compression='zstd')"
            )
        }
        _ => format!("not readable as Parquet: {text}"),
    }
}

/// The system's error inside Parquet's, or Parquet's words.
fn into_io(error: ParquetError) -> Result<io::Error, String> {
    match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(found) => Ok(*found),
            Err(other) => Err(other.to_string()),
        },
        other => Err(other.to_string()),
    }
}

/// Names in quotes, separated by commas.
pub(crate) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    if names.is_empty() {
        return "none".into();
    }
    let quoted: Vec<_> = names.iter().map(|n| format!("'{}'", n.as_ref())).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_that_are_not_built_in_are_told_by_name() {
        let disabled = ParquetError::General("Disabled feature at compile time: brotli".into());
        let told = Error::parquet_read("a.parquet", disabled).to_string();
        assert!(told.starts_with("a.parquet: is compressed with brotli, which is not built in"), "{told}");
        let told = Error::parquet_read("a.parquet", ParquetError::EOF("x".into())).to_string();
        assert_eq!(told, "a.parquet: not readable as Parquet: EOF: x");
    }
}
