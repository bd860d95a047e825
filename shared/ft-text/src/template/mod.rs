//! Chat templates: the model's own Jinja, rendered as transformers renders it.

mod arguments;
mod beginnings;
mod blocks;
mod chat;
mod clock;
mod depth;
mod environment;
mod filters;
mod format;
mod generation;
mod instrument;
mod lazy;
mod message;
mod methods;
mod pyjson;
mod pyrepr;
mod pytext;
mod rendering;
mod rewrite;
mod tokens;
mod values;
mod variables;

pub(crate) use beginnings::Beginnings;
pub use chat::ChatTemplate;
pub(crate) use chat::{Conversation, digest};
pub use message::Message;
pub use rendering::Rendering;
pub use variables::Variables;

#[cfg(test)]
mod beginnings_tests;
#[cfg(test)]
mod tests;
