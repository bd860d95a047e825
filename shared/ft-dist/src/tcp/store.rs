//! The part of torch's TCPStore protocol that ranks need to find each other under torchrun.
//!
//! torchrun's agent keeps a store on the master port, so rank 0 cannot listen there. A client says one validating
//! number first, then commands: a byte, then lengths as 64-bit numbers and bytes, all little-endian. Only `SET`,
//! `WAIT` and `GET` are used; both backends of the store (libuv and the older one) know them.

use std::io::{self, Write};
use std::net::{IpAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::address::connect;
use super::wire::{await_word, fill, left};
use crate::error::{Error, Result};

const VALIDATE: u8 = 0;
const SET: u8 = 1;
const GET: u8 = 3;
const WAIT: u8 = 6;

/// The number that a store's client starts with.
const MAGIC: u32 = 0x3C85_F7CE;

/// What `WAIT` answers once the key is there.
const STOP_WAITING: u8 = 0;

/// More than any address.
const LONGEST: u64 = 4096;

/// A connection to a TCPStore.
pub struct Store {
    stream: TcpStream,
    place: String,
    called_off: fn() -> bool,
}

impl Store {
    /// Connects, trying again until the deadline.
    pub fn connect(host: &str, port: u16, deadline: Instant, called_off: fn() -> bool) -> Result<Self> {
        let place = format!("{host}:{port}");
        let stream = loop {
            match connect(host, port, deadline) {
                Ok(stream) => break stream,
                Err(e) if left(deadline).is_err() => {
                    return Err(Error::Setup(format!("torchrun's store at {place} cannot be reached: {e}")));
                }
                Err(_) if called_off() => return Err(Error::CalledOff),
                Err(_) => thread::sleep(Duration::from_millis(100)),
            }
        };
        let store = Self { stream, place, called_off };
        let mut hello = vec![VALIDATE];
        hello.extend(MAGIC.to_le_bytes());
        store.send(&hello, deadline).map_err(|e| store.fault(&e))?;
        Ok(store)
    }

    /// The address by which this machine reached the store.
    pub fn local_ip(&self) -> Result<IpAddr> {
        let address = self.stream.local_addr().map_err(|e| self.fault(&e))?;
        Ok(address.ip().to_canonical())
    }

    /// Sets a key.
    pub fn set(&self, key: &str, value: &str, deadline: Instant) -> Result<()> {
        let mut command = vec![SET];
        text(&mut command, key);
        text(&mut command, value);
        self.send(&command, deadline).map_err(|e| self.fault(&e))
    }

    /// Waits for a key and returns its value.
    pub fn get(&self, key: &str, deadline: Instant) -> Result<String> {
        let mut command = vec![WAIT];
        command.extend(1u64.to_le_bytes());
        text(&mut command, key);
        let answer = self.send(&command, deadline);
        let answer = answer.and_then(|()| await_word(&self.stream, deadline, self.called_off));
        let answer = answer.and_then(|()| self.receive::<1>(deadline));
        match answer {
            Ok([STOP_WAITING]) => {}
            Ok([other]) => return Err(self.strange(&format!("answered {other} to a wait"))),
            Err(_) if (self.called_off)() => return Err(Error::CalledOff),
            Err(e) if e.kind() == io::ErrorKind::TimedOut => {
                return Err(Error::Setup(format!(
                    "rank 0 did not write {key} to torchrun's store at {} in time; is it running?",
                    self.place
                )));
            }
            Err(e) => return Err(self.fault(&e)),
        }
        let mut command = vec![GET];
        text(&mut command, key);
        let len = self.send(&command, deadline).and_then(|()| self.receive::<8>(deadline));
        let len = u64::from_le_bytes(len.map_err(|e| self.fault(&e))?);
        if len > LONGEST {
            return Err(self.strange(&format!("has {len} bytes under {key}")));
        }
        let mut value = vec![0; len as usize];
        fill(&self.stream, &mut value, deadline).map_err(|e| self.fault(&e))?;
        String::from_utf8(value).map_err(|_| self.strange(&format!("has no text under {key}")))
    }

    fn send(&self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        self.stream.set_write_timeout(Some(left(deadline)?))?;
        (&self.stream).write_all(bytes)
    }

    fn receive<const N: usize>(&self, deadline: Instant) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        fill(&self.stream, &mut bytes, deadline)?;
        Ok(bytes)
    }

    fn fault(&self, error: &io::Error) -> Error {
        Error::Setup(format!("torchrun's store at {} does not answer: {error}", self.place))
    }

    fn strange(&self, what: &str) -> Error {
        Error::Setup(format!("what listens at {} is no TCPStore of torchrun: it {what}", self.place))
    }
}

/// Appends a text's length and bytes.
fn text(command: &mut Vec<u8>, text: &str) {
    command.extend((text.len() as u64).to_le_bytes());
    command.extend(text.as_bytes());
}
