//! Messages on sockets: framed JSON where ranks meet, and waits that end.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What every message starts with; whoever sends something else is no rank.
const MAGIC: [u8; 8] = *b"ft-dist1";

/// More than any honest message of the meeting: the addresses of 10,000 ranks.
const LONGEST: usize = 1 << 20;

/// Writes one message.
pub fn tell(stream: &TcpStream, message: &impl Serialize, deadline: Instant) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let mut frame = MAGIC.to_vec();
    frame.extend((text.len() as u32).to_le_bytes());
    frame.extend(text);
    stream.set_write_timeout(Some(left(deadline)?))?;
    let mut stream = stream;
    stream.write_all(&frame)
}

/// Reads one message. `InvalidData` where it is none.
pub fn hear<T: DeserializeOwned>(stream: &TcpStream, deadline: Instant) -> io::Result<T> {
    let mut head = [0; 12];
    fill(stream, &mut head, deadline)?;
    let (magic, len) = head.split_at(8);
    let len = len.iter().rev().fold(0, |len, &byte| len << 8 | usize::from(byte));
    if magic != MAGIC || len > LONGEST {
        return Err(io::Error::new(ErrorKind::InvalidData, "what came is no message of a rank"));
    }
    let mut text = vec![0; len];
    fill(stream, &mut text, deadline)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Reads exactly as much as `bytes` holds, however slowly it drips, until the deadline.
pub fn fill(mut stream: &TcpStream, bytes: &mut [u8], deadline: Instant) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut bytes[filled..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => filled += n,
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The time until the deadline, or the error that it is over.
pub fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Waits until one of them can be used, at most until the deadline. A signal is no reason to stop.
pub fn wait(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<()> {
    loop {
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
        });
        match poll(fds, timeout.as_ref()) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// How long a wait goes on before it is asked whether it was called off.
const ASKED_EVERY: Duration = Duration::from_millis(100);

/// The end of a wait that may be called off, from now: at most the deadline.
pub fn moment(deadline: Instant) -> Instant {
    deadline.min(Instant::now() + ASKED_EVERY)
}

/// Waits until something can be read. `TimedOut` after the deadline, `ConnectionAborted` where it was called off.
pub fn await_word(stream: &TcpStream, deadline: Instant, called_off: fn() -> bool) -> io::Result<()> {
    while !readable(stream, moment(deadline))? {
        left(deadline)?;
        if called_off() {
            return Err(ErrorKind::ConnectionAborted.into());
        }
    }
    Ok(())
}

/// Waits until something can be read, or the deadline is over.
pub fn readable(fd: &impl AsFd, deadline: Instant) -> io::Result<bool> {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    wait(&mut fds, Some(deadline))?;
    Ok(!fds[0].revents().is_empty())
}
