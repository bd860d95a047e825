//! Questions as the model is asked them.
//!
//! A question and each of its choices are cut into tokens together, as lm-eval does (`_encode_pair`), for what a text
//! begins with may change its tokens: a tokenizer of Llama 2's kind puts a mark before the first word of any text that
//! it is given alone. The choice's tokens are those of the joint text from where the choices part from the question.

use ft_io::IGNORE_INDEX;
use ft_model::batch::Sequence;
use ft_text::{ChatTemplate, Encoder, Message, Scratch, TextModel};

use crate::error::{Error, Result};
use crate::format::Format;
use crate::letters::letter;
use crate::plain::encode_plain;
use crate::put::{about, by_letter, context, target};
use crate::question::Question;
use crate::shots::Shots;

/// The tokens of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Where the question stands, for messages.
    pub place: String,
    /// Up to where the answer begins.
    pub prompt: Vec<u32>,
    /// What each choice would go on with: a letter, or its own text.
    pub choices: Vec<Vec<u32>>,
}

impl Asked {
    /// The prompt with each of the choices, which alone are labelled.
    pub fn sequences(&self) -> impl Iterator<Item = Sequence> {
        self.choices.iter().map(|choice| {
            let unlabelled = std::iter::repeat_n(IGNORE_INDEX, self.prompt.len());
            Sequence {
                input_ids: [self.prompt.as_slice(), choice].concat(),
                labels: unlabelled.chain(choice.iter().map(|&id| id as i32)).collect(),
            }
        })
    }

    /// Whether the token after the prompt tells the choices apart, so that one reading of the prompt is enough.
    pub fn is_by_letter(&self, format: Format) -> bool {
        format == Format::Letters || (format.is_task() && self.choices.iter().all(|choice| choice.len() == 1))
    }

    /// How many tokens the model reads for it.
    pub fn tokens(&self, format: Format) -> usize {
        if self.is_by_letter(format) {
            return self.prompt.len();
        }
        self.choices.iter().map(|choice| self.prompt.len() + choice.len()).sum()
    }
}

/// Puts questions into a model's tokens.
#[derive(Debug)]
pub struct Asker {
    text: TextModel,
    encoder: Encoder,
    format: Format,
}

impl Asker {
    /// With `plain`, and for lm-eval's tasks, the model's chat template is left aside.
    pub fn new(mut text: TextModel, format: Format, plain: bool) -> Self {
        if plain || format.is_task() {
            text.template = None;
        }
        let encoder = Encoder::new(text.tokenizer.clone());
        Self { text, encoder, format }
    }

    /// The digest of the chat template in which questions are asked.
    pub fn template(&self) -> Option<String> {
        self.text.template.as_ref().map(ChatTemplate::sha256)
    }

    /// Whether questions are asked in the model's chat template.
    pub fn uses_template(&self) -> bool {
        self.text.template.is_some()
    }

    /// The tokens of all questions; those of lm-eval's tasks stand after `shots`, if there are any.
    ///
    /// # Errors
    /// At the first question that cannot be put: the template refuses it, a choice has no tokens, a letter is not
    /// one token, or there are too few shots.
    pub fn ask_all(&self, questions: &[Question], mut shots: Option<&mut Shots>) -> Result<Vec<Asked>> {
        let mut scratch = Scratch::default();
        let mut ask = |question: &Question| {
            if !self.format.is_task() {
                return self.ask(question, &mut scratch);
            }
            let shots = shots.as_mut().map(|shots| shots.next(question)).transpose()?;
            self.ask_in_task(question, &shots.unwrap_or_default())
        };
        questions.iter().map(|q| ask(q).map_err(|error| error.at(&q.place))).collect()
    }

    /// As lm-eval cuts a context and what goes on with it (`_encode_pair`): spaces at the context's end go to what goes on,
    /// whose tokens are those of both together from as many on as the context has alone.
    fn ask_in_task(&self, question: &Question, shots: &[&Question]) -> Result<Asked> {
        let tokenizer = &self.text.tokenizer;
        let context = context(self.format, question, shots);
        let (before, spaces) = context.split_at(context.trim_end().len());
        let prompt = encode_plain(tokenizer, before)?;
        let choice = |i: usize| {
            let whole = encode_plain(tokenizer, &format!("{before}{spaces} {}", target(self.format, question, i)))?;
            Ok(whole.get(prompt.len()..).unwrap_or_default().to_vec())
        };
        let choices = (0..question.choices.len()).map(choice).collect::<Result<Vec<_>>>()?;
        self.check(prompt.len(), &choices)?;
        Ok(Asked { place: question.place.clone(), prompt, choices })
    }

    fn ask(&self, question: &Question, scratch: &mut Scratch) -> Result<Asked> {
        let text = self.text_before_the_answer(question)?;
        let prompt = self.encode(&text, scratch)?;
        // In plain text the answer is another word.
        let between = if self.uses_template() { "" } else { " " };
        let whole = |i: usize| match self.format {
            Format::Letters => format!("{text}{between}{}", letter(i)),
            _ => format!("{text}{between}{}", question.choices[i]),
        };
        let wholes =
            (0..question.choices.len()).map(|i| self.encode(&whole(i), scratch)).collect::<Result<Vec<_>>>()?;
        let mut alike: Vec<&[u32]> = wholes.iter().map(Vec::as_slice).collect();
        // What all letters begin with, such as a space of its own, tells them not apart; of texts all is compared.
        if self.format == Format::Text {
            alike.push(&prompt);
        }
        let begin = common_prefix(&alike);
        let choices: Vec<Vec<u32>> = wholes.iter().map(|ids| ids[begin..].to_vec()).collect();
        self.check(begin, &choices)?;
        Ok(Asked { place: question.place.clone(), prompt: wholes[0][..begin].to_vec(), choices })
    }

    /// Refuses what has no likelihood; the choices begin at token `begin`.
    fn check(&self, begin: usize, choices: &[Vec<u32>]) -> Result<()> {
        if begin == 0 {
            return Err(Error::content("the question", "it has no tokens before the answer"));
        }
        let place = |i: usize| match self.format {
            Format::Letters => format!("letter {}", letter(i)),
            _ => format!("choice {}", letter(i)),
        };
        if self.format == Format::Letters
            && let Some(at) = choices.iter().position(|ids| ids.len() != 1)
        {
            let told = "it is not one token to this tokenizer; use --format text";
            return Err(Error::content(place(at), told));
        }
        match choices.iter().position(Vec::is_empty) {
            Some(at) => Err(Error::content(place(at), "it has no tokens")),
            None => Ok(()),
        }
    }

    /// The text up to where the answer begins.
    fn text_before_the_answer(&self, question: &Question) -> Result<String> {
        let text = match self.format {
            Format::Letters => listed(question),
            _ if self.uses_template() => question.text.clone(),
            _ => format!("Question: {}\nAnswer:", question.text),
        };
        match &self.text.template {
            Some(template) => Ok(template.render(&[Message::new("user", text)], true)?.text),
            None => Ok(text),
        }
    }

    /// The tokens of a text: a rendered template has its own special tokens, plain text begins as the tokenizer begins
    /// a text, with a begin-of-sequence token where it has one.
    fn encode(&self, text: &str, scratch: &mut Scratch) -> Result<Vec<u32>> {
        if self.uses_template() {
            return Ok(self.encoder.encode(text, scratch)?.ids);
        }
        // An end-of-sequence token would stand between the question and what follows.
        encode_plain(&self.text.tokenizer, text)
    }
}

/// How many tokens all lists begin with alike.
fn common_prefix(lists: &[&[u32]]) -> usize {
    let first = lists.first().copied().unwrap_or(&[]);
    (0..first.len()).take_while(|&i| lists.iter().all(|list| list.get(i) == Some(&first[i]))).count()
}

/// The question with its choices by letter, in the words of MMLU's own evaluation.
fn listed(question: &Question) -> String {
    question.subject.as_deref().map(about).unwrap_or_default() + &by_letter(question)
}

#[cfg(test)]
mod tests;
