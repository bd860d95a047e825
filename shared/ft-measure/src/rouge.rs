//! ROUGE-L (C.-Y. Lin, "ROUGE: a package for automatic evaluation of summaries", 2004), as the package rouge-score has it
//! without stemming.

/// The F measure of the longest common subsequence of the texts' words: lower case, of letters a to z and digits, all else
/// being between words. 0 where a text has no words.
pub fn rouge_l(answer: &str, reference: &str) -> f64 {
    let (answer, reference) = (answer.to_lowercase(), reference.to_lowercase());
    let (found, wanted) = (words(&answer), words(&reference));
    let common = longest_common(&found, &wanted);
    if common == 0 {
        return 0.0;
    }
    let (precision, recall) = (common as f64 / found.len() as f64, common as f64 / wanted.len() as f64);
    2.0 * precision * recall / (precision + recall)
}

fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit())).filter(|word| !word.is_empty()).collect()
}

/// How many words the longest common subsequence has.
fn longest_common(a: &[&str], b: &[&str]) -> usize {
    // The lengths for the words of `a` so far, by how many of `b` count.
    let mut lengths = vec![0; b.len() + 1];
    for word in a {
        let mut above_left = 0;
        for (j, other) in b.iter().enumerate() {
            let above = lengths[j + 1];
            lengths[j + 1] = if word == other { above_left + 1 } else { above.max(lengths[j]) };
            above_left = above;
        }
    }
    lengths[b.len()]
}
