//! What becomes of the rows, in numbers.

use std::collections::BTreeMap;

use ft_table::shapes::Reason;
use serde_json::{Map, Value};

/// Rows read, kept and dropped.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Rows read.
    pub read: u64,
    /// Rows kept.
    pub kept: u64,
    dropped: BTreeMap<Reason, u64>,
}

impl Counts {
    /// Counts a row that is left out.
    pub fn drop_row(&mut self, why: Reason) {
        *self.dropped.entry(why).or_default() += 1;
    }

    /// Rows dropped for any reason.
    pub fn dropped(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// The reasons that occurred as a JSON object.
    pub fn to_json(&self) -> Map<String, Value> {
        self.dropped.iter().map(|(why, &n)| (why.to_string(), n.into())).collect()
    }

    /// One line for people: `5 rows read, 3 kept, 2 dropped (duplicate 2)`.
    pub fn line(&self) -> String {
        let reasons: Vec<_> = self.dropped.iter().map(|(why, n)| format!("{why} {n}")).collect();
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
        counts.drop_row(Reason::Duplicate);
        counts.drop_row(Reason::EmptyOutput);
        let told = "3 rows read, 1 kept, 2 dropped (empty answer 1, duplicate 1)";
        assert_eq!(counts.line(), told);
    }
}
