//! ROUGE-L and BLEU, against rouge-score and sacrebleu.

use std::path::Path;

use ft_measure::{Bleu, rouge_l};
use serde_json::Value;

fn reference() -> (Vec<[String; 2]>, Value) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/text_scores/reference.json");
    let all: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    (serde_json::from_value(all["pairs"].clone()).unwrap(), all)
}

#[test]
fn rouge_l_is_rouge_scores() {
    let (pairs, all) = reference();
    for ([answer, reference], expected) in pairs.iter().zip(all["rouge_l"].as_array().unwrap()) {
        let found = rouge_l(answer, reference);
        assert!((found - expected.as_f64().unwrap()).abs() < 1e-12, "{answer:?}: {found}, expected {expected}");
    }
}

#[test]
fn bleu_is_sacrebleus() {
    let (pairs, all) = reference();
    for corpus in all["bleu"].as_array().unwrap() {
        let mut bleu = Bleu::default();
        for i in serde_json::from_value::<Vec<usize>>(corpus["pairs"].clone()).unwrap() {
            bleu.add(&pairs[i][0], &pairs[i][1]);
        }
        let (found, expected) = (bleu.score(), corpus["score"].as_f64().unwrap());
        assert!((found - expected).abs() < 1e-9, "{}: {found}, expected {expected}", corpus["pairs"]);
    }
}
