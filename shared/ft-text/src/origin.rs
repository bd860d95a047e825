//! Whether tokens were made with a model's tokenizer.

use std::path::Path;

use crate::error::{Error, Result};

/// The key of a file's metadata under which `ft-template` writes the fingerprint of its tokenizer.
pub const TOKENIZER_KEY: &str = "ft.tokenizer_sha256";

/// The key of the template's text, under which it goes with the tokens, the adapter and the merged model.
pub const TEMPLATE_KEY: &str = "ft.chat_template";
/// The key of the text of the template for conversations with tools, where that is another.
pub const TOOL_TEMPLATE_KEY: &str = "ft.chat_template.tool_use";
/// The key of the digest of both, [`crate::ChatTemplate::sha256`].
pub const TEMPLATE_DIGEST_KEY: &str = "ft.chat_template_sha256";
/// The key of the system text that rows without one of their own were given.
pub const SYSTEM_KEY: &str = "ft.system";
/// The key of the prefix of the user's messages.
pub const PREFIX_KEY: &str = "ft.prefix";
/// The key of the form of the user's messages.
pub const USER_FORMAT_KEY: &str = "ft.user_format";
/// The key of the ids that end an answer, a JSON list.
pub const END_IDS_KEY: &str = "ft.end_ids";

/// The keys of what goes from the tokens to the adapter: how a prompt must look for the model to know it.
pub const TRAVELLING: [&str; 7] =
    [TEMPLATE_KEY, TOOL_TEMPLATE_KEY, TEMPLATE_DIGEST_KEY, SYSTEM_KEY, PREFIX_KEY, USER_FORMAT_KEY, END_IDS_KEY];

/// What is known of where tokens come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// They were made with the model's tokenizer.
    Same,
    /// Their file does not say.
    Unsaid,
    /// The model has no tokenizer to compare with.
    NoTokenizer,
}

/// Compares the fingerprint that the tokens of `name` were `made` with to that of `model`
/// ([`crate::fingerprint()`]).
///
/// # Errors
/// [`Error::OtherTokenizer`] if they differ.
pub fn compare(name: &str, made: Option<&str>, model: &Path, fingerprint: Option<&str>) -> Result<Origin> {
    match (made, fingerprint) {
        (Some(made), Some(own)) if made != own => Err(Error::OtherTokenizer {
            name: name.into(),
            made: short(made),
            model: model.to_path_buf(),
            own: short(own),
        }),
        (Some(_), Some(_)) => Ok(Origin::Same),
        (None, _) => Ok(Origin::Unsaid),
        (Some(_), None) => Ok(Origin::NoTokenizer),
    }
}

/// As much of a fingerprint as a person compares.
fn short(fingerprint: &str) -> String {
    fingerprint.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_tokenizer_is_refused_and_silence_is_not() {
        let model = Path::new("m.gguf");
        assert_eq!(compare("t", Some("aa"), model, Some("aa")).unwrap(), Origin::Same);
        assert_eq!(compare("t", None, model, Some("aa")).unwrap(), Origin::Unsaid);
        assert_eq!(compare("t", Some("aa"), model, None).unwrap(), Origin::NoTokenizer);
        let told = compare("t", Some("0123456789abcdef"), model, Some("ff")).unwrap_err().to_string();
        let expected = "t: its tokens were made with another tokenizer (0123456789ab…) than that of 'm.gguf' (ff…); \
                        make them again with 'ft-template --model m.gguf'";
        assert_eq!(told, expected);
    }
}
