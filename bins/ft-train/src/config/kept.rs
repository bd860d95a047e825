//! Names that clap keeps.

/// A name that lives as long as the program, as clap asks for. The command is made once, so they are few.
pub fn kept(name: String) -> &'static str {
    Box::leak(name.into_boxed_str())
}
