use std::path::{Path, PathBuf};

use super::*;
use crate::TextModel;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn tiny() -> Encoder {
    let model = TextModel::open(&workspace().join("testdata/tokenizer")).unwrap();
    Encoder::new(model.tokenizer)
}

/// The tiny vocabulary behind another family's way of cutting words.
fn with_pre_tokenizer(pre: &str, normalizer: &str) -> Encoder {
    let file = workspace().join("testdata/tokenizer/tokenizer.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    json["pre_tokenizer"] = serde_json::from_str(pre).unwrap();
    json["normalizer"] = serde_json::from_str(normalizer).unwrap();
    Encoder::new(Tokenizer::from_bytes(json.to_string()).unwrap())
}

/// Texts that hit every alternative of the patterns, from a fixed generator.
fn texts() -> Vec<String> {
    const PIECES: [&str; 34] = [
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "\u{a0}",
        "\u{3000}",
        "a",
        "Tax",
        "tax",
        "'s",
        "'LL",
        "'",
        "1",
        "23",
        "456",
        "\u{b2}",
        "\u{2167}",
        ".",
        "!?",
        "(",
        "é",
        "e\u{301}",
        "ß",
        "日本",
        "\u{1f600}",
        "\u{200d}",
        "<|im_end|>",
        "<|im_start|>",
        "<|im_",
        "/",
        "\u{1e9e}",
        "\u{301}",
        "ǅ",
    ];
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    (0..4000)
        .map(|_| {
            let pieces = random(24);
            (0..pieces).map(|_| PIECES[random(PIECES.len())]).collect()
        })
        .collect()
}

/// Ids must be `tokenizers`' own; so must starts, but that `tokenizers` may leave out
/// leading spaces and gives each of a character's tokens the whole character.
fn agrees_with_tokenizers(encoder: &Encoder) {
    assert!(encoder.is_fast());
    let mut scratch = Scratch::default();
    for text in texts() {
        let fast = encoder.encode(&text, &mut scratch).unwrap();
        let plain = encoder.encode_plainly(&text).unwrap();
        assert_eq!(fast.ids, plain.ids, "{text:?}");
        let mut end = text.len();
        for (&ours, &theirs) in fast.starts.iter().zip(&plain.starts).rev() {
            let (ours, theirs) = (ours as usize, theirs as usize);
            let spaces = theirs > ours && text[ours..theirs].chars().all(char::is_whitespace);
            let inside = theirs < ours && !text.is_char_boundary(ours);
            assert!(ours == theirs || spaces || inside, "{text:?}: {ours} against {theirs}");
            assert!(ours < end, "{text:?}: empty token at {ours}");
            end = ours;
        }
        assert!(text.is_empty() || end == 0, "{text:?}");
    }
}

const LINES: &str = r"|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

fn split(pattern: &str) -> String {
    format!(
        r#"{{"type":"Sequence","pretokenizers":[{{"type":"Split","pattern":{{"Regex":"{pattern}"}},
        "behavior":"Isolated","invert":false}},{{"type":"ByteLevel","add_prefix_space":false,
        "trim_offsets":true,"use_regex":false}}]}}"#
    )
}

#[test]
fn digits_and_gpt2() {
    agrees_with_tokenizers(&tiny());
}

#[test]
fn gpt2_alone() {
    let pre = r#"{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}"#;
    agrees_with_tokenizers(&with_pre_tokenizer(pre, "null"));
}

#[test]
fn llama3() {
    let pattern = format!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{{L}}\\p{{N}}]?\\p{{L}}+|\\p{{N}}{{1,3}}| ?[^\\s\\p{{L}}\\p{{N}}]+[\\r\\n]*{LINES}"
    );
    agrees_with_tokenizers(&with_pre_tokenizer(&split(&pattern), "null"));
}

#[test]
fn qwen2_with_its_normalizer() {
    let pattern = format!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{{L}}\\p{{N}}]?\\p{{L}}+|\\p{{N}}| ?[^\\s\\p{{L}}\\p{{N}}]+[\\r\\n]*{LINES}"
    );
    let encoder = with_pre_tokenizer(&split(&pattern), r#"{"type":"NFC"}"#);
    let mut scratch = Scratch::default();
    for text in texts() {
        let fast = encoder.encode(&text, &mut scratch).unwrap();
        assert_eq!(fast.ids, encoder.encode_plainly(&text).unwrap().ids, "{text:?}");
    }
}

#[test]
fn what_is_not_known_goes_through_tokenizers() {
    let pre = r#"{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}"#;
    assert!(!with_pre_tokenizer(pre, "null").is_fast());
    assert!(!with_pre_tokenizer(&split("a|b"), "null").is_fast());
    assert!(!with_pre_tokenizer(&split(&format!("a{LINES}")), r#"{"type":"Lowercase"}"#).is_fast());
}

#[test]
fn expected_ids_of_the_tiny_tokenizer() {
    let cases = std::fs::read(workspace().join("testdata/tokenizer/expected_tiny.json")).unwrap();
    let cases: Vec<(String, Vec<u32>)> = serde_json::from_slice(&cases).unwrap();
    let (encoder, mut scratch) = (tiny(), Scratch::default());
    for (text, ids) in cases {
        assert_eq!(encoder.encode(&text, &mut scratch).unwrap().ids, ids, "{text:?}");
    }
}
