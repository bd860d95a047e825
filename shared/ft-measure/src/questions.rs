//! Multiple-choice questions, in the columns of MMLU.

use ft_io::Source;
use ft_table::{Rows, TableReader};
use serde_json::Value;

use crate::answer_column::{Readings, is_ambiguous, of_column};
use crate::error::{Error, Result};
use crate::format::Format;
use crate::letters::{MOST_CHOICES, letter};
use crate::question::Question;
use crate::task_rows::{self, columns};

/// All questions of one input.
#[derive(Debug)]
pub struct Questions {
    /// In the input's order.
    pub list: Vec<Question>,
    /// SHA-256 of the whole input, 64 hexadecimal digits.
    pub sha256: String,
}

const QUESTION: &str = "question";
const CHOICES: &str = "choices";
const ANSWER: &str = "answer";
const SUBJECT: &str = "subject";

impl Questions {
    /// Reads the first `limit` questions of `source`, in the columns that `format` has.
    ///
    /// # Errors
    /// If a column is missing, and at the first row that is no question.
    pub fn read(source: &Source, format: Format, limit: Option<u32>) -> Result<Self> {
        let mut reader = TableReader::open(source, None)?;
        let mut wanted: Vec<String> = columns(format).iter().map(|&column| column.into()).collect();
        let has_answers = wanted.iter().any(|column| column == ANSWER);
        wanted.extend(reader.columns().iter().filter(|c| *c == SUBJECT).cloned());
        reader.select(&wanted)?;
        let limit = limit.map_or(usize::MAX, |n| n as usize);
        let (mut list, mut readings) = (Vec::new(), Vec::new());
        while let Some(rows) = reader.next_rows()? {
            for row in 0..rows.len() {
                // What the answers mean is said by the whole column, also where only its first rows are asked.
                let is_asked = list.len() < limit;
                let read = if has_answers {
                    question(&rows, row).map(|(question, reading)| (question, Some(reading)))
                } else {
                    task_rows::question(format, &rows, row).map(|question| (question, None))
                };
                match read {
                    Ok((question, reading)) => {
                        readings.extend(reading);
                        list.extend(is_asked.then(|| Question { place: rows.place(row), ..question }));
                    }
                    Err(reason) if is_asked => return Err(Error::content(rows.place(row), reason)),
                    Err(_) => {}
                }
            }
        }
        if list.is_empty() {
            return Err(Error::content(reader.name(), "holds no questions"));
        }
        if has_answers {
            set_answers(reader.name(), &mut list, &readings)?;
        }
        Ok(Self { list, sha256: reader.sha256()? })
    }
}

/// Sets the right choices as the column of answers says them; `readings` may have more rows than the `list`.
fn set_answers(name: &str, list: &mut [Question], readings: &[Readings]) -> Result<()> {
    let taken = of_column(readings);
    if let Some(taken) = taken.filter(|&taken| is_ambiguous(readings, taken)) {
        let what = taken.name();
        tracing::warn!("{name}: '{ANSWER}' can be read in several ways; taking it as the choice's {what}");
    }
    for (question, row) in list.iter_mut().zip(readings) {
        let answer = taken.map_or_else(|| row.only(), |taken| row.by(taken));
        question.answer = answer.ok_or_else(|| {
            let told = "can be read in several ways, and the other rows do not say in which; make all rows \
                        numbers from 0, or all letters";
            Error::content(&question.place, format!("'{ANSWER}' {told}"))
        })?;
    }
    Ok(())
}

/// The question of one row, and what its answer may mean; or what is wrong with it.
fn question(rows: &Rows, row: usize) -> std::result::Result<(Question, Readings), String> {
    let text = |column: &str| match rows.value(row, column).as_ref() {
        Value::String(text) => Ok(text.clone()),
        other => Err(format!("'{column}' is {}, expected text", ft_table::kind(other))),
    };
    let choices = choices(rows.value(row, CHOICES).as_ref())?;
    let answer = readings(rows.value(row, ANSWER).as_ref(), &choices)?;
    let (text, subject) = (text(QUESTION)?, text(SUBJECT).ok());
    Ok((Question { place: String::new(), text, choices, answer: 0, subject }, answer))
}

/// A list of texts; CSV has it as JSON.
fn choices(value: &Value) -> std::result::Result<Vec<String>, String> {
    let wrong = |found: String| format!("'{CHOICES}' is {found}, expected a list of 2 to {MOST_CHOICES} texts");
    let parsed;
    let list = match value {
        Value::Array(list) => list,
        Value::String(text) => {
            parsed = serde_json::from_str::<Vec<Value>>(text).map_err(|_| wrong("text".into()))?;
            &parsed
        }
        other => return Err(wrong(ft_table::kind(other).to_string())),
    };
    if !(2..=MOST_CHOICES).contains(&list.len()) {
        return Err(wrong(format!("a list of {}", list.len())));
    }
    let text = |item: &Value| match item {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(wrong(format!("a list with {}", ft_table::kind(other)))),
    };
    list.iter().map(text).collect()
}

/// Which choice may be the right one: a number from 0, a letter, or the choice's own text.
fn readings(value: &Value, choices: &[String]) -> std::result::Result<Readings, String> {
    let found = Readings::new(value, choices);
    if found.is_some() {
        return Ok(found);
    }
    let last = choices.len() - 1;
    Err(format!("'{ANSWER}' is {value}, expected 0 to {last}, A to {}, or one of the choices", letter(last)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_is_a_number_a_letter_or_the_choice() {
        let choices = ["5", "7", "b"].map(String::from);
        for (value, expected) in [(json!(2), 2), (json!("B"), 1), (json!("7"), 1), (json!("0"), 0), (json!(5), 0)] {
            assert_eq!(readings(&value, &choices).unwrap().only(), Some(expected), "{value}");
        }
        let told = readings(&json!(3), &choices).unwrap_err();
        assert_eq!(told, "'answer' is 3, expected 0 to 2, A to C, or one of the choices");
        assert!(readings(&json!(-1), &choices).is_err() && readings(&json!(null), &choices).is_err());
    }

    #[test]
    fn choices_are_a_list_of_texts() {
        assert_eq!(choices(&json!(["x", 2])).unwrap(), ["x", "2"]);
        assert_eq!(choices(&json!("[\"x\", \"y\"]")).unwrap(), ["x", "y"]);
        let told = choices(&json!(["x"])).unwrap_err();
        assert_eq!(told, "'choices' is a list of 1, expected a list of 2 to 26 texts");
        assert!(choices(&json!("x, y")).is_err());
    }
}
