//! One value of a file.

/// One value, with the name of its key as messages write it.
#[derive(Debug, Clone)]
pub struct Given {
    pub key: String,
    pub word: String,
}
