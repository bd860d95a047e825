//! Whether a downloaded file is what the hub says it is.

use std::fs::File;
use std::io;
use std::path::Path;

use sha1::{Digest, Sha1};

/// Holds a file of the cache against the digest that is its name there: SHA-256 for large files, git's SHA-1 of the blob
/// for small ones. None where the name is no digest.
pub(crate) fn is_as_named(blob: &Path) -> io::Result<Option<bool>> {
    let name = blob.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !name.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(None);
    }
    match name.len() {
        64 => Ok(Some(ft_io::sha256_file(blob)?.eq_ignore_ascii_case(&name))),
        40 => Ok(Some(git_blob(blob)?.eq_ignore_ascii_case(&name))),
        _ => Ok(None),
    }
}

/// The digest that git gives a file's contents.
fn git_blob(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", file.metadata()?.len()));
    io::copy(&mut file, &mut hash)?;
    Ok(format!("{:x}", hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_named_as_git_names_it() {
        let dir = tempfile::tempdir().unwrap();
        // `printf 'hello\n' | git hash-object --stdin`
        let path = dir.path().join("ce013625030ba8dba906f756967f9e9ca394464a");
        std::fs::write(&path, "hello\n").unwrap();
        assert_eq!(is_as_named(&path).unwrap(), Some(true));
        std::fs::write(&path, "hallo\n").unwrap();
        assert_eq!(is_as_named(&path).unwrap(), Some(false));
    }
}
