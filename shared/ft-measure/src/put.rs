//! Questions in the words of lm-eval's tasks.

use std::fmt::Write;

use crate::format::Format;
use crate::letters::letter;
use crate::question::Question;

/// Between one example and the next.
const BETWEEN: &str = "\n\n";

/// All text up to where the answer begins: what the task is about, `shots` with their answers, the question.
pub(crate) fn context(format: Format, question: &Question, shots: &[&Question]) -> String {
    let mut text = match (&question.subject, format) {
        (Some(subject), Format::Mmlu) => about(subject),
        _ => String::new(),
    };
    for shot in shots {
        // Writing to a string cannot fail.
        let _ = write!(text, "{} {}{BETWEEN}", asked(format, shot), target(format, shot, shot.answer));
    }
    text + &asked(format, question)
}

/// What a choice goes on with, after a space.
pub(crate) fn target(format: Format, question: &Question, choice: usize) -> String {
    match format {
        Format::Letters | Format::Mmlu | Format::CommonsenseQa => letter(choice).to_string(),
        _ => question.choices[choice].clone(),
    }
}

/// The line that stands before questions about a subject.
pub(crate) fn about(subject: &str) -> String {
    let subject = subject.replace('_', " ");
    format!("The following are multiple choice questions (with answers) about {subject}.{BETWEEN}")
}

/// A question with its choices by letter.
pub(crate) fn by_letter(question: &Question) -> String {
    let mut text = question.text.trim().to_owned();
    for (i, choice) in question.choices.iter().enumerate() {
        let _ = write!(text, "\n{}. {choice}", letter(i));
    }
    text + "\nAnswer:"
}

fn asked(format: Format, question: &Question) -> String {
    match format {
        Format::Letters | Format::Mmlu => by_letter(question),
        Format::CommonsenseQa => format!("Question: {}", by_letter(question)),
        Format::Hellaswag => question.text.clone(),
        Format::Boolq => format!("{}\nAnswer:", question.text),
        Format::Text | Format::Arc | Format::Piqa => format!("Question: {}\nAnswer:", question.text),
    }
}
