//! Parquet and Arrow as others write them.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, Decimal128Array, DictionaryArray, FixedSizeBinaryArray,
    Float32Array, LargeBinaryArray, LargeStringArray, ListArray, MapBuilder, RecordBatch, StringArray, StringBuilder,
    StringViewArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int8Type, Schema};
use arrow::ipc::writer::FileWriter;
use ft_io::{Source, Target};
use ft_table::schema::json_field;
use ft_table::{ParquetWriter, read_parquet};
use serde_json::{Value, json};

use crate::support::{Scratch, examples, rows, stderr};

fn batch(columns: Vec<(Field, ArrayRef)>) -> RecordBatch {
    let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn text(name: &str, cells: &[&str]) -> (Field, ArrayRef) {
    (Field::new(name, DataType::Utf8, true), Arc::new(StringArray::from(cells.to_vec())))
}

fn column(name: &str, array: impl Array + 'static) -> (Field, ArrayRef) {
    (Field::new(name, array.data_type().clone(), true), Arc::new(array))
}

/// A scratch folder with the batch as `in.parquet` and `in.arrow`.
fn written(batch: &RecordBatch) -> Scratch {
    let scratch = Scratch::new();
    let target = Target::Path(scratch.path("in.parquet"));
    let mut parquet = ParquetWriter::create(&target, batch.schema(), &[]).unwrap();
    parquet.write(batch).unwrap();
    parquet.finish().unwrap();
    let mut arrow = FileWriter::try_new(File::create(scratch.path("in.arrow")).unwrap(), &batch.schema()).unwrap();
    arrow.write(batch).unwrap();
    arrow.finish().unwrap();
    scratch
}

/// The answers that are made of a column.
fn answers(answer: (Field, ArrayRef)) -> Vec<String> {
    let questions = vec!["q"; answer.1.len()];
    let scratch = written(&batch(vec![text("prompt", &questions), answer]));
    let from = |file: &str| -> Vec<String> {
        let line = format!("{file} --input-column prompt --output-column a -o out.parquet");
        scratch.examples(&line, "out.parquet").into_iter().map(|mut row| row.remove(1)).collect()
    };
    let found = from("in.parquet");
    assert_eq!(from("in.arrow"), found);
    found.into_iter().map(|said| said.strip_prefix("assistant: ").unwrap().to_owned()).collect()
}

#[test]
fn cells_of_every_type_say_what_their_source_says() {
    assert_eq!(answers(column("a", LargeStringArray::from(vec!["x"]))), ["x"]);
    assert_eq!(
        answers(column("a", StringViewArray::from(vec!["a text longer than a view"]))),
        ["a text longer than a view"]
    );
    let dictionary: DictionaryArray<Int8Type> = ["x", "y", "x"].into_iter().collect();
    assert_eq!(answers(column("a", dictionary)), ["x", "y", "x"]);
    assert_eq!(answers(column("a", Float32Array::from(vec![0.1, 2.5]))), ["0.1", "2.5"]);
    let decimals = Decimal128Array::from(vec![1250, -5]).with_precision_and_scale(10, 2).unwrap();
    assert_eq!(answers(column("a", decimals)), ["12.50", "-0.05"]);
    let times = TimestampMicrosecondArray::from(vec![1_700_000_000_000_000]);
    assert_eq!(answers(column("a", times)), ["2023-11-14T22:13:20"]);
}

#[test]
fn binary_is_text_where_it_is_and_else_an_error() {
    assert_eq!(answers(column("a", BinaryArray::from(vec!["é".as_bytes()]))), ["é"]);
    assert_eq!(answers(column("a", LargeBinaryArray::from(vec![&b"x"[..]]))), ["x"]);
    assert_eq!(answers(column("a", BinaryViewArray::from(vec![&b"x"[..]]))), ["x"]);
    let broken = column("completion", BinaryArray::from(vec![&b"a"[..], b"\x89PNG"]));
    let scratch = written(&batch(vec![text("prompt", &["q", "q"]), broken]));
    let told = scratch.failure("in.parquet -o out.parquet", 1);
    let start = "in.parquet, row 2: column 'completion' is binary that is no UTF-8 (byte 0x89), expected text";
    assert!(told.starts_with(start), "{told}");
    let output = scratch.run("in.parquet --bad-rows drop -o out.parquet");
    assert!(stderr(&output).contains("2 rows read, 1 kept, 1 dropped (not understood 1)"), "{}", stderr(&output));
}

#[test]
fn binary_columns_that_are_only_kept_stay_binary() {
    let broken = column("image", BinaryArray::from(vec![&b"\x89PNG"[..]]));
    let scratch = written(&batch(vec![text("prompt", &["q"]), text("completion", &["a"]), broken]));
    assert!(scratch.run("in.parquet --keep-columns image,image -o out.parquet").status.success());
    let table = read_parquet(&Source::Path(scratch.path("out.parquet"))).unwrap();
    assert_eq!(table.schema().field_with_name("image").unwrap().data_type(), &DataType::Binary);
}

#[test]
fn uuids_are_written_as_such() {
    let bytes = FixedSizeBinaryArray::try_from_iter([*b"0123456789abcdef"].into_iter()).unwrap();
    let metadata = std::collections::HashMap::from([("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned())]);
    let field = Field::new("a", DataType::FixedSizeBinary(16), true).with_metadata(metadata);
    assert_eq!(answers((field, Arc::new(bytes))), ["30313233-3435-3637-3839-616263646566"]);
}

/// A list column with all items in its one row.
fn one_list(item: &Field, items: ArrayRef) -> ArrayRef {
    let offsets = OffsetBuffer::from_lengths([items.len()]);
    Arc::new(ListArray::try_new(Arc::new(item.clone()), offsets, items, None).unwrap())
}

#[test]
fn arguments_of_calls_that_are_json_by_their_own_account_are_objects() {
    let arguments = json_field("arguments");
    let function = StructArray::try_new(
        vec![Field::new("name", DataType::Utf8, true), arguments].into(),
        vec![
            Arc::new(StringArray::from(vec![None, Some("get_weather")])) as ArrayRef,
            Arc::new(StringArray::from(vec![None, Some("{\"city\":\"Paris\"}")])),
        ],
        None,
    )
    .unwrap();
    let call = Field::new(
        "item",
        DataType::Struct(vec![Field::new("function", function.data_type().clone(), true)].into()),
        true,
    );
    let calls = StructArray::try_new(
        vec![Field::new("function", function.data_type().clone(), true)].into(),
        vec![Arc::new(function.slice(1, 1)) as ArrayRef],
        None,
    )
    .unwrap();
    let lists =
        ListArray::try_new(Arc::new(call.clone()), OffsetBuffer::from_lengths([0, 1]), Arc::new(calls), None).unwrap();
    let messages = StructArray::try_new(
        vec![
            Field::new("role", DataType::Utf8, true),
            Field::new("content", DataType::Utf8, true),
            Field::new("tool_calls", lists.data_type().clone(), true),
        ]
        .into(),
        vec![
            Arc::new(StringArray::from(vec!["user", "assistant"])) as ArrayRef,
            Arc::new(StringArray::from(vec![Some("Weather?"), None])),
            Arc::new(lists),
        ],
        None,
    )
    .unwrap();
    let item = Field::new("item", messages.data_type().clone(), true);
    let list = one_list(&item, Arc::new(messages));
    let scratch = written(&batch(vec![(Field::new("messages", list.data_type().clone(), true), list)]));
    for file in ["in.parquet", "in.arrow"] {
        assert!(scratch.run(&format!("{file} -o out.parquet")).status.success());
        let found = &rows(&scratch.path("out.parquet"))[0]["messages"][1]["tool_calls"];
        assert_eq!(found[0]["function"]["arguments"], json!({"city": "Paris"}), "{file}");
    }
}

#[test]
fn messages_and_tools_may_each_be_a_json_text() {
    let said = [r#"{"role":"user","content":"q"}"#, r#"{"role":"assistant","content":"a"}"#];
    let tool = r#"{"type":"function","function":{"name":"f"}}"#;
    for item in [json_field("item"), Field::new("item", DataType::Utf8, true)] {
        let messages = one_list(&item, Arc::new(StringArray::from(said.to_vec())));
        let tools = one_list(&item, Arc::new(StringArray::from(vec![tool])));
        let list = |name: &str| Field::new(name, messages.data_type().clone(), true);
        let scratch = written(&batch(vec![(list("messages"), messages.clone()), (list("tools"), tools)]));
        assert!(scratch.run("in.parquet -o out.parquet").status.success());
        assert_eq!(examples(&scratch.path("out.parquet")), [["user: q", "assistant: a"]]);
        let tools = rows(&scratch.path("out.parquet"))[0]["tools"].clone();
        assert_eq!(tools, json!([serde_json::from_str::<Value>(tool).unwrap()]));
    }
}

#[test]
fn maps_are_messages_and_variables() {
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    map.keys().append_value("mood");
    map.values().append_value("good");
    map.append(true).unwrap();
    let variables = column("chat_template_kwargs", map.finish());
    let scratch = written(&batch(vec![text("prompt", &["q"]), text("completion", &["a"]), variables]));
    assert!(scratch.run("in.parquet -o out.parquet").status.success());
    let found = rows(&scratch.path("out.parquet"))[0]["chat_template_kwargs"].clone();
    assert_eq!(found, json!({"mood": "good"}));
}
