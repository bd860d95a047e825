//! `--adapter`, as typed: where it is, and its weight.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use ft_io::Source;

/// An adapter that was named.
#[derive(Debug, Clone)]
pub struct Given {
    /// Where it is.
    pub source: Source,
    /// What it is multiplied by.
    pub weight: f64,
}

impl Given {
    /// `PATH` or `PATH=0.7`. What is there under the whole text is meant by it.
    pub fn parse(text: &OsString) -> Self {
        let whole = || Self { source: Source::parse(text), weight: 1.0 };
        if Path::new(text).exists() {
            return whole();
        }
        let Some((path, weight)) = text.to_str().and_then(|text| text.rsplit_once('=')) else { return whole() };
        match weight.parse::<f64>() {
            Ok(weight) if weight.is_finite() && !path.is_empty() => {
                Self { source: Source::parse(OsStr::new(path)), weight }
            }
            _ => whole(),
        }
    }
}
