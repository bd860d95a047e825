//! How a multiple-choice question is put.

/// What stands for a choice. The last six are tasks of lm-eval: their rows have the columns of its data sets, and what is
/// compared is what it compares, without a chat template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The choices are listed by letter, and the letters are compared.
    Letters,
    /// The texts of the choices are compared.
    Text,
    /// `mmlu`: choices by letter, under a line about the subject.
    Mmlu,
    /// `arc_easy`, `arc_challenge`: the texts of the choices.
    Arc,
    /// `hellaswag`: endings of a text.
    Hellaswag,
    /// `piqa`: two ways to reach a goal.
    Piqa,
    /// `boolq`: no or yes, after a passage.
    Boolq,
    /// `commonsense_qa`: choices by letter.
    CommonsenseQa,
}

impl Format {
    /// Its name in arguments and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Letters => "letters",
            Self::Text => "text",
            Self::Mmlu => "mmlu",
            Self::Arc => "arc",
            Self::Hellaswag => "hellaswag",
            Self::Piqa => "piqa",
            Self::Boolq => "boolq",
            Self::CommonsenseQa => "commonsense_qa",
        }
    }

    /// Whether it is a task of lm-eval.
    pub fn is_task(self) -> bool {
        !matches!(self, Self::Letters | Self::Text)
    }

    /// Whether the likeliest choice a character is told too: `acc_norm`.
    pub fn by_length(self) -> bool {
        matches!(self, Self::Text | Self::Arc | Self::Hellaswag | Self::Piqa)
    }
}
