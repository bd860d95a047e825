//! Rows as other software writes them: padded under a mask, or several texts in one row.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Builder, ListBuilder};

use crate::support::{Row, Scratch, read_safetensors, rows, stderr, with_base, write_columns};

/// The tensors of the adapter; its metadata names the file that it learned from.
fn trained(scratch: &Scratch, out: &str, line: &str) -> HashMap<String, Vec<u8>> {
    tensors(&scratch.trained(out, line))
}

fn tensors(adapter: &[u8]) -> HashMap<String, Vec<u8>> {
    read_safetensors(adapter).1
}

/// Writes `rows` with further columns of one list a row.
fn write(scratch: &Scratch, name: &str, rows: &[Row], besides: &[(&str, Vec<Vec<i64>>)]) {
    let list = |values: &[Vec<i64>]| -> ArrayRef {
        let mut lists = ListBuilder::new(Int64Builder::new());
        values.iter().for_each(|row| lists.append_value(row.iter().copied().map(Some)));
        Arc::new(lists.finish())
    };
    let ids: Vec<Vec<i64>> = rows.iter().map(|(ids, _)| ids.iter().map(|&id| i64::from(id)).collect()).collect();
    let labels: Vec<Vec<i64>> = rows.iter().map(|(_, labels)| labels.iter().map(|&l| i64::from(l)).collect()).collect();
    let mut columns = vec![("input_ids", list(&ids)), ("labels", list(&labels))];
    columns.extend(besides.iter().map(|(name, values)| (*name, list(values))));
    write_columns(&scratch.path(name), &columns, &[]);
}

/// Rows of 24 tokens, with padding before or behind, which has labels too; and the masks.
fn padded(rows: &[Row], before: bool) -> (Vec<Row>, Vec<Vec<i64>>) {
    let pad = |(ids, labels): &Row| {
        let fill = 24 - ids.len();
        let (zeros, ones) = (vec![0; fill], vec![1; ids.len()]);
        let (ids_of, labels_of) = (vec![5u32; fill], vec![5i32; fill]);
        if before {
            (([ids_of, ids.clone()].concat(), [labels_of, labels.clone()].concat()), [zeros, ones].concat())
        } else {
            (([ids.clone(), ids_of].concat(), [labels.clone(), labels_of].concat()), [ones, zeros].concat())
        }
    };
    rows.iter().map(pad).unzip()
}

#[test]
fn masked_tokens_are_left_out() {
    let scratch = Scratch::with_rows();
    let expected = trained(&scratch, "plain", "");
    for (name, before) in [("right", false), ("left", true)] {
        let (padded, masks) = padded(&rows(18), before);
        write(&scratch, &format!("{name}.parquet"), &padded, &[("attention_mask", masks)]);
        let line = format!("--train {name}.parquet");
        assert!(trained(&scratch, name, &line) == expected, "padding on the {name}");
    }
}

#[test]
fn texts_that_were_packed_into_a_row_do_not_see_each_other() {
    let scratch = Scratch::with_rows();
    // Two texts a row: a step of two rows is a step of four texts.
    let line = "--no-shuffle --per-device-train-batch-size";
    let expected = trained(&scratch, "apart", &format!("{line} 4"));
    let texts = rows(18);
    let pairs: Vec<&[Row]> = texts.chunks(2).collect();
    let join = |pair: &&[Row]| -> Row {
        (pair.iter().flat_map(|row| row.0.clone()).collect(), pair.iter().flat_map(|row| row.1.clone()).collect())
    };
    let packed: Vec<Row> = pairs.iter().map(join).collect();
    let each = |of: &dyn Fn(usize, usize) -> Vec<i64>| -> Vec<Vec<i64>> {
        pairs.iter().map(|pair| pair.iter().enumerate().flat_map(|(i, row)| of(i, row.0.len())).collect()).collect()
    };
    for (column, values) in [
        ("position_ids", each(&|_, length| (0..length as i64).collect())),
        ("seq_lengths", each(&|_, length| vec![length as i64])),
        ("sequence_ids", each(&|i, length| vec![i as i64; length])),
        ("segment_ids", each(&|i, length| vec![1 + i as i64; length])),
        ("cu_seq_lens_q", pairs.iter().map(|pair| bounds(pair)).collect()),
        ("attention_mask", each(&|i, length| vec![1 + i as i64; length])),
    ] {
        write(&scratch, "packed.parquet", &packed, &[(column, values)]);
        assert!(trained(&scratch, column, &format!("--train packed.parquet {line} 2")) == expected, "{column}");
    }
}

/// 0, and where each text ends.
fn bounds(texts: &[Row]) -> Vec<i64> {
    let mut bounds = vec![0];
    for (ids, _) in texts {
        bounds.push(bounds[bounds.len() - 1] + ids.len() as i64);
    }
    bounds
}

#[test]
fn masks_that_trl_writes_take_labels_away() {
    let scratch = Scratch::with_rows();
    let expected = trained(&scratch, "plain", "");
    // Every token has a label, and the mask says which of them counts.
    let texts = rows(18);
    let masks: Vec<Vec<i64>> =
        texts.iter().map(|(_, labels)| labels.iter().map(|&label| i64::from(label >= 0)).collect()).collect();
    assert!(masks.iter().flatten().any(|&one| one == 0), "rows with tokens that are not learned");
    let all: Vec<Row> = texts.iter().map(|(ids, _)| (ids.clone(), ids.iter().map(|&id| id as i32).collect())).collect();
    for column in ["completion_mask", "assistant_masks"] {
        write(&scratch, "masked.parquet", &all, &[(column, masks.clone())]);
        assert!(trained(&scratch, column, "--train masked.parquet") == expected, "{column}");
    }
}

#[test]
fn a_mask_or_positions_that_mean_something_else_are_refused() {
    let scratch = Scratch::new();
    let rows = &rows(18)[1..2];
    for (column, values, told) in [
        ("position_ids", (3..13).collect(), "rows.parquet, row 1: 'position_ids' is 3 at token 0, expected 0"),
        ("attention_mask", vec![1, 1, 0, 1, 1, 1, 1, 1, 1, 1], "rows.parquet, row 1: 'attention_mask' is 0 at token 2"),
        ("seq_lengths", vec![4, 5], "rows.parquet, row 1: 'seq_lengths' adds up to 9, expected the row's 10 tokens"),
    ] {
        write(&scratch, "rows.parquet", rows, &[(column, vec![values])]);
        let found = scratch.failure(&with_base("--output-dir out"), 1);
        assert!(found.contains(told), "{found}");
    }
}

#[test]
fn rows_without_a_label_are_left_out_at_the_start() {
    let scratch = Scratch::new();
    let mut some = rows(18);
    scratch.tokens("rows.parquet", &some);
    let expected = trained(&scratch, "out", "--no-shuffle");
    let masked: Row = (vec![1, 2, 3, 4], vec![-100; 4]);
    // A label of a row's first token is foretold by nothing.
    some.insert(0, (vec![1, 2, 3], vec![1, -100, -100]));
    some.insert(9, masked);
    scratch.tokens("rows.parquet", &some);
    let output = scratch.run(&with_base("--output-dir again --no-shuffle"));
    assert!(output.status.success(), "{}", stderr(&output));
    let told = stderr(&output);
    assert!(told.contains("2 of 20 rows have no label (row 1 is the first) and are left out"), "{told}");
    assert!(tensors(&scratch.adapter("again")) == expected);
}
