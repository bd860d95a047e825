//! What every file has.

/// The first bytes of every GGUF file.
pub const MAGIC: &[u8; 4] = b"GGUF";

/// Where tensors begin, unless the file says otherwise: at a multiple of so many bytes.
pub(super) const ALIGNMENT: u64 = 32;
