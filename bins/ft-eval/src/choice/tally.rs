//! How many questions were answered right.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::args::Format;
use crate::questions::Question;
use crate::report::figure;

/// A share of questions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    pub right: usize,
    pub of: usize,
}

impl Share {
    fn add(&mut self, right: bool) {
        self.right += usize::from(right);
        self.of += 1;
    }

    pub fn value(self) -> f64 {
        self.right as f64 / self.of as f64
    }

    /// The standard error of the mean, from the sample's own variance, as lm-eval has it; not a number
    /// for a single question.
    pub fn standard_error(self) -> f64 {
        let p = self.value();
        (p * (1.0 - p) / (self.of as f64 - 1.0)).sqrt()
    }
}

/// The two ways to take the likeliest choice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shares {
    /// By likelihood.
    pub plain: Share,
    /// By likelihood a character of the choice's text, where texts are compared.
    pub by_length: Option<Share>,
}

/// What all questions came to, and those of each subject.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub all: Shares,
    subjects: BTreeMap<String, Shares>,
    /// Whether some question has no subject.
    unnamed: bool,
}

impl Tally {
    /// Counts the questions whose right choice has the greatest of its `likelihoods`.
    pub fn new(questions: &[Question], likelihoods: &[Vec<f64>], format: Format) -> Self {
        let mut tally = Self::default();
        for (question, likelihoods) in questions.iter().zip(likelihoods) {
            let plain = greatest(likelihoods.iter().copied()) == question.answer;
            let lengths = question.choices.iter().map(|choice| choice.chars().count().max(1) as f64);
            let by_length = (format == Format::Text)
                .then(|| greatest(likelihoods.iter().zip(lengths).map(|(l, n)| l / n)) == question.answer);
            let add = |shares: &mut Shares| {
                shares.plain.add(plain);
                if let Some(right) = by_length {
                    shares.by_length.get_or_insert_default().add(right);
                }
            };
            add(&mut tally.all);
            match &question.subject {
                Some(subject) => add(tally.subjects.entry(subject.clone()).or_default()),
                None => tally.unnamed = true,
            }
        }
        tally
    }

    /// `results` and `n-samples` as lm-eval writes them, under the task's `name`. Without one, questions
    /// with subjects are taken for MMLU's, and others called after their `file`. Where there are several
    /// subjects, each has its own entry too.
    pub fn as_lm_eval(&self, name: Option<&str>, file: &str) -> Map<String, Value> {
        let named = !self.unnamed && !self.subjects.is_empty();
        let group = name.unwrap_or(if named { "mmlu" } else { file });
        let of = |subject: &str| format!("{group}_{subject}");
        let mut tasks = Vec::new();
        match self.subjects.first_key_value() {
            Some((subject, _)) if named && self.subjects.len() == 1 && name.is_none() => {
                tasks.push((of(subject), self.all));
            }
            _ => tasks.push((group.to_owned(), self.all)),
        }
        if self.subjects.len() > 1 {
            tasks.extend(self.subjects.iter().map(|(subject, shares)| (of(subject), *shares)));
        }
        let mut results = Map::new();
        let mut samples = Map::new();
        for (task, shares) in tasks {
            results.insert(task.clone(), entry(&task, &shares));
            samples.insert(task, json!({"original": shares.plain.of, "effective": shares.plain.of}));
        }
        Map::from_iter([("results".to_owned(), results.into()), ("n-samples".to_owned(), samples.into())])
    }
}

fn entry(task: &str, shares: &Shares) -> Value {
    let mut entry = Map::new();
    entry.insert("alias".into(), json!(task));
    for (key, share) in [("acc", Some(shares.plain)), ("acc_norm", shares.by_length)] {
        if let Some(share) = share {
            entry.insert(format!("{key},none"), figure(share.value()));
            entry.insert(format!("{key}_stderr,none"), figure(share.standard_error()));
        }
    }
    entry.into()
}

/// The first of the greatest values.
fn greatest(values: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (i, value) in values.enumerate() {
        if value > best.1 {
            best = (i, value);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(answer: usize, subject: Option<&str>) -> Question {
        let choices = vec!["four".into(), "a much longer text".into()];
        Question { place: String::new(), text: "?".into(), choices, answer, subject: subject.map(Into::into) }
    }

    #[test]
    fn long_choices_are_not_held_against_the_model() {
        let questions = [question(1, None), question(0, None)];
        let tally = Tally::new(&questions, &[vec![-4.0, -9.0], vec![-2.0, -18.0]], Format::Text);
        assert_eq!(tally.all.plain, Share { right: 1, of: 2 });
        assert_eq!(tally.all.by_length, Some(Share { right: 2, of: 2 }));
        assert_eq!(tally.all.plain.standard_error(), 0.5);
    }

    #[test]
    fn results_have_lm_evals_keys() {
        let questions = [question(0, Some("law")), question(1, Some("art"))];
        let tally = Tally::new(&questions, &[vec![1.0, 0.0], vec![1.0, 1.0]], Format::Letters);
        let found = Value::from(tally.as_lm_eval(None, "file"));
        assert_eq!(found["results"]["mmlu"]["acc,none"], 0.5);
        assert_eq!(found["results"]["mmlu_law"]["acc,none"], 1.0);
        assert_eq!(found["results"]["mmlu_art"]["acc_stderr,none"], Value::Null);
        assert_eq!(found["n-samples"]["mmlu"]["effective"], 2);
        assert_eq!(found["results"]["mmlu"].get("acc_norm,none"), None);
        let tally = Tally::new(&questions[..1], &[vec![1.0, 0.0]], Format::Letters);
        assert!(tally.as_lm_eval(None, "file")["results"].get("mmlu_law").is_some());
        assert!(tally.as_lm_eval(Some("mine"), "file")["results"].get("mine").is_some());
        let tally = Tally::new(&[question(0, None)], &[vec![1.0, 0.0]], Format::Letters);
        assert!(tally.as_lm_eval(None, "file")["results"].get("file").is_some());
    }
}
