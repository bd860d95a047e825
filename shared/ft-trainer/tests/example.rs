//! The example trains.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Builder, ListBuilder, RecordBatch, UInt32Builder};
use arrow::datatypes::{DataType, Field};
use ft_io::Target;
use ft_model::lora::Adapter;
use ft_table::ParquetWriter;

#[path = "../examples/train.rs"]
mod train;

/// Rows that can be learned: each counts upwards in twos.
fn write_tokens(path: &Path) {
    let item = |data_type| Field::new_list_field(data_type, false);
    let mut ids = ListBuilder::new(UInt32Builder::new()).with_field(item(DataType::UInt32));
    let mut labels = ListBuilder::new(Int32Builder::new()).with_field(item(DataType::Int32));
    for row in 0..8u32 {
        let tokens: Vec<u32> = (0..12).map(|t| (row * 31 + t * 2) % 300).collect();
        labels.append_value(tokens.iter().map(|&id| Some(id as i32)));
        ids.append_value(tokens.into_iter().map(Some));
    }
    let columns: [(&str, ArrayRef); 2] = [("input_ids", Arc::new(ids.finish())), ("labels", Arc::new(labels.finish()))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ParquetWriter::create(&Target::Path(path.into()), batch.schema(), &[]).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
}

#[test]
fn the_example_trains_an_adapter_that_can_be_read() {
    let scratch = tempfile::tempdir().unwrap();
    let (tokens, out) = (scratch.path().join("tokens.parquet"), scratch.path().join("out"));
    write_tokens(&tokens);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/reference/llama-s1/model");
    let losses = train::train(&model, &tokens, &out, 8).unwrap();
    assert_eq!(losses.len(), 8);
    assert!(losses[7] < losses[0], "the loss falls: {losses:?}");
    assert!(Adapter::load(&out).unwrap().parameters() > 0);
    let left: Vec<_> = std::fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "nothing but the rows and the adapter: {left:?}");
}
