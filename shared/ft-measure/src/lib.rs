//! What `ft-eval` measures, for Rust: losses of labelled rows, answers to prompts and how well they agree with their
//! references, and choices among the answers of a question.
//!
//! - [`LabelledRows`] and [`Losses`]: the loss, perplexity and accuracy of the next token.
//! - [`Prompts`], [`Sampler`] and [`Answers`]: generated text, and [`score()`] of it.
//! - [`Questions`], [`Asker`], [`Likelihoods`] and [`Tally`]: multiple choice, as lm-eval has it.
//!
//! Each of the three is an iterator over batches, so that the caller sees every result as it comes and may stop.

mod answer_column;
mod answers;
mod ask;
mod error;
mod format;
mod letters;
mod likelihoods;
mod loss;
mod prompts;
mod questions;
mod sampling;
mod score;
mod tally;
mod tokens;

pub use answers::{AnswerSummary, Answers, Prediction};
pub use ask::{Asked, Asker};
pub use error::{Error, Result};
pub use format::Format;
pub use letters::letter;
pub use likelihoods::Likelihoods;
pub use loss::{LossSummary, Losses};
pub use prompts::Prompts;
pub use questions::{Question, Questions};
pub use sampling::Sampler;
pub use score::score;
pub use tally::{Share, Shares, Tally};
pub use tokens::{LabelledRows, check_tokenizer};
