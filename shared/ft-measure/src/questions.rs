//! Multiple-choice questions, in the columns of MMLU.

use ft_io::Source;
use ft_table::{Rows, TableReader};
use serde_json::Value;

use crate::error::{Error, Result};

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Where it stands, for messages.
    pub place: String,
    /// The question itself.
    pub text: String,
    /// What it may be answered with.
    pub choices: Vec<String>,
    /// The right one of them.
    pub answer: usize,
    /// What it is about, where the input says it.
    pub subject: Option<String>,
}

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
/// A choice needs a letter.
const MOST_CHOICES: usize = 26;

/// The letter of a choice.
pub fn letter(choice: usize) -> char {
    char::from(b'A' + choice.min(MOST_CHOICES - 1) as u8)
}

impl Questions {
    /// Reads the first `limit` questions of `source`.
    ///
    /// # Errors
    /// If a column is missing, and at the first row that is no question.
    pub fn read(source: &Source, limit: Option<u32>) -> Result<Self> {
        let mut reader = TableReader::open(source, None)?;
        let needed = [QUESTION, CHOICES, ANSWER].map(String::from);
        let mut wanted = needed.to_vec();
        wanted.extend(reader.columns().iter().filter(|c| *c == SUBJECT).cloned());
        reader.select(&wanted)?;
        let limit = limit.map_or(usize::MAX, |n| n as usize);
        let mut list = Vec::new();
        while let Some(rows) = reader.next_rows()? {
            for row in 0..rows.len().min(limit - list.len()) {
                let place = rows.place(row);
                match question(&rows, row) {
                    Ok(question) => list.push(Question { place, ..question }),
                    Err(reason) => return Err(Error::content(place, reason)),
                }
            }
            if list.len() == limit {
                break;
            }
        }
        if list.is_empty() {
            return Err(Error::content(reader.name(), "holds no questions"));
        }
        Ok(Self { list, sha256: reader.sha256()? })
    }
}

/// The question of one row, or what is wrong with it.
fn question(rows: &Rows, row: usize) -> std::result::Result<Question, String> {
    let text = |column: &str| match rows.value(row, column).as_ref() {
        Value::String(text) => Ok(text.clone()),
        other => Err(format!("'{column}' is {}, expected text", ft_table::kind(other))),
    };
    let choices = choices(rows.value(row, CHOICES).as_ref())?;
    let answer = answer(rows.value(row, ANSWER).as_ref(), &choices)?;
    Ok(Question { place: String::new(), text: text(QUESTION)?, choices, answer, subject: text(SUBJECT).ok() })
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

/// Which choice is right: a number from 0, a letter, or the choice's own text.
fn answer(value: &Value, choices: &[String]) -> std::result::Result<usize, String> {
    let found = match value {
        Value::Number(number) => number.as_u64().and_then(|n| usize::try_from(n).ok()),
        Value::String(text) => choices
            .iter()
            .position(|choice| choice == text)
            .or_else(|| (0..choices.len()).find(|&i| text.trim().eq_ignore_ascii_case(&letter(i).to_string())))
            .or_else(|| text.trim().parse().ok()),
        _ => None,
    };
    found.filter(|&i| i < choices.len()).ok_or_else(|| {
        let last = choices.len() - 1;
        format!("'{ANSWER}' is {value}, expected 0 to {last}, A to {}, or one of the choices", letter(last))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_is_a_number_a_letter_or_the_choice() {
        let choices = ["5", "7", "b"].map(String::from);
        for (value, expected) in [(json!(2), 2), (json!("B"), 1), (json!("b"), 2), (json!("7"), 1), (json!("0"), 0)] {
            assert_eq!(answer(&value, &choices), Ok(expected), "{value}");
        }
        let told = answer(&json!(3), &choices).unwrap_err();
        assert_eq!(told, "'answer' is 3, expected 0 to 2, A to C, or one of the choices");
        assert!(answer(&json!(-1), &choices).is_err() && answer(&json!(null), &choices).is_err());
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
