//! What one model came to, from the file of its rows.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use ft_io::{NamedValue, Source};
use ft_table::read_parquet;
use ft_table::schema::REFERENCE;

use super::metric::Metric;
use super::scores::{Column, Scores};
use crate::error::{Error, Result};

const ROW: &str = "row";
const ROW_ID: &str = "row_id";
/// How many labels a row's loss is the mean of.
const LABELS: &str = "labels";
/// The column of a file's metadata that says that a signal ended the run.
const INTERRUPTED: &str = "ft.interrupted";

/// By what rows of two files are held to be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchBy {
    /// All that they were made of: tokens, labels, reference, question.
    Row,
    /// Their references alone.
    Reference,
}

/// Reads the rows that `ft-eval loss --per-example`, `generate` or `choice` wrote. Several answers to one prompt become
/// their mean. With the SHA-256 of the file.
///
/// # Errors
/// If it is no such file, and at the first value that is none.
pub fn read_scores(source: &Source, by: MatchBy) -> Result<(Scores, String)> {
    let name = source.name();
    let expected = || format!("'{name}' is not what ft-eval writes row by row (-o), which is what is compared");
    let table = read_parquet(source).map_err(|error| Error::from(error).at(expected()))?;
    let id = if by == MatchBy::Row { ROW_ID } else { REFERENCE };
    table.require(&[ROW, ROW_ID, id]).map_err(|error| Error::from(error).at(expected()))?;
    let metrics: Vec<Metric> = Metric::VALUES.iter().map(|value| value.0).filter(|m| table.has(m.name())).collect();
    if metrics.is_empty() {
        return Err(Error::content(&name, "has no column that is compared, such as loss, exact_match or acc"));
    }
    if let Some(told) = table.metadata().get(INTERRUPTED) {
        tracing::warn!("{name}: the run was interrupted, so it holds {told}");
    }
    let mut scores = Scores { name: name.clone(), ids: Vec::new(), columns: Vec::new() };
    scores.columns = metrics.into_iter().map(|metric| Column::plain(metric, Vec::new())).collect();
    let (mut rows, sha256) = (Vec::new(), table.sha256().to_owned());
    for batch in table.batches(None)? {
        add(&mut scores, &mut rows, &batch?, id)?;
    }
    Ok((joined(scores, &rows), sha256))
}

fn add(scores: &mut Scores, rows: &mut Vec<Option<f64>>, batch: &RecordBatch, id: &str) -> Result<()> {
    let name = scores.name.clone();
    let column = |column: &str| {
        let found = batch.column_by_name(column).cloned();
        found.ok_or_else(|| Error::content(&name, format!("has no column '{column}'")))
    };
    let before = rows.len();
    let numbers = |column: &str, array: &ArrayRef| {
        numbers(column, array).map_err(|(row, told)| match row {
            Some(row) => Error::content(format!("{name}, row {}", before + row + 1), told),
            None => Error::content(&name, told),
        })
    };
    let ids = cast(&column(id)?, &DataType::Utf8).map_err(|error| Error::content(&name, error.to_string()))?;
    scores.ids.extend(ids.as_string::<i32>().iter().map(|id| id.unwrap_or_default().to_owned()));
    rows.extend(numbers(ROW, &column(ROW)?)?);
    for of in &mut scores.columns {
        let values = numbers(of.metric.name(), &column(of.metric.name())?)?;
        let weights = if of.metric == Metric::Loss {
            numbers(LABELS, &column(LABELS)?)?.into_iter().map(|labels| labels.unwrap_or(0.0)).collect()
        } else {
            vec![1.0; values.len()]
        };
        of.values.extend(values);
        of.weights.extend(weights);
    }
    Ok(())
}

/// A column of numbers or of yes and no; or the first row that is wrong, and what is wrong with it or with all.
fn numbers(column: &str, array: &ArrayRef) -> std::result::Result<Vec<Option<f64>>, (Option<usize>, String)> {
    let kind = array.data_type();
    if !(kind.is_numeric() || matches!(kind, DataType::Boolean | DataType::Null)) {
        return Err((None, format!("column '{column}' is {kind}, expected numbers")));
    }
    let array = cast(array, &DataType::Float64).map_err(|error| (None, error.to_string()))?;
    let values: Vec<Option<f64>> = array.as_primitive::<Float64Type>().iter().collect();
    match values.iter().position(|value| value.is_some_and(|v| !v.is_finite())) {
        Some(row) => Err((Some(row), format!("'{column}' is not a finite number"))),
        None => Ok(values),
    }
}

/// Rows of one number become one: the mean of those that have a value.
fn joined(scores: Scores, rows: &[Option<f64>]) -> Scores {
    let begins: Vec<usize> = (0..rows.len()).filter(|&i| i == 0 || rows[i] != rows[i - 1]).collect();
    if begins.len() == rows.len() {
        return scores;
    }
    let ends = || begins.iter().skip(1).copied().chain([rows.len()]);
    let spans = || begins.iter().zip(ends()).map(|(&from, to)| from..to);
    let mean = |values: &[Option<f64>]| {
        let some: Vec<f64> = values.iter().flatten().copied().collect();
        (!some.is_empty()).then(|| some.iter().sum::<f64>() / some.len() as f64)
    };
    let column = |column: &Column| Column {
        metric: column.metric,
        values: spans().map(|span| mean(&column.values[span])).collect(),
        weights: begins.iter().map(|&i| column.weights[i]).collect(),
    };
    Scores {
        name: scores.name,
        ids: begins.iter().map(|&i| scores.ids[i].clone()).collect(),
        columns: scores.columns.iter().map(column).collect(),
    }
}
