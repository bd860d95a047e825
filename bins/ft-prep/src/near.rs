//! Texts that are nearly the same: the share of their three-word runs that both have (Jaccard similarity), candidates for
//! which are found by `MinHash` and bands (Broder 1997; Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.4).

use std::collections::HashMap;

use ft_table::shapes::Example;
use twox_hash::XxHash64;

use crate::random::{mixed, nth};

/// Words of a shingle.
const WORDS: usize = 3;
/// Hashes of a signature.
const HASHES: usize = 128;
/// Two texts at the threshold are candidates with at least this probability.
const RECALL: f64 = 0.99;

/// The distinct shingles of an example, hashed, in ascending order: of all that is said but the system message, which
/// examples of one source have in common.
pub fn shingles(example: &Example) -> Box<[u32]> {
    let messages = example.messages.iter().filter(|message| message.role != "system");
    let said = messages.flat_map(|m| [m.content.clone(), m.tool_calls.as_ref().map(ToString::to_string)]);
    let texts: Vec<String> = said.chain([example.text.clone()]).flatten().collect();
    shingles_of(texts.iter().map(String::as_str))
}

/// The shingles of texts one behind the other.
pub fn shingles_of<'a>(texts: impl Iterator<Item = &'a str>) -> Box<[u32]> {
    let mut words = Vec::new();
    texts.for_each(|text| add_words(text, &mut words));
    let runs = words.windows(WORDS.min(words.len()).max(1));
    let hash = |run: &[u64]| (run.iter().fold(0, |hash, word| mixed(hash ^ word)) >> 32) as u32;
    let mut found: Vec<u32> = runs.map(hash).collect();
    found.sort_unstable();
    found.dedup();
    found.into_boxed_slice()
}

/// Hashes of words in lower case; a sign of a script without spaces is a word.
fn add_words(text: &str, words: &mut Vec<u64>) {
    let mut word = String::new();
    let mut end = |word: &mut String| {
        if !word.is_empty() {
            words.push(XxHash64::oneshot(0, word.as_bytes()));
            word.clear();
        }
    };
    for c in text.chars() {
        let stands_alone = ('\u{2e80}'..'\u{ac00}').contains(&c) || c >= '\u{20000}';
        if !c.is_alphanumeric() || stands_alone {
            end(&mut word);
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        if stands_alone {
            end(&mut word);
        }
    }
    end(&mut word);
}

/// The share of the shingles of either that both have; 1 for two without any.
pub fn similarity(a: &[u32], b: &[u32]) -> f64 {
    let (mut i, mut j, mut both) = (0, 0, 0_usize);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => (i, j, both) = (i + 1, j + 1, both + 1),
        }
    }
    let either = a.len() + b.len() - both;
    if either == 0 { 1.0 } else { both as f64 / either as f64 }
}

/// Texts that were put into it, found again by nearness. About 1 KB a text, and 4 bytes a word.
pub struct Index {
    threshold: f64,
    /// Hashes of a band.
    rows: usize,
    seeds: Vec<u64>,
    /// The last text of each bucket, and what stood there before.
    heads: HashMap<u64, u32>,
    /// One text and the entry before it in its bucket, for each band of each text.
    entries: Vec<(u32, u32)>,
    texts: Vec<Box<[u32]>>,
}

/// No entry.
const NONE: u32 = u32::MAX;

impl Index {
    /// An empty index that finds what is at least as near as `threshold`, in (0, 1].
    pub fn new(threshold: f64) -> Self {
        let found = |rows: i32| 1.0 - (1.0 - threshold.powi(rows)).powi(HASHES as i32 / rows);
        let rows = [32, 16, 8, 4, 2].into_iter().find(|&rows| found(rows) >= RECALL).unwrap_or(1);
        let seeds = (0..HASHES as u64).map(|n| nth(0, n)).collect();
        let (heads, entries, texts) = (HashMap::new(), Vec::new(), Vec::new());
        Self { threshold, rows: rows as usize, seeds, heads, entries, texts }
    }

    /// All texts near `shingles`, by their number, with their similarity.
    pub fn near(&self, shingles: &[u32]) -> Vec<(usize, f64)> {
        let mut candidates = Vec::new();
        for key in self.keys(shingles) {
            let mut entry = self.heads.get(&key).copied().unwrap_or(NONE);
            while entry != NONE {
                let (text, before) = self.entries[entry as usize];
                candidates.push(text);
                entry = before;
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        let all = candidates.into_iter().filter_map(|number| {
            let text = &*self.texts[number as usize];
            let (short, long) = (text.len().min(shingles.len()), text.len().max(shingles.len()));
            // No two are nearer than their sizes.
            let may_be = short as f64 >= self.threshold * long as f64;
            let found = if may_be { similarity(text, shingles) } else { 0.0 };
            (found >= self.threshold).then_some((number as usize, found))
        });
        all.collect()
    }

    /// The nearest text; of equals the first.
    pub fn nearest(&self, shingles: &[u32]) -> Option<(usize, f64)> {
        self.near(shingles).into_iter().reduce(|best, found| if found.1 > best.1 { found } else { best })
    }

    /// Puts a text in, and gives its number.
    pub fn insert(&mut self, shingles: Box<[u32]>) -> usize {
        let number = self.texts.len();
        for key in self.keys(&shingles) {
            let before = self.heads.insert(key, self.entries.len() as u32).unwrap_or(NONE);
            self.entries.push((number as u32, before));
        }
        self.texts.push(shingles);
        number
    }

    /// One key for each band of the signature.
    fn keys(&self, shingles: &[u32]) -> Vec<u64> {
        let least = |seed: &u64| shingles.iter().map(|&shingle| mixed(u64::from(shingle) ^ seed)).min().unwrap_or(0);
        let signature: Vec<u64> = self.seeds.iter().map(least).collect();
        let bands = signature.chunks(self.rows).enumerate();
        bands.map(|(band, part)| part.iter().fold(mixed(band as u64), |key, hash| mixed(key ^ hash))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Box<[u32]> {
        shingles_of([text].into_iter())
    }

    #[test]
    fn similarity_is_the_share_of_common_runs() {
        let (a, b) = (of("a b c d e f"), of("A, b; c d e x"));
        // abc bcd cde | def, dex
        assert!((similarity(&a, &b) - 3.0 / 5.0).abs() < 1e-12);
        assert_eq!(similarity(&of("hi"), &of("Hi!")), 1.0);
        assert_eq!(similarity(&of("hi"), &of("ho")), 0.0);
        assert_eq!(of("日本語の文").len(), 3);
        assert_eq!(similarity(&of(""), &of("")), 1.0);
    }

    /// A text of `n` words of which a share of one in `step` is its own.
    fn words(n: usize, step: usize, own: &str) -> Box<[u32]> {
        let word = |i: usize| if i % step == step / 2 { format!("{own}{i} ") } else { format!("w{i} ") };
        of(&(0..n).map(word).collect::<String>())
    }

    #[test]
    fn what_is_near_is_found_and_what_is_not_is_not() {
        for threshold in [0.5, 0.7, 0.8, 0.9] {
            let mut index = Index::new(threshold);
            let all: Vec<_> = (0..60).map(|i| words(300, 20 + i, &format!("x{i}"))).collect();
            all.iter().for_each(|text| _ = index.insert(text.clone()));
            let (mut near, mut found) = (0, 0);
            for (i, text) in all.iter().enumerate() {
                let by_hand: Vec<_> = (0..all.len()).filter(|&j| similarity(text, &all[j]) >= threshold).collect();
                let by_index: Vec<_> = index.near(text).into_iter().map(|(j, _)| j).collect();
                assert!(by_index.contains(&i) && by_index.iter().all(|j| by_hand.contains(j)));
                (near, found) = (near + by_hand.len(), found + by_index.len());
            }
            assert!(found as f64 >= 0.99 * near as f64, "{threshold}: {found} of {near}");
            assert_eq!(index.nearest(&all[7]), Some((7, 1.0)));
            assert_eq!(index.nearest(&of("nothing of the kind")), None);
        }
    }
}
