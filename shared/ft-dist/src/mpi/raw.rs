//! The few MPI calls that are needed, with buffers that MPI may hold for as long as it likes.
//!
//! MPI reads and writes the buffers of unfinished requests behind the compiler's back. Here every request owns its
//! buffer; one that is given up unfinished leaks it, so that MPI never touches memory that is somebody else's again.

#![allow(unsafe_code, reason = "bindings to C")]

use std::io;
use std::os::raw::c_int;

use mpi::ffi;
use mpi::raw::AsRaw;
use mpi::topology::{Communicator as _, SimpleCommunicator};

/// An MPI communicator.
pub struct Comm(SimpleCommunicator);

// SAFETY: the handle is a plain value, and MPI was started with MPI_THREAD_MULTIPLE, so that any thread may use it
// at any time. Nothing here makes two threads use one handle for the same peer and tag but under a lock.
unsafe impl Send for Comm {}
// SAFETY: as above.
unsafe impl Sync for Comm {}

/// A message on its way out.
pub struct Sending {
    request: Request,
    buffer: Vec<u8>,
}

/// A message on its way in.
pub struct Receiving {
    request: Request,
    buffer: Vec<u8>,
}

/// MPI's name of something unfinished; none once it is finished.
struct Request(Option<ffi::MPI_Request>);

// SAFETY: as for `Comm`: a handle that any thread may use.
unsafe impl Send for Request {}

impl Comm {
    /// Takes a communicator over, and lets its errors be returned instead of ending the process.
    pub fn new(comm: SimpleCommunicator) -> Self {
        // SAFETY: the handle is valid, and so is the constant.
        unsafe { ffi::MPI_Comm_set_errhandler(comm.as_raw(), ffi::RSMPI_ERRORS_RETURN) };
        Self(comm)
    }

    pub fn rank(&self) -> usize {
        self.0.rank() as usize
    }

    pub fn size(&self) -> usize {
        self.0.size() as usize
    }

    /// Another communicator over the same ranks. It waits for all of them.
    pub fn duplicate(&self) -> Self {
        Self::new(self.0.duplicate())
    }

    /// Ends the processes of all ranks.
    pub fn abort(&self) {
        // SAFETY: the handle is valid.
        unsafe { ffi::MPI_Abort(self.0.as_raw(), 1) };
    }

    /// Sends a buffer to a rank.
    pub fn send(&self, buffer: Vec<u8>, to: usize, tag: i32) -> io::Result<Sending> {
        let mut request = null();
        let len = length(buffer.len())?;
        // SAFETY: the buffer has `len` bytes and stays where it is, untouched, until the request is finished: it
        // belongs to the `Sending`, whose fields nobody changes, and is leaked if that is dropped before.
        let code = unsafe {
            ffi::MPI_Isend(
                buffer.as_ptr().cast(),
                len,
                ffi::RSMPI_UINT8_T,
                to as c_int,
                tag,
                self.0.as_raw(),
                &raw mut request,
            )
        };
        checked(code)?;
        Ok(Sending { request: Request(Some(request)), buffer })
    }

    /// Receives the next message of a rank, which is at most as long as the buffer.
    pub fn receive(&self, mut buffer: Vec<u8>, from: usize, tag: i32) -> io::Result<Receiving> {
        let mut request = null();
        let len = length(buffer.len())?;
        // SAFETY: the buffer has room for `len` bytes and stays where it is, untouched, until the request is
        // finished: it belongs to the `Receiving`, and is leaked if that is dropped before.
        let code = unsafe {
            ffi::MPI_Irecv(
                buffer.as_mut_ptr().cast(),
                len,
                ffi::RSMPI_UINT8_T,
                from as c_int,
                tag,
                self.0.as_raw(),
                &raw mut request,
            )
        };
        checked(code)?;
        Ok(Receiving { request: Request(Some(request)), buffer })
    }

    /// A message with this tag that has come from any rank: from which, and how long it is.
    pub fn arrived(&self, tag: i32) -> io::Result<Option<(usize, usize)>> {
        let (mut flag, mut status) = (0, no_status());
        // SAFETY: the handle and the constant are valid, and both results are written to places that live.
        let code =
            unsafe { ffi::MPI_Iprobe(ffi::RSMPI_ANY_SOURCE, tag, self.0.as_raw(), &raw mut flag, &raw mut status) };
        checked(code)?;
        Ok(if flag == 0 { None } else { Some((status.MPI_SOURCE as usize, count(&status)?)) })
    }
}

impl Sending {
    /// The buffer, once the message has left.
    pub fn finished(&mut self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.request.test()?.map(|_| std::mem::take(&mut self.buffer)))
    }
}

impl Receiving {
    /// The buffer and how much of it was filled, once the message has come.
    pub fn finished(&mut self) -> io::Result<Option<(Vec<u8>, usize)>> {
        let Some(status) = self.request.test()? else { return Ok(None) };
        Ok(Some((std::mem::take(&mut self.buffer), count(&status)?)))
    }
}

impl Request {
    /// How it ended, if it has.
    fn test(&mut self) -> io::Result<Option<ffi::MPI_Status>> {
        let Some(mut request) = self.0 else { return Err(io::Error::other("the request was finished before")) };
        let (mut flag, mut status) = (0, no_status());
        // SAFETY: the request is valid and unfinished, and both results are written to places that live.
        let code = unsafe { ffi::MPI_Test(&raw mut request, &raw mut flag, &raw mut status) };
        checked(code)?;
        if flag == 0 {
            return Ok(None);
        }
        self.0 = None;
        Ok(Some(status))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if self.request.0.is_some() {
            std::mem::forget(std::mem::take(&mut self.buffer));
        }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if self.request.0.is_some() {
            std::mem::forget(std::mem::take(&mut self.buffer));
        }
    }
}

fn null() -> ffi::MPI_Request {
    // SAFETY: a constant of the library, set before the program starts.
    unsafe { ffi::RSMPI_REQUEST_NULL }
}

fn no_status() -> ffi::MPI_Status {
    // SAFETY: a C structure of integers, for which zeros are values like any others.
    unsafe { std::mem::zeroed() }
}

/// How many bytes a message has.
fn count(status: &ffi::MPI_Status) -> io::Result<usize> {
    let mut count = 0;
    // SAFETY: the status was written by MPI, and the result goes to a place that lives.
    checked(unsafe { ffi::MPI_Get_count(status, ffi::RSMPI_UINT8_T, &raw mut count) })?;
    Ok(count as usize)
}

fn length(len: usize) -> io::Result<c_int> {
    c_int::try_from(len).map_err(|_| io::Error::other(format!("a piece of {len} bytes is too long for MPI")))
}

fn checked(code: c_int) -> io::Result<()> {
    if code == ffi::MPI_SUCCESS as c_int { Ok(()) } else { Err(io::Error::other(format!("MPI error {code}"))) }
}
