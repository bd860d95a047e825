pub use super::reference::attention_backward;
