//! Why a row is left out, and how often.

use serde_json::{Map, Value};

/// A reason to leave a row out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// The question is missing or blank.
    EmptyInput,
    /// The answer is missing or blank.
    EmptyOutput,
    /// The conversation has no messages.
    NoMessages,
    /// No message is the assistant's.
    NoAnswer,
    /// A message is not text: an image, a call of a tool.
    NotText,
    /// The same messages came before.
    Duplicate,
}

const ALL: [Drop; 6] =
    [Drop::EmptyInput, Drop::EmptyOutput, Drop::NoMessages, Drop::NoAnswer, Drop::NotText, Drop::Duplicate];

impl Drop {
    /// The reason in words.
    pub fn reason(self) -> &'static str {
        match self {
            Self::EmptyInput => "empty question",
            Self::EmptyOutput => "empty answer",
            Self::NoMessages => "no messages",
            Self::NoAnswer => "no message of the assistant",
            Self::NotText => "a message that is not text",
            Self::Duplicate => "duplicate",
        }
    }
}

/// Rows read, kept and dropped.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Rows read.
    pub read: u64,
    /// Rows kept.
    pub kept: u64,
    dropped: [u64; ALL.len()],
}

impl Counts {
    /// Counts a row that is left out.
    pub fn drop_row(&mut self, why: Drop) {
        self.dropped[why as usize] += 1;
    }

    /// Rows dropped for any reason.
    pub fn dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// The reasons that occurred, with their counts.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = ALL.iter().zip(self.dropped);
        all.filter(|(_, n)| *n > 0).map(|(why, n)| (why.reason(), n))
    }

    /// The reasons as a JSON object.
    pub fn to_json(&self) -> Map<String, Value> {
        self.reasons().map(|(why, n)| (why.to_owned(), n.into())).collect()
    }

    /// One line for people: `5 rows read, 3 kept, 2 dropped (duplicate 2)`.
    pub fn line(&self) -> String {
        let reasons: Vec<_> = self.reasons().map(|(why, n)| format!("{why} {n}")).collect();
        let mut line = format!("{} rows read, {} kept, {} dropped", self.read, self.kept, self.dropped());
        if !reasons.is_empty() {
            line = format!("{line} ({})", reasons.join(", "));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reasons_that_occurred_are_told() {
        let mut counts = Counts { read: 3, kept: 1, ..Counts::default() };
        counts.drop_row(Drop::Duplicate);
        counts.drop_row(Drop::EmptyOutput);
        let told = "3 rows read, 1 kept, 2 dropped (empty answer 1, duplicate 1)";
        assert_eq!(counts.line(), told);
        for (i, why) in ALL.into_iter().enumerate() {
            assert_eq!(why as usize, i);
        }
    }
}
