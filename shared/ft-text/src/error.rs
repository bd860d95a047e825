//! The one error type of this crate.

use std::path::{Path, PathBuf};

/// What can go wrong between a row of messages and its tokens.
///
/// Messages name the file and say what to do; callers add the row.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the model could not be opened or read.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
    /// A file was read but is not what its name says.
    #[error("{path}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
    /// The model has no tokenizer where one is looked for.
    #[error("{path}: no tokenizer: {reason}")]
    NoTokenizer {
        /// The model's folder or file.
        path: PathBuf,
        /// Which files or keys were looked for.
        reason: String,
    },
    /// The tokenizer is of a kind that this program cannot build.
    #[error("{path}: tokenizer not supported: {reason}")]
    UnsupportedTokenizer {
        /// The model's file.
        path: PathBuf,
        /// The kind that was found and those that are known.
        reason: String,
    },
    /// The chat template does not parse.
    #[error("chat template: line {line}: {reason}")]
    TemplateSyntax {
        /// The line in the template, from 1.
        line: usize,
        /// The parser's own words.
        reason: String,
    },
    /// The chat template refused the messages or failed while it ran.
    #[error("chat template: {0}")]
    Template(String),
    /// A turn's span cannot be found, since the rendering of the messages before
    /// it is not how the rendering of the whole conversation begins.
    #[error(
        "cannot tell where message {message} begins: the template renders the messages before it \
         differently when it follows (they part at byte {at}), as templates do that leave out earlier \
         thoughts; --expand-turns makes an example of each answer, and a template that marks the \
         assistant's text with {{% generation %}} has no such limit"
    )]
    PrefixDiffers {
        /// The message, from 0.
        message: usize,
        /// The first byte of the rendering that differs.
        at: usize,
    },
    /// The generation prompt is not how the assistant's turn begins, as of a template that opens thoughts which the
    /// answer has not.
    #[error(
        "message {message} does not begin as the template asks for it: the generation prompt goes on with {opens:?}, the \
         message with {found:?}; give its thoughts as reasoning_content, or set the template's own variable (such as \
         --template-kwarg enable_thinking=false), or take another --chat-template"
    )]
    PromptDiffers {
        /// The message, from 0.
        message: usize,
        /// What the generation prompt has from where they part.
        opens: String,
        /// What the conversation has there.
        found: String,
    },
    /// The text could not be cut into tokens.
    #[error("tokenizer: {0}")]
    Encode(String),
    /// Tokens were made with another tokenizer than the model's.
    #[error(
        "{name}: its tokens were made with another tokenizer ({made}…) than that of '{}' ({own}…); \
         make them again with 'ft-template --model {}'",
        model.display(),
        model.display()
    )]
    OtherTokenizer {
        /// The tokens' file.
        name: String,
        /// The beginning of the fingerprint that the file gives.
        made: String,
        /// The model.
        model: PathBuf,
        /// The beginning of its tokenizer's fingerprint.
        own: String,
    },
    /// The rendered text begins with two begin-of-sequence tokens.
    #[error(
        "the text begins with two begin-of-sequence tokens ({token}): the template adds one \
         already; take it out of the message or of the template"
    )]
    DoubleBos {
        /// The token's text.
        token: String,
    },
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Attaches the file to an I/O error.
    pub fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }

    /// A file that is not what its name says.
    pub fn malformed(path: &Path, reason: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_path_buf(), reason: reason.into() }
    }
}
