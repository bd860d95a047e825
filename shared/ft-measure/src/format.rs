//! How a multiple-choice question is put.

/// What stands for a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The choices are listed by letter, and the letters are compared.
    Letters,
    /// The texts of the choices are compared.
    Text,
}

impl Format {
    /// Its name in arguments and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Letters => "letters",
            Self::Text => "text",
        }
    }
}
