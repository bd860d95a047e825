//! Why a row gives no example.

use std::fmt;

/// A reason to leave a row out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The question is missing or blank.
    EmptyInput,
    /// The answer is missing or blank.
    EmptyOutput,
    /// The text of a document is missing or blank.
    EmptyText,
    /// The conversation has no messages.
    NoMessages,
    /// No message is the assistant's.
    NoAnswer,
    /// A message says nothing and calls nothing.
    NoContent,
    /// A part of a message is no text.
    NotText(Part),
    /// The row does not have the header's number of fields.
    Ragged,
    /// The row is no JSON object.
    NotJson,
    /// The row's bytes are no text of the encoding.
    NotUtf8,
    /// The row cannot be understood.
    NotUnderstood,
    /// The same example came before.
    Duplicate,
    /// Nearly the same example came before.
    NearDuplicate,
}

/// What a part of a message is that is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// `image`, `image_url`, `input_image`.
    Image,
    /// `audio`, `audio_url`, `input_audio`.
    Audio,
    /// `video`, `video_url`.
    Video,
    /// `file`, `input_file`, `document`.
    File,
    /// Any other.
    Other,
}

impl Reason {
    /// The reason in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::EmptyInput => "empty question",
            Self::EmptyOutput => "empty answer",
            Self::EmptyText => "empty text",
            Self::NoMessages => "no messages",
            Self::NoAnswer => "no message of the assistant",
            Self::NoContent => "a message without content",
            Self::NotText(Part::Image) => "an image",
            Self::NotText(Part::Audio) => "audio",
            Self::NotText(Part::Video) => "a video",
            Self::NotText(Part::File) => "a file",
            Self::NotText(Part::Other) => "a part that is not text",
            Self::Ragged => "a ragged row",
            Self::NotJson => "not JSON",
            Self::NotUtf8 => "not UTF-8",
            Self::NotUnderstood => "not understood",
            Self::Duplicate => "duplicate",
            Self::NearDuplicate => "near duplicate",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// What became of a row that gives no example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is left out and counted.
    Drop(Reason),
    /// It cannot be understood, in words: an error, unless the user lets such rows go.
    Broken(String),
}

impl From<Reason> for Fault {
    fn from(why: Reason) -> Self {
        Self::Drop(why)
    }
}

/// A [`Fault::Broken`].
pub(super) fn broken<T>(told: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Broken(told.into()))
}
