//! What sampling leaves of logits, against transformers' logits processors.

use std::path::Path;

use ft_measure::{Sampling, distribution};
use serde_json::Value;

#[test]
fn what_may_be_drawn_and_how_likely_is_transformers() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/sampling/reference.json");
    let reference: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let mut compared = 0;
    for case in reference["cases"].as_array().unwrap() {
        let logits: Vec<f32> = serde_json::from_value(case["logits"].clone()).unwrap();
        let ids: Vec<u32> = serde_json::from_value(case["input_ids"].clone()).unwrap();
        for found in case["found"].as_array().unwrap() {
            let number = |key: &str| found["options"][key].as_f64();
            let sampling = Sampling {
                temperature: number("temperature").unwrap_or(1.0),
                top_k: number("top_k").map(|k| k as usize),
                top_p: number("top_p"),
                min_p: number("min_p"),
                repetition_penalty: number("repetition_penalty").unwrap_or(1.0),
            };
            let expected: Vec<(u32, f64)> = serde_json::from_value(found["left"].clone()).unwrap();
            let left = distribution(&sampling, &logits, &ids).unwrap();
            let near = |(a, b): (&(u32, f64), &(u32, f64))| a.0 == b.0 && (a.1 - b.1).abs() < 1e-6;
            assert!(left.len() == expected.len() && left.iter().zip(&expected).all(near), "{}", found["options"]);
            compared += 1;
        }
    }
    assert_eq!(compared, 48);
}
