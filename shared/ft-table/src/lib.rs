//! Rows in and out: CSV, TSV, JSON, Parquet and Arrow, from files and pipes.
//!
//! Errors name the input as the user did, and the line (text) or the row,
//! counted from 1 (columnar formats).

mod error;
mod parquet_in;
mod parquet_out;
pub mod schema;
mod spool;
mod tokens;

pub use error::Error;
pub use parquet_in::{ParquetBatches, ParquetTable, read_parquet};
pub use parquet_out::ParquetWriter;
pub use tokens::{TokenRow, Tokens, read_tokens};
