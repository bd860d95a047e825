//! What a column of right answers means: letters, the choices' own texts, or numbers from 0.
//!
//! One value may be read in several ways: `A` is the first choice's letter, and may be the text of the second. So it is
//! the whole column that says how it is meant.

use serde_json::Value;

use crate::letters::letter;

/// A way to read the column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The letter of a choice.
    Letter,
    /// The text of a choice.
    Text,
    /// The number of a choice, from 0.
    Number,
}

impl Reading {
    /// What it is of the choice.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Letter => "letter",
            Self::Text => "text",
            Self::Number => "number, from 0",
        }
    }
}

/// Which choice one row's value stands for, by each way to read it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Readings {
    letter: Option<usize>,
    text: Option<usize>,
    number: Option<usize>,
    /// Whether it is a number and no text.
    is_number: bool,
}

impl Readings {
    /// Of `value`, where these are the `choices`.
    pub(crate) fn new(value: &Value, choices: &[String]) -> Self {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Self::default(),
        };
        let trimmed = text.trim();
        let is_letter = |i: &usize| trimmed.eq_ignore_ascii_case(&letter(*i).to_string());
        Self {
            letter: (0..choices.len()).find(is_letter),
            text: choices.iter().position(|choice| *choice == text),
            number: trimmed.parse().ok().filter(|&i| i < choices.len()),
            is_number: value.is_number(),
        }
    }

    /// Which choice it is, by one way to read it.
    pub(crate) fn by(&self, reading: Reading) -> Option<usize> {
        match reading {
            Reading::Letter => self.letter,
            Reading::Text => self.text,
            Reading::Number => self.number,
        }
    }

    /// Which choice it is, where all ways that are possible say the same; else none.
    pub(crate) fn only(&self) -> Option<usize> {
        let mut found = [self.letter, self.text, self.number].into_iter().flatten();
        let first = found.next()?;
        found.all(|other| other == first).then_some(first)
    }

    /// Whether it is a choice in any way.
    pub(crate) fn is_some(&self) -> bool {
        self.letter.or(self.text).or(self.number).is_some()
    }
}

/// The way in which every row can be read: letters before the choices' texts, for a column of texts that happen to be
/// letters is rarer; and texts before numbers, unless the column holds numbers and no texts. None where every way
/// fails at some row.
pub(crate) fn of_column(rows: &[Readings]) -> Option<Reading> {
    let numbers = rows.iter().any(|row| row.is_number);
    let order = if numbers {
        [Reading::Letter, Reading::Number, Reading::Text]
    } else {
        [Reading::Letter, Reading::Text, Reading::Number]
    };
    order.into_iter().find(|&reading| rows.iter().all(|row| row.by(reading).is_some()))
}

/// Whether the rows could as well be read in another way, as other choices.
pub(crate) fn is_ambiguous(rows: &[Readings], taken: Reading) -> bool {
    [Reading::Letter, Reading::Text, Reading::Number].into_iter().any(|other| {
        let all = rows.iter().all(|row| row.by(other).is_some());
        all && rows.iter().any(|row| row.by(other) != row.by(taken))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn readings(rows: &[(Value, &[&str])]) -> Vec<Readings> {
        let owned = |choices: &[&str]| choices.iter().map(|&c| c.to_owned()).collect::<Vec<_>>();
        rows.iter().map(|(value, choices)| Readings::new(value, &owned(choices))).collect()
    }

    /// The choices that the column means, and whether it could mean others.
    fn meant(rows: &[(Value, &[&str])]) -> Option<(Vec<usize>, bool)> {
        let rows = readings(rows);
        let reading = of_column(&rows)?;
        Some((rows.iter().filter_map(|row| row.by(reading)).collect(), is_ambiguous(&rows, reading)))
    }

    #[test]
    fn a_letter_that_is_also_a_choices_text_means_what_its_column_means() {
        let blood: &[&str] = &["O", "A", "B", "AB"];
        let tax: &[&str] = &["Tax", "Rent"];
        assert_eq!(meant(&[(json!("A"), blood), (json!("B"), tax)]), Some((vec![0, 1], false)));
        assert_eq!(meant(&[(json!("A"), blood), (json!("Rent"), tax)]), Some((vec![1, 1], false)));
        assert_eq!(meant(&[(json!("A"), blood)]), Some((vec![0], true)));
        assert_eq!(meant(&[(json!("AB"), blood), (json!("A"), blood)]), Some((vec![3, 1], false)));
    }

    #[test]
    fn digits_are_texts_where_all_are_and_numbers_where_the_column_is_of_numbers() {
        let sums: &[&str] = &["3", "1", "2", "0"];
        assert_eq!(meant(&[(json!("1"), sums), (json!("3"), sums)]), Some((vec![1, 0], true)));
        assert_eq!(meant(&[(json!(1), sums), (json!(3), sums)]), Some((vec![1, 3], true)));
        assert_eq!(meant(&[(json!("1"), sums), (json!("0"), &["Tax", "Rent"])]), Some((vec![1, 0], false)));
        // Numbers that are out of range are the choices themselves.
        assert_eq!(meant(&[(json!(18), &["7", "18"]), (json!(1), &["1", "2"])]), Some((vec![1, 0], false)));
        assert_eq!(meant(&[(json!(2), &["x", "y"])]), None);
    }

    #[test]
    fn a_mixed_column_means_what_each_row_can_only_mean() {
        let rows = readings(&[
            (json!("b"), &["Tax", "Rent"]),
            (json!("Tax"), &["Tax", "Rent"]),
            (json!("b"), &["a", "c", "b"]),
        ]);
        assert_eq!(of_column(&rows), None);
        assert_eq!(rows.iter().map(Readings::only).collect::<Vec<_>>(), [Some(1), Some(0), None]);
        assert!(rows[2].is_some() && !Readings::new(&json!(null), &["x".into()]).is_some());
    }
}
