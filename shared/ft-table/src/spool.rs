//! Inputs that a reader has to seek in: files as they are, pipes through an
//! unlinked temporary file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use ft_cli::{HashingReader, Sha256, Source};

use crate::error::Error;

/// An input that can be sought, and what was read from it.
#[derive(Debug)]
pub(crate) struct Spooled {
    pub file: File,
    pub sha256: String,
    pub len: u64,
}

/// Opens `source` for seeking and hashes all of it.
pub(crate) fn spool(source: &Source) -> Result<Spooled, Error> {
    let file = source.open_file()?;
    let failed = |source_error| Error::Read { name: source.name(), source: source_error };
    let regular = file.metadata().map_err(failed)?.is_file();
    if regular && source.path().is_some() {
        return hash_in_place(file).map_err(failed);
    }
    spool_reader(&source.name(), file)
}

fn hash_in_place(file: File) -> io::Result<Spooled> {
    let mut reader = HashingReader::new(&file);
    let len = io::copy(&mut reader, &mut io::sink())?;
    let sha256 = reader.finish();
    (&file).seek(SeekFrom::Start(0))?;
    Ok(Spooled { file, sha256, len })
}

/// Copies a stream named `name` into an unlinked temporary file.
pub(crate) fn spool_reader(name: &str, mut reader: impl Read) -> Result<Spooled, Error> {
    let mut file = tempfile::tempfile().map_err(Error::Spill)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut len = 0;
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(Error::Read { name: name.into(), source });
            }
        };
        hash.update(&buffer[..n]);
        file.write_all(&buffer[..n]).map_err(Error::Spill)?;
        len += n as u64;
    }
    file.seek(SeekFrom::Start(0)).map_err(Error::Spill)?;
    Ok(Spooled { file, sha256: hash.finish(), len })
}
