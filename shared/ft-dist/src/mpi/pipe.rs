//! A stream of bytes between two ranks, made of MPI messages.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use super::raw::{Comm, Receiving, Sending};
use crate::transfer::Pipe;

/// The longest message. MPI counts in 32 bits, and every piece is copied to memory that MPI may keep, of which there
/// should be little.
const PIECE: usize = 1 << 20;

/// So many messages to one rank are on their way at a time: one is copied while another one travels.
const AHEAD: usize = 2;

const TAG: i32 = 1;

/// The stream to and from one rank on one communicator.
pub struct MpiPipe {
    comm: Arc<Comm>,
    other: usize,
    sending: VecDeque<Sending>,
    receiving: Option<Receiving>,
    /// The last message that came, how long it is, and how much of it was read.
    arrived: (Vec<u8>, usize, usize),
    spare: Vec<Vec<u8>>,
}

impl MpiPipe {
    pub fn new(comm: Arc<Comm>, other: usize) -> Self {
        let (sending, receiving, spare) = (VecDeque::new(), None, Vec::new());
        Self { comm, other, sending, receiving, arrived: (Vec::new(), 0, 0), spare }
    }

    /// Whether everything that was written has left. MPI moves nothing while nobody calls it.
    pub fn is_flushed(&mut self) -> io::Result<bool> {
        while let Some(first) = self.sending.front_mut() {
            let Some(buffer) = first.finished()? else { return Ok(false) };
            self.sending.pop_front();
            self.spare.push(buffer);
        }
        Ok(true)
    }

    /// Where `receive` can put the next message: a piece of full length.
    fn room(&mut self) -> Vec<u8> {
        let mut room = std::mem::take(&mut self.arrived.0);
        room.resize(PIECE, 0);
        room
    }
}

impl Pipe for MpiPipe {
    fn write(&mut self, head: &[u8], body: &[u8]) -> io::Result<usize> {
        if !self.is_flushed()? && self.sending.len() >= AHEAD {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut piece = self.spare.pop().unwrap_or_default();
        piece.clear();
        piece.extend_from_slice(&head[..head.len().min(PIECE)]);
        piece.extend_from_slice(&body[..body.len().min(PIECE - piece.len())]);
        let len = piece.len();
        self.sending.push_back(self.comm.send(piece, self.other, TAG)?);
        Ok(len)
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (_, len, read) = &self.arrived;
        if len == read {
            if self.receiving.is_none() {
                let room = self.room();
                self.receiving = Some(self.comm.receive(room, self.other, TAG)?);
            }
            let arrived = self.receiving.as_mut().map_or(Ok(None), Receiving::finished)?;
            let Some((buffer, len)) = arrived else { return Err(ErrorKind::WouldBlock.into()) };
            self.receiving = None;
            self.arrived = (buffer, len, 0);
        }
        let (buffer, len, read) = &mut self.arrived;
        let n = into.len().min(*len - *read);
        into[..n].copy_from_slice(&buffer[*read..*read + n]);
        *read += n;
        Ok(n)
    }
}
