//! Which files of a repository a model needs.

use crate::error::{Error, Result};
use crate::name::{GgufFile, Name};

/// Beside the weights: what a model, its tokenizer and its template are read from.
const WITH_WEIGHTS: [&str; 10] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
];
const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// Of all files of a repository, those that are downloaded for this name.
///
/// # Errors
/// If none is a model's, or the GGUF file that is asked for is not one.
pub(crate) fn needed(name: &Name, all: &[String]) -> Result<Vec<String>> {
    match &name.file {
        None => folder(name, all),
        Some(GgufFile::Path(path)) if all.contains(path) => Ok(vec![path.clone()]),
        Some(GgufFile::Path(path)) => Err(no_file(name, &format!("no file '{path}'"), &ggufs(all))),
        Some(GgufFile::Quantization(tag)) => {
            let says = |file: &&String| says(file, tag);
            let found: Vec<String> = ggufs(all).into_iter().filter(says).cloned().collect();
            match found.len() {
                1 => Ok(found),
                0 => Err(no_file(name, &format!("no GGUF file of type {tag}"), &ggufs(all))),
                _ => {
                    Err(no_file(name, &format!("several GGUF files of type {tag}"), &found.iter().collect::<Vec<_>>()))
                }
            }
        }
    }
}

/// A model's folder: safetensors, in one file or in parts, and what stands beside them; nothing from folders below.
fn folder(name: &Name, all: &[String]) -> Result<Vec<String>> {
    let has = |file: &str| all.iter().any(|other| other == file);
    let is_part = |file: &String| file.starts_with("model-") && file.ends_with(".safetensors") && !file.contains('/');
    let mut weights: Vec<String> = if has(INDEX) {
        all.iter().filter(|file| is_part(file)).cloned().chain([INDEX.to_owned()]).collect()
    } else if has(SINGLE) {
        vec![SINGLE.into()]
    } else {
        Vec::new()
    };
    if weights.is_empty() || !has("config.json") {
        let what = "no config.json with model.safetensors, in one file or in parts";
        return Err(no_file(name, what, &ggufs(all)));
    }
    weights.extend(WITH_WEIGHTS.into_iter().filter(|file| has(file)).map(str::to_owned));
    Ok(weights)
}

fn ggufs(all: &[String]) -> Vec<&String> {
    all.iter().filter(|file| file.to_ascii_lowercase().ends_with(".gguf")).collect()
}

/// Whether a GGUF file's name has this type as a word: `name.Q8_0.gguf`, `name-q8_0.gguf`.
pub(crate) fn says(file: &str, tag: &str) -> bool {
    let (file, tag) = (file.to_ascii_lowercase(), tag.to_ascii_lowercase());
    let Some(stem) = file.strip_suffix(".gguf") else { return false };
    let edge = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_');
    let alone = |at: usize| edge(stem[..at].chars().next_back()) && edge(stem[at + tag.len()..].chars().next());
    stem.match_indices(&tag).any(|(at, _)| alone(at))
}

fn no_file(name: &Name, what: &str, ggufs: &[&String]) -> Error {
    let some: Vec<&str> = ggufs.iter().take(8).map(|file| file.as_str()).collect();
    let there = match some[..] {
        [] => String::new(),
        _ => format!("; its GGUF files: {}", some.join(", ")),
    };
    Error::NoFile { name: name.to_string(), what: format!("{what}{there}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[&str]) -> Vec<String> {
        files.iter().map(|&file| file.to_owned()).collect()
    }

    #[test]
    fn a_folder_is_its_weights_and_what_stands_beside_them() {
        let all = names(&[
            ".gitattributes",
            "README.md",
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "original/model.pth",
            "pytorch_model.bin",
            "tokenizer.json",
            "onnx/model.onnx",
        ]);
        let found = needed(&Name::parse("a/b").unwrap(), &all).unwrap();
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(found.contains(&"tokenizer.json".into()) && !found.iter().any(|file| file.contains('/')));
        let told = needed(&Name::parse("a/b").unwrap(), &names(&["b.Q8_0.gguf"])).unwrap_err().to_string();
        assert!(told.contains("no config.json") && told.contains("b.Q8_0.gguf"), "{told}");
    }

    #[test]
    fn a_type_is_a_word_of_the_file_name() {
        let all = names(&["b.Q4_K_M.gguf", "b.Q4_K_S.gguf", "b-IQ4_K.gguf", "b-q8_0.gguf", "q8_0.txt"]);
        let found = |tag: &str| needed(&Name::parse(&format!("a/b:{tag}")).unwrap(), &all);
        assert_eq!(found("q4_k_m").unwrap(), ["b.Q4_K_M.gguf"]);
        assert_eq!(found("Q8_0").unwrap(), ["b-q8_0.gguf"]);
        assert!(found("Q4_K").is_err());
    }
}
