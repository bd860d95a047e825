//! How well an answer agrees with its reference: exact match and F1 of SQuAD (Rajpurkar et al., 2016,
//! section 6.1); and ROUGE-L.

use std::collections::HashMap;

use crate::rouge::rouge_l;

/// How well one answer agrees with its reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Whether the texts are equal but for case, punctuation and articles.
    pub exact_match: bool,
    /// The F1 of their words, without those too.
    pub f1: f64,
    /// ROUGE-L's F measure, [`rouge_l`].
    pub rouge_l: f64,
}

/// Holds an answer against its reference.
pub fn score(answer: &str, reference: &str) -> Score {
    let rouge_l = rouge_l(answer, reference);
    let (answer, reference) = (normalised(answer), normalised(reference));
    let (found, wanted): (Vec<&str>, Vec<&str>) = (words(&answer), words(&reference));
    Score { exact_match: found == wanted, f1: f1(&found, &wanted), rouge_l }
}

/// Lower case, without punctuation.
fn normalised(text: &str) -> String {
    text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect()
}

/// The words but for articles.
fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().filter(|word| !["a", "an", "the"].contains(word)).collect()
}

/// The harmonic mean of precision and recall over words, each counted as often as it occurs.
fn f1(found: &[&str], wanted: &[&str]) -> f64 {
    if found.is_empty() || wanted.is_empty() {
        return f64::from(u8::from(found.is_empty() && wanted.is_empty()));
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in wanted {
        *left.entry(word).or_default() += 1;
    }
    let shared = found.iter().filter(|word| left.get_mut(**word).is_some_and(take)).count();
    2.0 * shared as f64 / (found.len() + wanted.len()) as f64
}

/// Takes one away if there is one.
fn take(count: &mut usize) -> bool {
    let some = *count > 0;
    *count -= usize::from(some);
    some
}

#[cfg(test)]
mod tests {
    /// Exact match and F1.
    fn score(answer: &str, reference: &str) -> (bool, f64) {
        let score = super::score(answer, reference);
        (score.exact_match, score.f1)
    }

    #[test]
    fn case_punctuation_and_articles_do_not_count() {
        assert_eq!(score("The  answer: 42!", "answer 42"), (true, 1.0));
        assert_eq!(score("theatre", "atre"), (false, 0.0));
    }

    #[test]
    fn words_are_shared_as_often_as_they_occur() {
        // Two of three words are right, two of four are found: 2·2 / (3 + 4).
        let (exact, f1) = score("tax tax due", "tax due next year");
        assert!(!exact && (f1 - 4.0 / 7.0).abs() < 1e-12, "{f1}");
        assert_eq!(score("yes", "no"), (false, 0.0));
    }

    #[test]
    fn nothing_agrees_with_nothing_only() {
        assert_eq!(score("", "the"), (true, 1.0));
        assert_eq!(score("", "tax"), (false, 0.0));
    }
}
