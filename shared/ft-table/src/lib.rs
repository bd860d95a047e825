//! Rows in and out: CSV, TSV, JSON, Parquet and Arrow, from files and pipes.
//!
//! Errors name the input as the user did, and the line (text) or the row,
//! counted from 1 (columnar formats).

mod buffer;
mod conform;
mod delimited;
mod detect;
mod dialect;
mod encoding;
mod error;
mod fields;
mod foreign;
mod gzip;
mod json;
mod json_text;
mod lineage;
mod packing;
mod parquet_in;
mod parquet_out;
mod parts;
mod reader;
mod rows;
pub mod schema;
pub mod shapes;
mod spool;
mod stream;
mod text;
mod tokens;
mod value;
mod window;

pub use buffer::{BufferedRows, RowBuffer};
pub use conform::conform;
pub use detect::Format;
pub use encoding::TextEncoding;
pub use error::Error;
pub use json_text::{kind, parse_value};
pub use lineage::SourceRow;
pub use packing::TokenRow;
pub use parquet_in::{ParquetBatches, ParquetTable, read_parquet};
pub use parquet_out::ParquetWriter;
pub use reader::{ReadOptions, TableReader};
pub use rows::{BadRow, Data, Rows};
pub use tokens::{Tokens, read_tokens};
