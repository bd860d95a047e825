//! BLEU (K. Papineni et al., "BLEU: a method for automatic evaluation of machine translation", 2002), as sacrebleu has it
//! unless told otherwise: `nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp`.

use std::collections::HashMap;
use std::sync::LazyLock;

use ft_kernels::math::{exp, log};
use regex::Regex;

/// The longest runs of words that are compared.
const ORDERS: usize = 4;

/// What many answers and their references have in common, added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bleu {
    /// Runs of 1 to 4 words that stand in the reference too, each as often as it does there at most.
    common: [usize; ORDERS],
    /// Runs of the answers.
    total: [usize; ORDERS],
    answer_words: usize,
    reference_words: usize,
}

impl Bleu {
    /// Adds an answer.
    pub fn add(&mut self, answer: &str, reference: &str) {
        let (answer, reference) = (tokenized(answer), tokenized(reference));
        let (answer, reference) = (words(&answer), words(&reference));
        self.answer_words += answer.len();
        self.reference_words += reference.len();
        for order in 1..=ORDERS {
            let mut left: HashMap<&[&str], usize> = HashMap::new();
            for run in reference.windows(order) {
                *left.entry(run).or_default() += 1;
            }
            for run in answer.windows(order) {
                self.total[order - 1] += 1;
                if let Some(count) = left.get_mut(run).filter(|count| **count > 0) {
                    *count -= 1;
                    self.common[order - 1] += 1;
                }
            }
        }
    }

    /// Between 0 and 100.
    pub fn score(&self) -> f64 {
        if self.common == [0; ORDERS] {
            return 0.0;
        }
        let mut halved = 1.0;
        let mut sum = 0.0;
        for (&common, &total) in self.common.iter().zip(&self.total) {
            // No answer is so long.
            if total == 0 {
                return 0.0;
            }
            let precision = if common == 0 {
                halved *= 2.0;
                100.0 / (halved * total as f64)
            } else {
                100.0 * common as f64 / total as f64
            };
            sum += log(precision);
        }
        let (answer, reference) = (self.answer_words as f64, self.reference_words as f64);
        let brevity = if answer < reference { exp(1.0 - reference / answer) } else { 1.0 };
        brevity * exp(sum / ORDERS as f64)
    }
}

/// Punctuation becomes words: the first of these wherever it stands, full stops and commas but between digits, a dash after a
/// digit.
static PUNCTUATION: LazyLock<Option<[(Regex, &str); 4]>> = LazyLock::new(|| {
    let rule = |pattern: &str| Regex::new(pattern).ok();
    Some([
        (rule(r"([{-~\[-` -&(-+:-@/])")?, " $1 "),
        (rule(r"([^0-9])([.,])")?, "$1 $2 "),
        (rule(r"([.,])([^0-9])")?, " $1 $2"),
        (rule(r"([0-9])(-)")?, "$1 $2 "),
    ])
});

/// sacrebleu's tokenizer `13a`, which is mteval-v13a's.
fn tokenized(text: &str) -> String {
    let mut text = text.trim_end_matches(is_space).replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    for (entity, character) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
        text = text.replace(entity, character);
    }
    text = format!(" {text} ");
    for (rule, with) in PUNCTUATION.iter().flatten() {
        text = rule.replace_all(&text, *with).into_owned();
    }
    text
}

fn words(text: &str) -> Vec<&str> {
    text.split(is_space).filter(|word| !word.is_empty()).collect()
}

/// What Python takes for a space.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}
