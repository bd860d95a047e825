//! NCCL's own calls, as far as they are needed: point to point, in groups.

#![allow(unsafe_code, reason = "bindings to C")]

use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DevicePtrMut};
use cudarc::nccl::result::{self, NcclError};
use cudarc::nccl::sys;

use crate::error::{Error, Result};

/// What all ranks need to know to find each other.
pub type Id = [u8; 128];

/// One rank's end of an NCCL communicator.
pub struct Raw {
    comm: sys::ncclComm_t,
    stream: Arc<CudaStream>,
}

// SAFETY: NCCL lets any thread use a communicator, one at a time; `Raw` is used behind a lock.
unsafe impl Send for Raw {}

/// Makes a new id; one rank does, and tells the others.
pub fn new_id() -> Result<Id> {
    let id = result::get_uniqueid().map_err(|e| fault("cannot make an id", &e))?;
    Ok(id.internal.map(|c| c.to_ne_bytes()[0]))
}

impl Raw {
    /// Joins the others, and waits for all of them.
    pub fn join(stream: Arc<CudaStream>, rank: usize, world: usize, id: &Id) -> Result<Self> {
        let what = "cannot join the ranks (each needs a GPU of its own)";
        let context = stream.context();
        context.bind_to_thread().map_err(|e| Error::Device(format!("GPU {}: {e}", context.ordinal())))?;
        let id = sys::ncclUniqueId { internal: id.map(|byte| std::ffi::c_char::from_ne_bytes([byte])) };
        let mut comm = std::ptr::null_mut();
        // SAFETY: the pointer is to a place that lives, and the id came from `new_id` on some rank.
        let joined = unsafe { result::comm_init_rank(&raw mut comm, world as i32, id, rank as i32) };
        joined.map_err(|e| fault(what, &e))?;
        Ok(Self { comm, stream })
    }

    /// Enqueues on the stream: the parts of `send` to other ranks, and theirs into `receive`; `(rank, start, length)`
    /// each, lengths above 0. All at once, so that no order of ranks can make them wait for each other.
    pub fn exchange(
        &self,
        send: &CudaSlice<u8>,
        sent: &[(usize, usize, usize)],
        receive: &mut CudaSlice<u8>,
        received: &[(usize, usize, usize)],
    ) -> Result<()> {
        let within = |parts: &[(usize, usize, usize)], len: usize| parts.iter().all(|&(_, at, n)| at + n <= len);
        if !within(sent, send.len()) || !within(received, receive.len()) {
            return Err(Error::Device("NCCL: a part lies outside its buffer".into()));
        }
        let stream = &self.stream;
        let (from, _reads) = send.device_ptr(stream);
        let (into, _writes) = receive.device_ptr_mut(stream);
        let queue = stream.cu_stream().cast();
        result::group_start().map_err(|e| fault("cannot start a group", &e))?;
        let mut ended = Ok(());
        for &(rank, at, len) in sent {
            // SAFETY: the part lies inside the device buffer, which lives until the stream has done this.
            let queued =
                unsafe { result::send((from + at as u64) as *const _, len, TYPE, rank as i32, self.comm, queue) };
            ended = ended.and(queued.map(drop));
        }
        for &(rank, at, len) in received {
            // SAFETY: as above; parts do not overlap.
            let queued =
                unsafe { result::recv((into + at as u64) as *mut _, len, TYPE, rank as i32, self.comm, queue) };
            ended = ended.and(queued.map(drop));
        }
        // A group that was started must be ended, whatever happened in it.
        let group = result::group_end().map(drop);
        ended.and(group).map_err(|e| fault("cannot exchange", &e))
    }
}

const TYPE: sys::ncclDataType_t = sys::ncclDataType_t::ncclUint8;

impl Drop for Raw {
    /// Also ends what is under way, where a rank is gone.
    fn drop(&mut self) {
        // SAFETY: the communicator was made by `join` and is used nowhere else.
        drop(unsafe { result::comm_abort(self.comm) });
    }
}

fn fault(what: &str, error: &NcclError) -> Error {
    Error::Device(format!("NCCL {what}: {:?}; NCCL_DEBUG=WARN says more", error.0))
}
