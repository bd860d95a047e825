//! How single questions were answered, as rows.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Builder, ListBuilder, RecordBatch, StringArray, StringBuilder, UInt32Array,
    UInt64Array,
};
use arrow::datatypes::{DataType, Field};
use ft_measure::{Outcome, Question};

/// A row a question, of those that are answered: its number from 1, what was asked, the logarithm of each choice's
/// likelihood, which choice is the likeliest and whether it is right; the same a character of the choice's text where
/// texts are compared; and the id by which runs over the same questions are compared.
pub fn rows(questions: &[Question], likelihoods: &[Vec<f64>], outcomes: &[Outcome]) -> Result<RecordBatch> {
    let questions = &questions[..outcomes.len()];
    let text = Field::new_list_field(DataType::Utf8, false);
    let mut choices = ListBuilder::new(StringBuilder::new()).with_field(text);
    let number = Field::new_list_field(DataType::Float64, false);
    let mut logs = ListBuilder::new(Float64Builder::new()).with_field(number);
    for (question, of) in questions.iter().zip(likelihoods) {
        question.choices.iter().for_each(|choice| choices.values().append_value(choice));
        choices.append(true);
        logs.values().append_slice(of);
        logs.append(true);
    }
    let of_questions =
        |text: fn(&Question) -> Option<&str>| Arc::new(questions.iter().map(text).collect::<StringArray>()) as ArrayRef;
    let by_length = || outcomes.iter().map(|outcome| outcome.by_length);
    let ids = questions.iter().map(Question::row_id);
    let columns: [(&str, ArrayRef, bool); 11] = [
        ("row", Arc::new(UInt64Array::from_iter_values(1..=outcomes.len() as u64)), false),
        ("subject", of_questions(|q| q.subject.as_deref()), true),
        ("question", of_questions(|q| Some(&q.text)), false),
        ("choices", Arc::new(choices.finish()), false),
        ("answer", Arc::new(UInt32Array::from_iter_values(questions.iter().map(|q| q.answer as u32))), false),
        ("log_likelihoods", Arc::new(logs.finish()), false),
        ("chosen", Arc::new(UInt32Array::from_iter_values(outcomes.iter().map(|o| o.chosen as u32))), false),
        ("acc", Arc::new(outcomes.iter().map(|o| Some(o.is_right)).collect::<BooleanArray>()), false),
        ("chosen_norm", Arc::new(by_length().map(|o| o.map(|o| o.0 as u32)).collect::<UInt32Array>()), true),
        ("acc_norm", Arc::new(by_length().map(|o| o.map(|o| o.1)).collect::<BooleanArray>()), true),
        ("row_id", Arc::new(StringArray::from_iter_values(ids)), false),
    ];
    // By letter there is nothing by length.
    let kept = columns.into_iter().filter(|(name, column, _)| !name.ends_with("_norm") || column.null_count() == 0);
    Ok(RecordBatch::try_from_iter_with_nullable(kept)?)
}
