//! Figures of single rows, as a Parquet file.

use std::collections::BTreeMap;

use anyhow::Result;
use arrow::array::RecordBatch;
use ft_cli::typed_arguments;
use ft_io::{InputDigest, Provenance, Source, Target};
use ft_table::ParquetWriter;

use crate::report::LEFT_OUT;

/// The key of a file's metadata that says that a signal ended the run, and how far it came.
const INTERRUPTED: &str = "ft.interrupted";

/// What a file of rows says of where they come from: `source`, whose digest is `sha256`.
pub fn provenance(source: &Source, sha256: &str) -> Vec<(String, String)> {
    let provenance = Provenance {
        tool: "ft-eval".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        arguments: typed_arguments(&LEFT_OUT, &[source]),
        inputs: vec![InputDigest { name: source.file_name(), sha256: sha256.to_owned() }],
        extra: BTreeMap::new(),
    };
    provenance.to_pairs()
}

/// Writes `rows`, which are the first of all `of`.
pub fn write(target: &Target, rows: &RecordBatch, of: usize, source: &Source, sha256: &str) -> Result<()> {
    let mut writer = ParquetWriter::create(target, rows.schema(), &provenance(source, sha256))?;
    writer.write(rows)?;
    end(writer, rows.num_rows(), of)
}

/// Ends a file that has `done` of all `of` rows.
pub fn end(mut writer: ParquetWriter, done: usize, of: usize) -> Result<()> {
    if done < of {
        writer.add_metadata([(INTERRUPTED.to_owned(), format!("{done} of {of} rows"))]);
    }
    Ok(writer.finish()?)
}
