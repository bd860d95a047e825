//! How a model on the hub is named.

use std::fmt;

/// `org/name`, `org/name@revision`, `org/name/file.gguf`, `org/name:Q4_K_M`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// `org/name`
    pub repository: String,
    /// A branch, a tag or a commit; `main` where none is said.
    pub revision: String,
    /// Which of the repository's files, where it is one GGUF file.
    pub file: Option<GgufFile>,
}

/// Which GGUF file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GgufFile {
    /// By its path in the repository.
    Path(String),
    /// The one whose name says this type of numbers, in letters of either case.
    Quantization(String),
}

impl Name {
    /// Reads a name; none where it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let (text, quantization) = match text.split_once(':') {
            Some((text, tag)) if is_word(tag) => (text, Some(tag)),
            Some(_) => return None,
            None => (text, None),
        };
        let (text, revision) = match text.split_once('@') {
            // A revision may have slashes of its own; a file is named before it.
            Some((text, revision)) if !revision.is_empty() && revision.split('/').all(is_word) => (text, revision),
            Some(_) => return None,
            None => (text, "main"),
        };
        let parts: Vec<&str> = text.split('/').collect();
        if parts.len() < 2 || !parts.iter().all(|part| is_word(part)) {
            return None;
        }
        let file = match (parts.len(), quantization) {
            (2, None) => None,
            (2, Some(tag)) => Some(GgufFile::Quantization(tag.into())),
            (_, None) if text.to_ascii_lowercase().ends_with(".gguf") => Some(GgufFile::Path(parts[2..].join("/"))),
            _ => return None,
        };
        Some(Self { repository: parts[..2].join("/"), revision: revision.into(), file })
    }
}

/// What the hub allows in a part of a name.
fn is_word(part: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !part.is_empty() && part.chars().all(fits) && part != "." && part != ".." && !part.starts_with('-')
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(GgufFile::Path(path)) = &self.file {
            write!(f, "/{path}")?;
        }
        if self.revision != "main" {
            write!(f, "@{}", self.revision)?;
        }
        match &self.file {
            Some(GgufFile::Quantization(tag)) => write!(f, ":{tag}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_back() {
        for text in [
            "HuggingFaceTB/SmolLM2-135M",
            "org/name@v1.0",
            "org/name@refs/pr/3",
            "org/name:Q4_K_M",
            "org/name/name.Q8_0.gguf",
            "org/name/sub/name.gguf@abc",
        ] {
            assert_eq!(Name::parse(text).unwrap().to_string(), text);
        }
        let all = Name::parse("org/name@v1:Q8_0").unwrap();
        assert_eq!((all.revision.as_str(), all.file), ("v1", Some(GgufFile::Quantization("Q8_0".into()))));
    }

    #[test]
    fn paths_and_words_are_no_names() {
        for text in
            ["model", "./a/b", "../a", "/a/b", "a//b", "a/b/c", "a/b@", "a/b:", "a/../b", "-x/y", "a b/c", "a/b/"]
        {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }
}
