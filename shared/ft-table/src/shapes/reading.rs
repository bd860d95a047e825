//! How rows are read.

use std::str::FromStr;

use super::roles::Roles;

/// Which answer of a pair is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preference {
    /// The better one.
    Chosen,
    /// The other one.
    Rejected,
}

impl Preference {
    /// The column's name.
    pub fn column(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::Rejected => "rejected",
        }
    }
}

impl FromStr for Preference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Chosen, Self::Rejected]
            .into_iter()
            .find(|side| side.column() == text)
            .ok_or_else(|| "expected chosen or rejected".into())
    }
}

/// How rows are read.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The names of roles.
    pub roles: Roles,
    /// The system message of rows that have none.
    pub system: Option<String>,
    /// The side of preference pairs that is read.
    pub preference: Option<Preference>,
}
