//! The bytes of an input, read, hashed and decompressed on a thread of their
//! own while the rows before them are parsed.

use std::io::{self, BufReader, ErrorKind, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use ft_io::{Sha256, Source};

use crate::encoding::{Decoded, TextEncoding, utf16};
use crate::error::Error;
use crate::foreign::is_binary;
use crate::gzip::GzipMembers;

const CHUNK: usize = 256 << 10;
/// Chunks that may wait to be parsed.
const AHEAD: usize = 16;
/// How long to wait for a slow input before a look at the signals.
const PATIENCE: Duration = Duration::from_millis(50);

enum Message {
    Bytes(Vec<u8>),
    /// The end, with the digest of the input as it lies there (compressed).
    End(String),
    Failed(io::Error),
}

/// A decompressed input.
pub(crate) struct ByteStream {
    name: String,
    messages: Receiver<Message>,
    /// Chunks that were used up go back to be filled again.
    used: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    position: usize,
    sha256: Option<String>,
}

impl ByteStream {
    /// Opens `source` and begins to read. Text of `encoding`, or UTF-16 where none is given, becomes UTF-8.
    pub fn open(source: &Source, encoding: Option<TextEncoding>) -> Result<Self, Error> {
        let input = source.open()?;
        let (sender, messages) = sync_channel(AHEAD);
        let (used, spare) = channel();
        let outlet = Outlet { sender, spare };
        let name = source.name();
        let failed = |source| Error::Read { name: name.clone(), source };
        thread::Builder::new().name("read".into()).spawn(move || pump(input, encoding, &outlet)).map_err(failed)?;
        Ok(Self { name: source.name(), messages, used, chunk: Vec::new(), position: 0, sha256: None })
    }

    /// The input as the user named it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What comes next, without taking it; empty at the end.
    pub fn peek(&mut self) -> Result<&[u8], Error> {
        if self.position == self.chunk.len() {
            self.receive()?;
        }
        Ok(&self.chunk[self.position..])
    }

    /// Takes `n` of the bytes that [`ByteStream::peek`] showed.
    pub fn skip(&mut self, n: usize) {
        self.position += n;
    }

    /// Appends what comes next to `buffer`; false at the end.
    pub fn append_to(&mut self, buffer: &mut Vec<u8>) -> Result<bool, Error> {
        self.peek()?;
        buffer.extend_from_slice(&self.chunk[self.position..]);
        let any = self.position < self.chunk.len();
        self.position = self.chunk.len();
        Ok(any)
    }

    /// SHA-256 of the whole input; reads what is left of it.
    pub fn sha256(&mut self) -> Result<String, Error> {
        while self.sha256.is_none() {
            self.receive()?;
        }
        Ok(self.sha256.clone().unwrap_or_default())
    }

    fn receive(&mut self) -> Result<(), Error> {
        // At the end nobody fills chunks any more.
        let _ = self.used.send(std::mem::take(&mut self.chunk));
        self.position = 0;
        if self.sha256.is_some() {
            return Ok(());
        }
        let lost = || Message::Failed(io::Error::other("the reading thread failed"));
        let message = loop {
            match self.messages.recv_timeout(PATIENCE) {
                Ok(message) => break message,
                Err(RecvTimeoutError::Timeout) => ft_io::interrupt::check()?,
                Err(RecvTimeoutError::Disconnected) => break lost(),
            }
        };
        match message {
            Message::Bytes(bytes) => self.chunk = bytes,
            Message::End(sha256) => self.sha256 = Some(sha256),
            Message::Failed(source) => {
                return Err(Error::Read { name: self.name.clone(), source });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
impl ByteStream {
    /// A stream of these chunks.
    pub fn of_chunks(chunks: &[&[u8]]) -> Self {
        let (sender, messages) = sync_channel(chunks.len() + 1);
        for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
            sender.send(Message::Bytes(chunk.to_vec())).unwrap();
        }
        sender.send(Message::End(String::new())).unwrap();
        let name = "test.csv".into();
        Self { name, messages, used: channel().0, chunk: Vec::new(), position: 0, sha256: None }
    }
}

impl Read for ByteStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let waiting = self.peek().map_err(|error| match error {
            Error::Read { source, .. } => source,
            other => io::Error::other(other),
        })?;
        let n = waiting.len().min(buffer.len());
        buffer[..n].copy_from_slice(&waiting[..n]);
        self.position += n;
        Ok(n)
    }
}

/// The input with its first bytes put back, hashed as it is read.
struct Raw {
    head: Vec<u8>,
    served: usize,
    input: Box<dyn Read + Send>,
    hash: Sha256,
}

impl Read for Raw {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let head = &self.head[self.served..];
        let n = if head.is_empty() {
            self.input.read(buffer)?
        } else {
            let n = head.len().min(buffer.len());
            buffer[..n].copy_from_slice(&head[..n]);
            self.served += n;
            n
        };
        self.hash.update(&buffer[..n]);
        Ok(n)
    }
}

/// The reading thread's ends of the channels.
struct Outlet {
    sender: SyncSender<Message>,
    spare: Receiver<Vec<u8>>,
}

impl Outlet {
    /// A chunk to fill: one that was used up, or a new one.
    fn chunk(&self) -> Vec<u8> {
        let mut chunk = self.spare.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        chunk
    }
}

/// The thread's work. A send fails only where nobody reads any more.
fn pump(input: Box<dyn Read + Send>, encoding: Option<TextEncoding>, outlet: &Outlet) {
    let end = match copy_all(input, encoding, outlet) {
        Ok(Some(sha256)) => Message::End(sha256),
        Ok(None) => return,
        Err(error) => Message::Failed(error),
    };
    let _ = outlet.sender.send(end);
}

/// Sends everything, then gives the digest; None where nobody reads any more.
fn copy_all(
    mut input: Box<dyn Read + Send>,
    encoding: Option<TextEncoding>,
    outlet: &Outlet,
) -> io::Result<Option<String>> {
    let mut head = vec![0; 4];
    let n = fill(&mut input, &mut head)?;
    head.truncate(n);
    let gzip = head.starts_with(&[0x1f, 0x8b]);
    let zstd = head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    let raw = Raw { head, served: 0, input, hash: Sha256::new() };
    let damaged = |kind: &str, error: io::Error| match error.raw_os_error() {
        Some(_) => error,
        None => io::Error::new(error.kind(), format!("its {kind} data is cut short or damaged ({error})")),
    };
    let rest = if gzip {
        let mut members = GzipMembers::new(raw);
        let sent = send_text(&mut members, encoding, outlet).map_err(|error| damaged("gzip", error))?;
        sent.then(|| members.into_inner()).transpose()?
    } else if zstd {
        let mut decoder = zstd::Decoder::new(raw)?;
        send_text(&mut decoder, encoding, outlet)
            .map_err(|error| damaged("zstd", error))?
            .then(|| BufReader::into_inner(decoder.finish()))
    } else {
        let mut raw = raw;
        send_text(&mut raw, encoding, outlet)?.then_some(raw)
    };
    let Some(mut raw) = rest else {
        return Ok(None);
    };
    io::copy(&mut raw, &mut io::sink())?;
    Ok(Some(raw.hash.finish()))
}

/// Sends what is read as UTF-8; false where nobody reads any more.
fn send_text(reader: &mut impl Read, encoding: Option<TextEncoding>, outlet: &Outlet) -> io::Result<bool> {
    let mut head = [0; 64];
    let n = fill(reader, &mut head)?;
    let head = &head[..n];
    let mut whole = head.chain(reader);
    let encoding = encoding.or_else(|| utf16(head)).filter(|encoding| !encoding.is_utf8() && !is_binary(head));
    match encoding {
        Some(encoding) => send_all(&mut Decoded::new(whole, encoding), outlet),
        None => send_all(&mut whole, outlet),
    }
}

/// Sends chunks to the end; false where nobody reads any more.
fn send_all(reader: &mut impl Read, outlet: &Outlet) -> io::Result<bool> {
    loop {
        let mut chunk = outlet.chunk();
        let n = fill(reader, &mut chunk)?;
        if n == 0 {
            return Ok(true);
        }
        chunk.truncate(n);
        if outlet.sender.send(Message::Bytes(chunk)).is_err() {
            return Ok(false);
        }
    }
}

/// Reads until `buffer` is full or the input ends.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
