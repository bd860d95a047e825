//! Text in, tokens out: tokenizers, chat templates and loss masks.
//!
//! - [`TextModel`] opens a model's tokenizer, chat template and special tokens, from
//!   a Hugging Face folder or a GGUF file.
//! - [`ChatTemplate`] renders messages as transformers does.
//! - [`render_labelled`] renders a conversation and tells which of its bytes are to
//!   be learned; [`Encoder`] cuts text into tokens and tells where each begins;
//!   [`label_tokens`] puts the two together.
//! - [`fingerprint`] tells two vocabularies apart without building a tokenizer.

mod encode;
mod error;
mod files;
mod fingerprint;
pub mod form;
mod labels;
mod model;
pub mod origin;
mod save;
mod special;
mod template;
mod tokenizer;
mod user_format;

pub use encode::{Encoded, Encoder, Scratch};
pub use error::{Error, Result};
pub use fingerprint::fingerprint;
pub use form::Form;
pub use labels::{LabelMode, LabelledText, forgets_earlier_turns, label_tokens, learned_turns, render_labelled};
pub use model::{SpecialToken, TextModel, decode};
pub use save::{TOKENIZER_FILES, save_tokenizer};
pub use template::{ChatTemplate, Message, Rendering, Variables};
pub use tokenizer::export::{KnownPre, PROBE, TokenizerExport};
pub use tokenizers::Tokenizer;
pub use user_format::UserFormat;
