//! Tokenizers of other models, where they were fetched: llama.cpp's vocabularies with
//! their reference texts, tokenizers of Hugging Face folders, and Gemma-3's, rebuilt from
//! its GGUF file. 'make templates' fetches them, makes the expected ids with transformers
//! (`scripts/make_tokenizer_cases.py`), and runs these.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ft_text::{Encoder, Scratch, TextModel};
use serde_json::Value as Json;

fn cache(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache").join(name)
}

fn opened(path: &Path) -> Result<(TextModel, f64), String> {
    let start = Instant::now();
    let model = TextModel::open(path).map_err(|e| e.to_string())?;
    Ok((model, start.elapsed().as_secs_f64()))
}

/// How many of `cases` (text, ids) come out equal; the others are printed.
fn equal<'a>(name: &str, model: &TextModel, cases: impl Iterator<Item = (&'a str, Vec<u32>)>) -> (usize, usize) {
    let encoder = Encoder::new(model.tokenizer.clone());
    let mut scratch = Scratch::default();
    let (mut same, mut total) = (0, 0);
    for (text, ids) in cases {
        let ours = encoder.encode(text, &mut scratch).unwrap();
        total += 1;
        let starts_ascend = ours.starts.is_sorted() && ours.starts.len() == ours.ids.len();
        if ours.ids == ids && starts_ascend {
            same += 1;
        } else {
            let at = ours.ids.iter().zip(&ids).take_while(|(a, b)| a == b).count();
            let near = |ids: &[u32]| ids[at.saturating_sub(2).min(ids.len())..(at + 6).min(ids.len())].to_vec();
            let shown: String = text.chars().take(80).collect();
            println!("{name}: {shown:?} parts at {at}: ours {:?}, theirs {:?}", near(&ours.ids), near(&ids));
        }
    }
    (same, total)
}

/// llama.cpp's reference cases: `ggml-vocab-X.gguf` with texts in `.inp` and ids in `.out`.
#[test]
#[ignore = "needs the vocabularies of 'scripts/fetch text': 'make templates' runs it"]
fn llama_cpps_vocabularies() {
    let mut files: Vec<PathBuf> = fs::read_dir(cache("text/vocab")).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "gguf"));
    files.sort();
    println!("{:<24} equal to llama.cpp's ids", "vocabulary");
    let (mut failed, mut passed) = (Vec::new(), 0);
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap().trim_start_matches("ggml-vocab-").to_owned();
        let model = match opened(&file) {
            Ok((model, _)) => model,
            Err(words) => {
                let words = words.split(": tokenizer not supported: ").last().unwrap_or_default().to_owned();
                println!("{name:<24} refused: {words}");
                continue;
            }
        };
        let Ok(texts) = fs::read_to_string(file.with_extension("gguf.inp")) else {
            println!("{name:<24} opened; there are no reference texts");
            continue;
        };
        let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
        let texts = texts.strip_suffix(&[""]).unwrap_or(&texts);
        let ids = fs::read_to_string(file.with_extension("gguf.out")).unwrap();
        let ids = ids.lines().map(|l| l.split_whitespace().map(|id| id.parse().unwrap()).collect());
        let (same, total) = equal(&name, &model, texts.iter().copied().zip(ids));
        assert_eq!(total, texts.len());
        println!("{name:<24} {same} of {total}");
        if same == total {
            passed += 1;
        } else {
            failed.push(name);
        }
    }
    assert!(failed.is_empty() && passed >= 12, "{failed:?} differ, {passed} are equal");
}

/// Folders with `tokenizer.json`, and Gemma-3's GGUF file, which has the tokens of the
/// folder `gemma3`. What is saved of the GGUF is left for Python to open.
#[test]
#[ignore = "needs the tokenizers of 'scripts/fetch text gemma': 'make templates' runs it"]
fn tokenizers_of_folders_and_of_gemmas_gguf() {
    let cases: Json = serde_json::from_slice(&fs::read(cache("text/tokenizer_cases.json")).unwrap()).unwrap();
    let gemma = cache("models/gemma-3-270m.Q4_K_M.gguf");
    let names = ["llama3", "llama3_1", "qwen3", "gemma3", "deepseek_v3"];
    let mut models: Vec<(&str, &str, PathBuf)> =
        names.iter().map(|name| (*name, *name, cache("text/tokenizers").join(name))).collect();
    models.push(("gemma-3-270m (GGUF)", "gemma3", gemma.clone()));
    println!("{:<24} {:>14} {:>10} {:>12}", "tokenizer", "equal ids", "opening", "100 kB");
    let mut differ = 0;
    for (name, ids, path) in models {
        let (model, seconds) = opened(&path).unwrap();
        let expected = cases["ids"][ids].as_array().unwrap();
        let texts = cases["texts"].as_array().unwrap().iter().map(|t| t.as_str().unwrap());
        let expected = expected.iter().map(|ids| serde_json::from_value(ids.clone()).unwrap());
        let (same, total) = equal(name, &model, texts.zip(expected));
        differ += total - same;
        let long = long_text();
        let start = Instant::now();
        let count = Encoder::new(model.tokenizer.clone()).encode(&long, &mut Scratch::default()).unwrap().ids.len();
        let took = start.elapsed().as_secs_f64();
        assert!(count > 1000 && took < 5.0, "{name}: {count} tokens in {took:.1} s");
        println!("{name:<24} {:>14} {seconds:>8.2} s {took:>10.2} s", format!("{same} of {total}"));
    }
    assert_eq!(differ, 0);
    let saved = cache("text/saved/gemma-3-270m");
    fs::create_dir_all(&saved).unwrap();
    let (model, _) = opened(&gemma).unwrap();
    model.save_tokenizer(&saved).unwrap();
    assert_eq!(ft_text::fingerprint(&saved).unwrap(), ft_text::fingerprint(&gemma).unwrap());
    // Other programs may run beside this.
    let seconds = (0..3).map(|_| opened(&gemma).unwrap().1).fold(f64::INFINITY, f64::min);
    assert!(seconds < 2.0, "{seconds:.2} s to open");
}

/// 100,000 characters without a space.
fn long_text() -> String {
    let mut state = 7_u32;
    let letter = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + (state >> 24) as u8 % 26)
    };
    (0..100_000).map(letter).collect()
}
