//! Rows of lm-eval's tasks, in the columns of their data sets.

use ft_table::Rows;
use serde_json::Value;

use crate::format::Format;
use crate::hellaswag::{capitalised, cleaned};
use crate::letters::letter;
use crate::question::Question;

type Read<T> = Result<T, String>;

/// The columns that a task's rows have.
pub(crate) fn columns(format: Format) -> &'static [&'static str] {
    match format {
        Format::Letters | Format::Text | Format::Mmlu => &["question", "choices", "answer"],
        Format::Arc | Format::CommonsenseQa => &["question", "choices", "answerKey"],
        Format::Hellaswag => &["activity_label", "ctx_a", "ctx_b", "endings", "label"],
        Format::Piqa => &["goal", "sol1", "sol2", "label"],
        Format::Boolq => &["passage", "question", "label"],
    }
}

/// The question of one row of ARC, HellaSwag, PIQA, BoolQ or CommonsenseQA; or what is wrong with it.
pub(crate) fn question(format: Format, rows: &Rows, row: usize) -> Read<Question> {
    let text = |column: &str| string(column, rows.value(row, column).as_ref());
    let number = |column: &str, choices: usize| index(column, rows.value(row, column).as_ref(), choices);
    let of = |text: String, choices: Vec<String>, answer: usize| {
        Ok(Question { place: String::new(), text, choices, answer, subject: None })
    };
    match format {
        Format::Hellaswag => {
            let all = texts("endings", rows.value(row, "endings").as_ref())?;
            let choices: Vec<String> = all.iter().map(|ending| cleaned(ending)).collect();
            let (label, before, after) = (text("activity_label")?, text("ctx_a")?, text("ctx_b")?);
            let answer = number("label", choices.len())?;
            of(cleaned(&format!("{label}: {before} {}", capitalised(&after))), choices, answer)
        }
        Format::Piqa => of(text("goal")?, vec![text("sol1")?, text("sol2")?], number("label", 2)?),
        Format::Boolq => {
            let both = format!("{}\nQuestion: {}?", text("passage")?, text("question")?);
            of(both, vec!["no".into(), "yes".into()], number("label", 2)?)
        }
        _ => {
            let (choices, labels) = labelled(rows.value(row, "choices").as_ref())?;
            let key = text("answerKey")?;
            let answer = labels.iter().position(|label| *label == key);
            let answer =
                answer.ok_or_else(|| format!("'answerKey' is {key:?}, expected one of {}", labels.join(", ")))?;
            if format == Format::CommonsenseQa && !labels.iter().enumerate().all(|(i, l)| *l == letter(i).to_string()) {
                return Err(format!("'choices' are labelled {}, expected A, B, C, …", labels.join(", ")));
            }
            of(text("question")?, choices, answer)
        }
    }
}

fn string(column: &str, value: &Value) -> Read<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(format!("'{column}' is {}, expected text", ft_table::kind(other))),
    }
}

fn texts(column: &str, value: &Value) -> Read<Vec<String>> {
    match value {
        Value::Array(list) if list.len() >= 2 => list.iter().map(|item| string(column, item)).collect(),
        Value::Array(list) => Err(format!("'{column}' is a list of {}, expected 2 or more texts", list.len())),
        other => Err(format!("'{column}' is {}, expected a list of texts", ft_table::kind(other))),
    }
}

/// The texts and labels of choices: an object of two lists.
fn labelled(value: &Value) -> Read<(Vec<String>, Vec<String>)> {
    let list = |key: &str| {
        let list = value.get(key).ok_or_else(|| {
            format!("'choices' is {}, expected an object with the lists 'text' and 'label'", ft_table::kind(value))
        })?;
        texts(&format!("choices.{key}"), list)
    };
    let (choices, labels) = (list("text")?, list("label")?);
    if choices.len() != labels.len() {
        return Err(format!("'choices' has {} texts and {} labels", choices.len(), labels.len()));
    }
    Ok((choices, labels))
}

/// The number of a choice, which may be a text or yes and no.
fn index(column: &str, value: &Value, choices: usize) -> Read<usize> {
    let found = match value {
        Value::Bool(yes) => Some(usize::from(*yes)),
        Value::Number(number) => number.as_u64().map(|number| number as usize),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let told = || format!("'{column}' is {value}, expected a number from 0 to {}", choices - 1);
    found.filter(|&number| number < choices).ok_or_else(told)
}
