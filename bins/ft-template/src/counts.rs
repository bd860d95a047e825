//! What happened to the rows.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use crate::parts::Parts;
use crate::row::Row;

/// Numbers for the summary.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    pub read: u64,
    pub kept: u64,
    pub tokens: u64,
    pub labelled: u64,
    /// Rows of which all that is learned ends in an end token.
    pub ending: u64,
    /// The first row of which that is not so, from 1, and the token that it ends in.
    pub open_end: Option<(u64, String)>,
    /// Rows of the input that became several.
    pub cut_up: u64,
    pub parts: Parts,
    pub longest: u64,
    pub overlong: Dropped,
    pub unlabelled: Dropped,
    pub bad: Dropped,
    pub truncated: u64,
    pub lost_tokens: u64,
    pub unread: Unread,
}

/// Fields of messages that are not read: in how many rows each is, and in which first.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Unread(BTreeMap<String, (u64, u64)>);

impl Unread {
    pub fn add(&mut self, field: &str, row: u64) {
        self.0.entry(field.to_owned()).or_insert((0, row)).0 += 1;
    }
}

impl AddAssign for Unread {
    /// `later` must come from later rows.
    fn add_assign(&mut self, later: Self) {
        for (field, (rows, first)) in later.0 {
            self.0.entry(field).or_insert((0, first)).0 += rows;
        }
    }
}

/// Rows that were left out, and the first of them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Dropped {
    pub rows: u64,
    /// Number, from 1, and reason.
    pub first: Option<(u64, String)>,
}

impl Dropped {
    pub fn add(&mut self, row: u64, reason: impl FnOnce() -> String) {
        self.rows += 1;
        self.first.get_or_insert_with(|| (row, reason()));
    }
}

impl AddAssign for Dropped {
    /// `later` must come from later rows.
    fn add_assign(&mut self, later: Self) {
        self.rows += later.rows;
        if self.first.is_none() {
            self.first = later.first;
        }
    }
}

impl AddAssign for Counts {
    /// `later` must come from later rows.
    fn add_assign(&mut self, later: Self) {
        self.read += later.read;
        self.kept += later.kept;
        self.tokens += later.tokens;
        self.labelled += later.labelled;
        self.ending += later.ending;
        if self.open_end.is_none() {
            self.open_end = later.open_end;
        }
        self.cut_up += later.cut_up;
        self.parts += later.parts;
        self.longest = self.longest.max(later.longest);
        self.overlong += later.overlong;
        self.unlabelled += later.unlabelled;
        self.bad += later.bad;
        self.truncated += later.truncated;
        self.lost_tokens += later.lost_tokens;
        self.unread += later.unread;
    }
}

impl Counts {
    /// Counts a row that is kept, made of row `number` of the input.
    pub fn keep(&mut self, row: &Row, number: u64) {
        let tokens = row.tokens.ids.len() as u64;
        self.kept += 1;
        self.tokens += tokens;
        self.labelled += row.labels.iter().filter(|&&label| label != ft_io::IGNORE_INDEX).count() as u64;
        self.ending += u64::from(row.open_end.is_none());
        if let Some(token) = row.open_end.as_ref().filter(|_| self.open_end.is_none()) {
            self.open_end = Some((number, token.clone()));
        }
        self.parts += row.parts;
        self.longest = self.longest.max(tokens);
        self.truncated += u64::from(row.lost > 0);
        self.lost_tokens += row.lost as u64;
    }

    /// Says what was left out, and the numbers.
    pub fn report(&self, training: bool) {
        for (dropped, what) in [
            (&self.overlong, "over --max-seq-length"),
            (&self.unlabelled, "of which no token would be learned"),
            (&self.bad, "that cannot be used"),
        ] {
            if let Some((row, reason)) = &dropped.first {
                tracing::warn!("left out {} rows {what}; the first is row {row}: {reason}", dropped.rows);
            }
        }
        for (field, (rows, first)) in &self.unread.0 {
            tracing::warn!(
                "the field '{field}' of messages is not read; {rows} rows have it, row {first} is the first"
            );
        }
        if self.truncated > 0 {
            tracing::warn!("cut {} rows at --max-seq-length; {} tokens are lost", self.truncated, self.lost_tokens);
        }
        if training && self.kept > 0 && self.ending == 0 {
            tracing::warn!("no row ends in a labelled end token: the model will not learn where to stop");
        }
        tracing::info!(
            rows_read = self.read,
            rows = self.kept,
            tokens = self.tokens,
            labelled_tokens = self.labelled,
            rows_ending_in_labelled_end_token = self.ending,
            rows_cut_up = self.cut_up,
            system_tokens = self.parts.system,
            tool_tokens = self.parts.tools,
            prompt_tokens = self.parts.prompt,
            reasoning_tokens = self.parts.reasoning,
            answer_tokens = self.parts.answer,
            over_long = self.overlong.rows + self.truncated,
            lost_tokens = self.lost_tokens,
            longest = self.longest,
            "done:"
        );
    }
}
