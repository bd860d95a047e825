//! Questions as the model is asked them.

use std::fmt::Write;

use ft_model::batch::{IGNORE, Sequence};
use ft_text::{Encoder, Message, Scratch, TextModel};

use crate::error::{Error, Result};
use crate::format::Format;
use crate::questions::{Question, letter};

/// The tokens of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Up to where the answer begins.
    pub prompt: Vec<u32>,
    /// What each choice would go on with: a letter, or its own text.
    pub choices: Vec<Vec<u32>>,
}

impl Asked {
    /// The prompt with each of the choices, which alone are labelled.
    pub fn sequences(&self) -> impl Iterator<Item = Sequence> {
        self.choices.iter().map(|choice| {
            let unlabelled = std::iter::repeat_n(IGNORE, self.prompt.len());
            Sequence {
                input_ids: [self.prompt.as_slice(), choice].concat(),
                labels: unlabelled.chain(choice.iter().map(|&id| id as i32)).collect(),
            }
        })
    }

    /// How many tokens the model reads for it.
    pub fn tokens(&self, format: Format) -> usize {
        match format {
            Format::Letters => self.prompt.len(),
            Format::Text => self.choices.iter().map(|choice| self.prompt.len() + choice.len()).sum(),
        }
    }
}

/// Puts questions into a model's tokens.
pub struct Asker {
    text: TextModel,
    encoder: Encoder,
    format: Format,
}

impl Asker {
    /// With `plain`, the model's chat template is left aside.
    pub fn new(mut text: TextModel, format: Format, plain: bool) -> Self {
        if plain {
            text.template = None;
        }
        let encoder = Encoder::new(text.tokenizer.clone());
        Self { text, encoder, format }
    }

    /// Whether questions are asked in the model's chat template.
    pub fn uses_template(&self) -> bool {
        self.text.template.is_some()
    }

    /// The tokens of all questions.
    ///
    /// # Errors
    /// At the first question that cannot be put: the template refuses it, a choice has no tokens, or a letter is not
    /// one token.
    pub fn ask_all(&self, questions: &[Question]) -> Result<Vec<Asked>> {
        let mut scratch = Scratch::default();
        questions.iter().map(|q| self.ask(q, &mut scratch).map_err(|error| error.at(&q.place))).collect()
    }

    fn ask(&self, question: &Question, scratch: &mut Scratch) -> Result<Asked> {
        let prompt = match self.format {
            Format::Letters => listed(question),
            Format::Text if self.uses_template() => question.text.clone(),
            Format::Text => format!("Question: {}\nAnswer:", question.text),
        };
        let continuation = |i: usize| match self.format {
            Format::Letters => letter(i).to_string(),
            Format::Text => question.choices[i].clone(),
        };
        let mut choices = (0..question.choices.len())
            .map(|i| self.continuation(&continuation(i), scratch))
            .collect::<Result<Vec<_>>>()?;
        let mut prompt = self.prompt(prompt, scratch)?;
        if self.format == Format::Letters {
            // What all letters begin with, such as a space of its own, tells them not apart.
            let same = common_prefix(&choices);
            prompt.extend(choices[0].iter().take(same));
            choices.iter_mut().for_each(|ids| drop(ids.drain(..same)));
            if let Some(at) = choices.iter().position(|ids| ids.len() != 1) {
                let told = "is not one token to this tokenizer; compare the choices' texts instead (--format text)";
                return Err(Error::content(format!("the letter {}", letter(at)), told));
            }
        }
        Ok(Asked { prompt, choices })
    }

    /// The tokens up to where the answer begins.
    fn prompt(&self, text: String, scratch: &mut Scratch) -> Result<Vec<u32>> {
        let Some(template) = &self.text.template else {
            // As the tokenizer begins a text of its own, with a begin-of-sequence token where it has one.
            let encoding = self.text.tokenizer.encode(text, true).map_err(encode_failed)?;
            return Ok(encoding.get_ids().to_vec());
        };
        let rendered = template.render(&[Message::new("user", text)], true)?;
        Ok(self.encoder.encode(&rendered.text, scratch)?.ids)
    }

    /// The tokens of what follows the prompt: after a space in plain text.
    fn continuation(&self, text: &str, scratch: &mut Scratch) -> Result<Vec<u32>> {
        let text = if self.uses_template() { text.to_owned() } else { format!(" {text}") };
        let ids = self.encoder.encode(&text, scratch)?.ids;
        if ids.is_empty() {
            return Err(Error::content("a choice", "it has no tokens"));
        }
        Ok(ids)
    }
}

fn encode_failed(error: impl std::fmt::Display) -> Error {
    ft_text::Error::Encode(error.to_string()).into()
}

/// How many tokens all lists begin with alike.
fn common_prefix(lists: &[Vec<u32>]) -> usize {
    let first = lists.first().map_or(&[][..], Vec::as_slice);
    (0..first.len()).take_while(|&i| lists.iter().all(|list| list.get(i) == Some(&first[i]))).count()
}

/// The question with its choices by letter, in the words of MMLU's own evaluation.
fn listed(question: &Question) -> String {
    let mut text = String::new();
    if let Some(subject) = &question.subject {
        let subject = subject.replace('_', " ");
        text = format!("The following are multiple choice questions (with answers) about {subject}.\n\n");
    }
    text.push_str(question.text.trim());
    for (i, choice) in question.choices.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{}. {choice}", letter(i));
    }
    text + "\nAnswer:"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_put_as_mmlu_puts_it() {
        let question = Question {
            place: String::new(),
            text: " What is owed? ".into(),
            choices: vec!["Tax".into(), "Rent".into()],
            answer: 0,
            subject: Some("professional_accounting".into()),
        };
        let expected = "The following are multiple choice questions (with answers) about professional accounting.\n\n\
                        What is owed?\nA. Tax\nB. Rent\nAnswer:";
        assert_eq!(listed(&question), expected);
    }

    #[test]
    fn what_the_letters_share_belongs_to_the_question() {
        assert_eq!(common_prefix(&[vec![9, 1], vec![9, 2], vec![9, 3]]), 1);
        assert_eq!(common_prefix(&[vec![1], vec![2]]), 0);
        assert_eq!(common_prefix(&[]), 0);
    }

    #[test]
    fn only_the_choice_is_labelled() {
        let asked = Asked { prompt: vec![1, 2], choices: vec![vec![3], vec![4, 5]] };
        let labels: Vec<_> = asked.sequences().map(|s| s.labels).collect();
        assert_eq!(labels, [vec![-100, -100, 3], vec![-100, -100, 4, 5]]);
        assert_eq!((asked.tokens(Format::Letters), asked.tokens(Format::Text)), (2, 7));
    }
}
