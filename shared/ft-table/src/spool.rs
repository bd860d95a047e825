//! Inputs that a reader has to seek in: files as they are, pipes through an
//! unlinked temporary file.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use ft_io::{HashingReader, Source};

use crate::error::Error;
use crate::stream::ByteStream;

/// An input that can be sought, and what was read from it.
#[derive(Debug)]
pub(crate) struct Spooled {
    pub file: File,
    pub sha256: String,
    pub len: u64,
}

/// Opens `source` for seeking and hashes all of it. A pipe may be compressed.
pub(crate) fn spool(source: &Source) -> Result<Spooled, Error> {
    let regular = source.path().is_some_and(Path::is_file);
    if !regular {
        return spool_stream(ByteStream::open(source, None)?);
    }
    hash_in_place(source.open_file()?).map_err(|error| Error::Read { name: source.name(), source: error })
}

fn hash_in_place(file: File) -> io::Result<Spooled> {
    let mut reader = HashingReader::new(&file);
    let len = io::copy(&mut reader, &mut io::sink())?;
    let sha256 = reader.finish();
    (&file).seek(SeekFrom::Start(0))?;
    Ok(Spooled { file, sha256, len })
}

/// Copies a stream into an unlinked temporary file.
pub(crate) fn spool_stream(mut stream: ByteStream) -> Result<Spooled, Error> {
    let mut file = tempfile::tempfile().map_err(Error::Spill)?;
    let mut len = 0;
    loop {
        let chunk = stream.peek()?;
        let n = chunk.len();
        if n == 0 {
            break;
        }
        file.write_all(chunk).map_err(Error::Spill)?;
        len += n as u64;
        stream.skip(n);
    }
    file.seek(SeekFrom::Start(0)).map_err(Error::Spill)?;
    Ok(Spooled { file, sha256: stream.sha256()?, len })
}
