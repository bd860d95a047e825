//! `--prove`.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::{failure, reference, run, succeed};

/// Some labelled rows for the small models.
fn rows(home: &Path) -> std::path::PathBuf {
    let path = home.join("rows.parquet");
    let rows = (0..6).map(|i| {
        let ids: Vec<u32> = (0..20 + i).map(|j| (7 * j + 3 * i) % 90 + 3).collect();
        let labels = ids.iter().enumerate().map(|(j, id)| if j < 8 { -100 } else { *id as i32 }).collect();
        (ids, labels)
    });
    parquet::write(&path, &rows.collect::<Vec<_>>());
    path
}

/// Writes a Parquet file of tokens, as ft-template's are.
mod parquet {
    use std::path::Path;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, ListArray, RecordBatch, UInt32Array};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{DataType, Field};
    use ft_io::Target;
    use ft_table::ParquetWriter;

    pub fn write(path: &Path, rows: &[(Vec<u32>, Vec<i32>)]) {
        let lengths = || OffsetBuffer::from_lengths(rows.iter().map(|(ids, _)| ids.len()));
        let list = |kind: DataType, values: ArrayRef| -> ArrayRef {
            Arc::new(ListArray::new(Arc::new(Field::new_list_field(kind, false)), lengths(), values, None))
        };
        let ids = UInt32Array::from_iter_values(rows.iter().flat_map(|(ids, _)| ids.clone()));
        let labels = Int32Array::from_iter_values(rows.iter().flat_map(|(_, labels)| labels.clone()));
        let columns =
            [("input_ids", list(DataType::UInt32, Arc::new(ids))), ("labels", list(DataType::Int32, Arc::new(labels)))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ParquetWriter::create(&Target::Path(path.into()), batch.schema(), &[]).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
    }
}

fn figures(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn each_form_is_measured_beside_base_and_adapter() {
    let home = tempfile::tempdir().unwrap();
    let rows = rows(home.path());
    let case = reference("llama-s0");
    let (model, adapter) = (case.join("model"), case.join("adapter_final"));
    let at = |name: &str| home.path().join(name);
    let common: [&dyn AsRef<OsStr>; 6] = [&"--model", &model, &"--adapter", &adapter, &"--prove", &rows];
    let told = succeed(&[&common[..], &[&"-o", &at("folder")]].concat());
    assert!(told.contains("proof: loss") && told.contains("6 of 6 answers are the same"), "{told}");
    let found = figures(&at("folder/prove.json"));
    assert!(found["holds"] == true && found["relative_difference"].as_f64().unwrap() < 1e-5, "{found}");
    assert_eq!((&found["rows"], &found["answers_that_are_the_same"]), (&6.into(), &6.into()));
    succeed(&[&common[..], &[&"--to", &"gguf", &"--quantize", &"q8_0", &"-o", &at("m.gguf")]].concat());
    let found = figures(&at("m.gguf.prove.json"));
    let apart = found["relative_difference"].as_f64().unwrap();
    assert!(found["bound"] == 0.02 && apart > 1e-7 && apart < 0.02, "{found}");
    // An older result goes with its figures.
    succeed(&[&common[..2], &[&"-o", &at("folder"), &"--overwrite"]].concat());
    assert!(!at("folder/prove.json").exists());
}

#[test]
fn a_result_that_is_too_far_away_ends_in_failure_and_stays() {
    let home = tempfile::tempdir().unwrap();
    let rows = rows(home.path());
    let (model, out) = (reference("llama-s0").join("model"), home.path().join("m.gguf"));
    let to: [&dyn AsRef<OsStr>; 8] = [&"--model", &model, &"--to", &"gguf", &"--quantize", &"q4_0", &"-o", &out];
    let output = run(&[&to[..], &[&"--quiet", &"--prove", &rows, &"--prove-bound", &"1e-9"]].concat());
    let text = String::from_utf8(output.stderr).unwrap();
    let line = text.trim_end().lines().last().unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(line.contains("the proof failed") && line.contains("is there to look into"), "{text}");
    assert!(out.is_file());
    assert_eq!(figures(&home.path().join("m.gguf.prove.json"))["holds"], false);
}

#[test]
fn what_cannot_be_proved_is_a_usage_error() {
    let (model, adapter) = (reference("llama-s0").join("model"), reference("llama-s0").join("adapter_final"));
    let to: [&dyn AsRef<OsStr>; 6] = [&"--model", &model, &"-o", &"/nowhere/out", &"--prove", &"rows.parquet"];
    let (line, code) = failure(&run(&[&to[..], &[&"--adapter", &"-"]].concat()));
    assert!(code == 2 && line.contains("a pipe does not give twice"), "{line}");
    let (line, code) = failure(&run(&[&to[..], &[&"--adapter", &adapter, &"--to", &"adapter"]].concat()));
    assert!(code == 2 && line.contains("--prove is for merged models"), "{line}");
}
