//! Gzip as it occurs: files glued together, and padding behind them.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;

/// The text of all members of a gzip file. Zeroes behind one are padding, as tapes and some tools leave it.
pub(crate) struct GzipMembers<R: Read> {
    /// None only after an error.
    member: Option<GzDecoder<BufReader<R>>>,
}

impl<R: Read> GzipMembers<R> {
    pub fn new(input: R) -> Self {
        Self { member: Some(GzDecoder::new(BufReader::with_capacity(CHUNK, input))) }
    }

    /// The input, read to its end.
    pub fn into_inner(self) -> io::Result<R> {
        let member = self.member.ok_or_else(|| io::Error::other("its gzip data was not read to the end"))?;
        Ok(member.into_inner().into_inner())
    }
}

impl<R: Read> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let n = member.read(buffer)?;
            if n > 0 || buffer.is_empty() || !skip_padding(member.get_mut())? {
                return Ok(n);
            }
            self.member = self.member.take().map(|member| GzDecoder::new(member.into_inner()));
        }
        Ok(0)
    }
}

/// Passes zeroes; whether anything comes behind them.
fn skip_padding(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let waiting = input.fill_buf()?;
        let zeroes = waiting.iter().take_while(|byte| **byte == 0).count();
        if zeroes < waiting.len() || waiting.is_empty() {
            let more = !waiting.is_empty();
            input.consume(zeroes);
            return Ok(more);
        }
        input.consume(zeroes);
    }
}
