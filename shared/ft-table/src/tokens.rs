//! Rows of tokens, as `ft-template` makes them and `ft-train` takes them.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use ft_io::{IGNORE_INDEX, Source};

use crate::error::Error;
use crate::lineage::{self, Lineage};
use crate::packing::{self, Packed, TokenRow};
use crate::parquet_in::read_parquet;
use crate::schema::{INPUT_IDS, LABELS};

/// All rows of one input.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The rows in the input's order.
    pub rows: Vec<TokenRow>,
    /// The input's key/value metadata, among it the provenance.
    pub metadata: HashMap<String, String>,
    /// SHA-256 of the whole input, 64 hexadecimal digits.
    pub sha256: String,
}

/// Reads the columns `input_ids` and `labels` of a Parquet file or pipe, lists
/// of any integer type.
///
/// What other software writes beside them is obeyed: tokens that an `attention_mask` masks are left out, and a row into
/// which several texts were packed (`position_ids` that start anew, `seq_lengths`, `cu_seq_lens_q`, `sequence_ids`,
/// `segment_ids`; an `attention_mask` of 1, 2, 3 …, as axolotl numbers the texts of a row) is cut into them. A token with 0
/// in `completion_mask` or `assistant_masks` (TRL) is not learned. `source_file` and `source_row` go with their rows.
///
/// # Errors
/// If it is no Parquet, lacks a column or holds no rows; and at the first row
/// with a null, a negative id, a label below 0 that is not -100, or another
/// number of labels than ids, by its number counted from 1.
pub fn read_tokens(source: &Source) -> Result<Tokens, Error> {
    let table = read_parquet(source)?;
    let name = table.name().to_owned();
    table.require(&[INPUT_IDS, LABELS])?;
    let metadata = table.metadata().clone();
    let sha256 = table.sha256().to_owned();
    let mut rows = Vec::with_capacity(usize::try_from(table.num_rows()).unwrap_or(0).min(1 << 24));
    let present: Vec<&str> = packing::COLUMNS.into_iter().filter(|column| table.has(column)).collect();
    let told = lineage::COLUMNS.into_iter().filter(|column| table.has(column));
    let columns: Vec<&str> = [INPUT_IDS, LABELS].into_iter().chain(present.iter().copied()).chain(told).collect();
    let mut number = 0;
    for batch in table.batches(Some(&columns))? {
        read_batch(&name, &batch?, &present, &mut number, &mut rows)?;
    }
    if rows.is_empty() {
        return Err(Error::format(name, "holds no rows"));
    }
    Ok(Tokens { rows, metadata, sha256 })
}

fn read_batch(
    name: &str,
    batch: &RecordBatch,
    present: &[&'static str],
    number: &mut usize,
    rows: &mut Vec<TokenRow>,
) -> Result<(), Error> {
    let ids = IntegerLists::new(name, batch, INPUT_IDS)?;
    let labels = IntegerLists::new(name, batch, LABELS)?;
    let besides = present.iter().map(|column| IntegerLists::new(name, batch, column)).collect::<Result<Vec<_>, _>>()?;
    let lineage = Lineage::of(batch);
    for row in 0..batch.num_rows() {
        *number += 1;
        let source = lineage.row(row, rows.last().map(|row| &row.source));
        let sequences = read_row(&ids, &labels, row).and_then(|(ids, labels)| {
            let mut packed = Packed::new(ids.len());
            for column in &besides {
                packed.read(column.column, column.row(row)?)?;
            }
            Ok(packed.cut(*number, &ids, &labels, &source))
        });
        rows.extend(sequences.map_err(|message| Error::row(format!("{name}, row {number}"), message))?);
    }
    Ok(())
}

fn read_row(ids: &IntegerLists, labels: &IntegerLists, row: usize) -> Result<(Vec<u32>, Vec<i32>), String> {
    let ids = ids.row(row)?;
    let labels = labels.row(row)?;
    if ids.len() != labels.len() {
        return Err(format!("{} labels for {} ids, expected as many labels as ids", labels.len(), ids.len()));
    }
    let input_ids =
        ids.iter().map(|&id| u32::try_from(id).map_err(|_| format!("{id} in '{INPUT_IDS}' is no token id")));
    let labels = labels.iter().map(|&label| {
        i32::try_from(label)
            .ok()
            .filter(|&label| label >= 0 || label == IGNORE_INDEX)
            .ok_or_else(|| format!("{label} in '{LABELS}' is neither a token id nor {IGNORE_INDEX}"))
    });
    Ok((input_ids.collect::<Result<_, _>>()?, labels.collect::<Result<_, _>>()?))
}

/// A list column of any integer type, widened.
struct IntegerLists {
    column: &'static str,
    values: Int64Array,
    /// Where each row begins in `values`, and where the last one ends.
    offsets: Vec<usize>,
    nulls: Option<NullBuffer>,
}

impl IntegerLists {
    fn new(name: &str, batch: &RecordBatch, column: &'static str) -> Result<Self, Error> {
        let missing = || Error::missing_column(name, column, &[""; 0]);
        let array = batch.column_by_name(column).ok_or_else(missing)?;
        let unsigned = |offset: i64| usize::try_from(offset).unwrap_or(0);
        let (values, offsets): (&ArrayRef, Vec<usize>) = match array.data_type() {
            DataType::List(_) => {
                let lists = array.as_list::<i32>();
                let offsets = lists.value_offsets().iter();
                (lists.values(), offsets.map(|&o| unsigned(o.into())).collect())
            }
            DataType::LargeList(_) => {
                let lists = array.as_list::<i64>();
                let offsets = lists.value_offsets().iter();
                (lists.values(), offsets.map(|&o| unsigned(o)).collect())
            }
            DataType::FixedSizeList(_, width) => {
                let lists = array.as_fixed_size_list();
                let width = unsigned((*width).into());
                (lists.values(), (0..=lists.len()).map(|i| i * width).collect())
            }
            other => return Err(wrong_type(name, column, other)),
        };
        // A mask may be booleans.
        if !values.data_type().is_integer() && *values.data_type() != DataType::Boolean {
            return Err(wrong_type(name, column, array.data_type()));
        }
        // A number out of range becomes null, which its row reports.
        let wide = cast(values, &DataType::Int64).map_err(|error| Error::arrow_read(name, error))?;
        Ok(Self { column, values: wide.as_primitive::<Int64Type>().clone(), offsets, nulls: array.nulls().cloned() })
    }

    fn row(&self, row: usize) -> Result<&[i64], String> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Err(format!("'{}' is null", self.column));
        }
        let range = self.offsets[row]..self.offsets[row + 1];
        if self.values.null_count() > 0 && range.clone().any(|i| self.values.is_null(i)) {
            let column = self.column;
            return Err(format!("'{column}' holds a null or a number too large"));
        }
        Ok(&self.values.values()[range])
    }
}

fn wrong_type(name: &str, column: &str, found: &DataType) -> Error {
    let told = format!("column '{column}' is {found}, expected lists of integers");
    Error::format(name, told)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use arrow::array::{Int64Builder, LargeListBuilder, ListBuilder, UInt16Builder};
    use arrow::datatypes::Schema;
    use ft_io::Target;

    use super::*;
    use crate::ParquetWriter;

    fn write(path: &Path, ids: &[&[u16]], labels: &[&[i64]]) {
        let mut id_lists = LargeListBuilder::new(UInt16Builder::new());
        for row in ids {
            id_lists.append_value(row.iter().copied().map(Some));
        }
        let mut label_lists = ListBuilder::new(Int64Builder::new());
        for row in labels {
            label_lists.append_value(row.iter().copied().map(Some));
        }
        let columns: Vec<(&str, ArrayRef)> =
            vec![(INPUT_IDS, Arc::new(id_lists.finish())), (LABELS, Arc::new(label_lists.finish()))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let schema: Arc<Schema> = batch.schema();
        let pairs = [("ft.tool".to_owned(), "t".to_owned())];
        let target = Target::Path(path.into());
        let mut writer = ParquetWriter::create(&target, schema, &pairs).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
    }

    fn read(ids: &[&[u16]], labels: &[&[i64]]) -> Result<Tokens, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        write(&path, ids, labels);
        let shown = path.display().to_string();
        read_tokens(&Source::Path(path)).map_err(|error| error.to_string().replace(&shown, "t.parquet"))
    }

    #[test]
    fn any_list_of_any_integers() {
        let tokens = read(&[&[1, 2, 3], &[65535]], &[&[-100, 2, 3], &[65535]]).unwrap();
        assert_eq!(tokens.rows[0].input_ids, [1, 2, 3]);
        assert_eq!(tokens.rows[0].labels, [-100, 2, 3]);
        assert_eq!(tokens.rows[1].input_ids, [65535]);
        assert_eq!(tokens.metadata["ft.tool"], "t");
        assert_eq!(tokens.sha256.len(), 64);
    }

    #[test]
    fn a_bad_row_is_named() {
        let error = read(&[&[1], &[1, 2]], &[&[1], &[1]]).unwrap_err();
        let told = "t.parquet, row 2: 1 labels for 2 ids, expected as many labels as ids";
        assert_eq!(error, told);
        let error = read(&[&[1]], &[&[-1]]).unwrap_err();
        let told = "t.parquet, row 1: -1 in 'labels' is neither a token id nor -100";
        assert_eq!(error, told);
    }

    #[test]
    fn no_rows_are_an_error() {
        assert_eq!(read(&[], &[]).unwrap_err(), "t.parquet: holds no rows");
    }

    #[test]
    fn a_missing_column_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let batch = RecordBatch::try_from_iter([("input_ids", column)]).unwrap();
        let mut writer = ParquetWriter::create(&Target::Path(path.clone()), batch.schema(), &[]).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        let told = read_tokens(&Source::Path(path)).unwrap_err().to_string();
        assert!(told.ends_with("t.parquet: no column 'labels'; there are: 'input_ids'"), "{told}");
    }
}
