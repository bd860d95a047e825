//! What can go wrong between a model's files and its numbers.

use std::path::{Path, PathBuf};

/// A model that cannot be read, does not fit, or cannot be computed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be opened, read or written.
    #[error("cannot {verb} '{}'", path.display())]
    Io {
        /// What was tried: `read` or `write`.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },

    /// A file is not what its name says, or not whole.
    #[error("'{}': {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what was expected.
        reason: String,
    },

    /// A folder holds no model that can be read here.
    #[error("'{}' is no model that can be read: {reason}", path.display())]
    NoModel {
        /// The path as given.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },

    /// A key of `config.json`, or of a GGUF file's metadata, is missing or of another type.
    #[error("'{key}' is {found}, expected {expected}")]
    Key {
        /// The key.
        key: String,
        /// Its value, or `missing`.
        found: String,
        /// What would do.
        expected: String,
    },

    /// The architecture is none that is implemented.
    #[error("the architecture '{found}' is not known here; {nearest}known are: {known}")]
    UnknownArchitecture {
        /// The name in the file.
        found: String,
        /// The known one whose name is most like it, in words; empty where none is.
        nearest: String,
        /// All names that are known.
        known: String,
    },

    /// A key changes the mathematics in a way that is not implemented.
    #[error("'{key}' is {value}, which changes the model's mathematics and is not implemented; expected {expected}")]
    Unsupported {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// The values that are implemented.
        expected: String,
    },

    /// A GGUF file cannot say something of the model, or llama.cpp would take it for another one.
    #[error("'{key}' is {value}, and a GGUF file can say nothing but {expected}; write a Hugging Face folder instead")]
    NotInGguf {
        /// The key of `config.json`, or the tensor.
        key: String,
        /// What the model has.
        value: String,
        /// What llama.cpp would take it for.
        expected: String,
    },

    /// An error about the contents of a file that its finder did not know.
    #[error("'{}'", path.display())]
    In {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: Box<Error>,
    },

    /// A checkpoint lacks a tensor.
    #[error("'{}' has no tensor '{tensor}', expected one of shape {expected:?}", path.display())]
    MissingTensor {
        /// The model.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The shape that its architecture asks for.
        expected: Vec<usize>,
    },

    /// A tensor's shape is not what the architecture asks for.
    #[error("'{}': the tensor '{tensor}' has the shape {found:?}, expected {expected:?}", path.display())]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The shape that its architecture asks for.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },

    /// A tensor's type is none that can be widened to f32.
    #[error("'{}': the tensor '{tensor}' is stored as {found}, which cannot be read here; expected {expected}", path.display())]
    TensorType {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The type in the file.
        found: String,
        /// The types that can be read.
        expected: &'static str,
    },

    /// A checkpoint holds a tensor that its architecture has no place for.
    #[error("'{}': the tensor '{tensor}' has no place in the architecture '{architecture}'; its config may name another model", path.display())]
    UnexpectedTensor {
        /// The model.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The architecture.
        architecture: String,
    },

    /// An adapter uses a feature of peft that is not implemented.
    #[error("the adapter's '{key}' is {value}, which is not implemented; expected {expected}")]
    AdapterFeature {
        /// The key of `adapter_config.json`.
        key: &'static str,
        /// Its value.
        value: String,
        /// The values that are implemented.
        expected: &'static str,
    },

    /// An adapter does not fit its own configuration or the base model.
    #[error("the adapter {0}")]
    Adapter(String),

    /// An adapter names a module that the model does not have.
    #[error("the adapter's module '{0}' is none that the model has")]
    Module(String),

    /// A layer was asked for that the model does not have.
    #[error("layer {index} was asked for, but the model has {layers}")]
    Layer {
        /// The layer, counted from 0.
        index: usize,
        /// How many there are.
        layers: usize,
    },

    /// Frozen weights were asked for in a type that they are not kept in.
    #[error("frozen weights are kept as f32, bf16 or f16, not as {0:?}")]
    FrozenType(candle_core::DType),

    /// A sequence is longer than the model's positions.
    #[error("{length} tokens, but the model takes {limit}; make the rows with 'ft-template --max-seq-length {limit}'")]
    TooLong {
        /// The sequence's tokens.
        length: usize,
        /// The model's positions.
        limit: usize,
    },

    /// A token lies outside the vocabulary.
    #[error("token {id}, but the model's vocabulary has {vocabulary}; were the rows made with another tokenizer?")]
    Token {
        /// The token.
        id: u32,
        /// The vocabulary's size.
        vocabulary: usize,
    },

    /// A prompt cannot be continued.
    #[error("prompt {number} {reason}")]
    Prompt {
        /// Which one, counted from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },

    /// No sequence of a step has a label, so there is no loss.
    #[error("no token of this step has a label, so there is no loss to train on")]
    NoLabel,

    /// An optimizer, or an option of one, is none that is implemented.
    #[error("the optimizer {0}")]
    Optimizer(String),

    /// A number that must be finite is not.
    #[error("{what} is {value}, expected a finite number")]
    NotFinite {
        /// What the number is.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The number, within the step, of the first sequence where it is not finite, if one by itself is the cause.
        sequence: Option<usize>,
    },

    /// What the model computes is not finite, so its weights or the adapter's are not, or are far too large.
    #[error(
        "{place} gives {value} for token {token} of a row, expected finite numbers; are its weights, or the adapter's, whole?"
    )]
    NotANumber {
        /// The part of the model that gives it: the embedding, or a layer by its name. What is not finite after the last
        /// layer is for those who know the row.
        place: String,
        /// What it gives.
        value: f32,
        /// For which of the tokens that were computed together, counted from 1.
        token: usize,
    },

    /// A backward gave a trained tensor a second gradient from one sequence.
    #[error(
        "the trained tensor '{tensor}' got a second gradient from sequence {sequence} of the step; this is a fault of the engine, please report the model and the command"
    )]
    GradientTwice {
        /// peft's name of the tensor.
        tensor: String,
        /// The sequence's number in the step.
        sequence: usize,
    },

    /// A backward left a trained tensor without a gradient from one sequence.
    #[error(
        "the trained tensor '{tensor}' got no gradient from sequence {sequence} of the step; this is a fault of the engine, please report the model and the command"
    )]
    GradientMissing {
        /// peft's name of the tensor.
        tensor: String,
        /// The sequence's number in the step.
        sequence: usize,
    },

    /// Another rank failed, or the ranks do not mean the same.
    #[error(transparent)]
    Ranks(#[from] ft_dist::Error),

    /// An operator failed.
    #[error(transparent)]
    Kernel(#[from] ft_kernels::Error),

    /// candle refused an operation.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// The result of anything that touches a model.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// `path` cannot be read.
    pub(crate) fn read(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { verb: "read", path: path.into(), source }
    }

    /// `path` cannot be written.
    pub(crate) fn write(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { verb: "write", path: path.into(), source }
    }

    /// `path` is not what its name says.
    pub(crate) fn malformed(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Malformed { path: path.into(), reason: reason.into() }
    }

    /// This error, found in `path`.
    pub(crate) fn within(self, path: &Path) -> Self {
        Self::In { path: path.to_path_buf(), source: Box::new(self) }
    }
}
