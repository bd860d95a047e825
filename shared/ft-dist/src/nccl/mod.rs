//! Ranks that each have a GPU, over NCCL.

mod raw;

use std::fmt::{Debug, Formatter};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DriverError};

use crate::call::Call;
use crate::carrier::Carrier;
use crate::collective::Collective;
use crate::communicator::{Communicator, Sent, bounded};
use crate::error::{Error, Result};
use crate::typed::gather_uneven;
use raw::{Id, Raw};

/// One of several ranks, each with a GPU of its own, on one machine or many.
///
/// Only point-to-point transfers go over NCCL, never its sums: their order, and so their bits, would depend on the
/// algorithm that NCCL chooses; see [`reduce_scatter_ordered`](crate::reduce_scatter_ordered). What the ranks call
/// is compared on another communicator first, so a kernel is started only when every rank has come, and a rank that
/// fails is heard of there.
pub struct Nccl {
    /// Where ranks meet and fail.
    control: Arc<dyn Communicator>,
    channel: Mutex<Channel>,
    /// How many collectives this rank has called on this channel.
    calls: Mutex<u64>,
    context: Arc<CudaContext>,
    timeout: Duration,
    sent: Arc<Sent>,
}

/// One NCCL communicator, with its stream and the device's side of the caller's buffers.
struct Channel {
    // Dropped first, which ends what still uses the buffers.
    raw: Option<Raw>,
    stream: Arc<CudaStream>,
    send: CudaSlice<u8>,
    receive: CudaSlice<u8>,
}

impl Nccl {
    /// Joins the ranks of `bootstrap` (TCP, threads, MPI), each of which has the GPU number `ordinal` of its
    /// machine for itself. All ranks call it together. No wait is longer than `timeout`.
    ///
    /// # Errors
    /// [`Error::Setup`] if there is no driver or no such GPU, [`Error::Device`] if NCCL cannot join the ranks; and if a rank fails or
    /// is too late.
    #[allow(clippy::new_ret_no_self, reason = "ranks are used behind the trait")]
    pub fn new(bootstrap: &dyn Communicator, ordinal: usize, timeout: Duration) -> Result<Arc<dyn Communicator>> {
        let control = bootstrap.duplicate()?;
        let context = context(ordinal).inspect_err(|error| control.abort(&error.to_string()))?;
        Ok(Arc::new(Self::join(control, context, bounded(timeout), Arc::default())?))
    }

    fn join(
        control: Arc<dyn Communicator>,
        context: Arc<CudaContext>,
        timeout: Duration,
        sent: Arc<Sent>,
    ) -> Result<Self> {
        let channel = Channel::join(&control, &context, timeout);
        let channel = channel.inspect_err(|error| control.abort(&error.to_string()))?;
        Ok(Self { control, channel: Mutex::new(channel), calls: Mutex::new(0), context, timeout, sent })
    }

    /// Makes sure that all ranks call what fits.
    fn agree(&self, call: &Call, number: u64) -> Result<()> {
        let longest = 3 + 2 * self.world();
        let mut words = call.encode();
        let len = words.len();
        words.resize(longest + 1, 0);
        words[longest] = len as u64;
        let all = gather_uneven(&*self.control, &words, &vec![longest + 1; self.world()])?;
        let decode = |words: &[u64]| Call::decode(words.get(..*words.last()? as usize)?);
        let calls: Vec<Call> = all.chunks(longest + 1).filter_map(decode).collect();
        for (other_rank, other) in calls.iter().enumerate() {
            for (rank, call) in calls[..other_rank].iter().enumerate() {
                call.fits(rank, other, other_rank, number)?;
            }
        }
        Ok(())
    }
}

/// The GPU's context, or the words that there is none.
fn context(ordinal: usize) -> Result<Arc<CudaContext>> {
    let fault = |what: &str, e: DriverError| Error::Setup(format!("{what}: {e}; see what nvidia-smi says"));
    // The first call to the driver: where there is none it is an error and no panic.
    let count = CudaContext::device_count().map_err(|e| fault("no CUDA driver answers", e))?;
    if ordinal >= count as usize {
        return Err(Error::Setup(format!(
            "this rank wants GPU {ordinal}, but this machine has {count}: start fewer ranks on it"
        )));
    }
    CudaContext::new(ordinal).map_err(|e| fault(&format!("GPU {ordinal} cannot be used"), e))
}

impl Channel {
    fn join(control: &Arc<dyn Communicator>, context: &Arc<CudaContext>, timeout: Duration) -> Result<Self> {
        let mut id: Id = [0; 128];
        if control.rank() == 0 {
            id = raw::new_id()?;
        }
        control.broadcast(0, &mut id)?;
        let stream = context.new_stream().map_err(driver)?;
        let (rank, world, own) = (control.rank(), control.world(), stream.clone());
        // NCCL waits here without end for a rank that is gone, so somebody else waits for NCCL.
        let (sender, joined) = channel();
        thread::Builder::new()
            .name("ft-dist nccl".into())
            .spawn(move || drop(sender.send(Raw::join(own, rank, world, &id))))
            .map_err(Error::io("cannot start a thread"))?;
        let deadline = Instant::now() + timeout;
        let raw = loop {
            match joined.recv_timeout(Duration::from_millis(20)) {
                Ok(raw) => break raw?,
                Err(RecvTimeoutError::Disconnected) => return Err(Error::Stopped),
                Err(RecvTimeoutError::Timeout) => control.check()?,
            }
            if Instant::now() >= deadline {
                return Err(Error::Setup(format!("NCCL did not join the ranks within {timeout:?}")));
            }
        };
        let empty = || stream.alloc_zeros(1).map_err(driver);
        Ok(Self { raw: Some(raw), send: empty()?, receive: empty()?, stream })
    }

    fn exchange(&mut self, ranks: &Nccl, call: &Call, send: &[u8], out: &mut [u8]) -> Result<()> {
        let (rank, world) = (ranks.rank(), ranks.world());
        let others = || (0..world).filter(|&other| other != rank);
        let parts = |part: &dyn Fn(usize) -> std::ops::Range<usize>| {
            others().map(|other| (other, part(other))).filter(|(_, part)| !part.is_empty()).collect::<Vec<_>>()
        };
        let sent = parts(&|other| call.part_sent(rank, other));
        let received = parts(&|other| call.part_received(other));
        if !matches!(call.collective, Collective::Broadcast | Collective::Duplicate) {
            out[call.part_received(rank)].copy_from_slice(&send[call.part_sent(rank, rank)]);
        }
        if sent.is_empty() && received.is_empty() {
            return Ok(());
        }
        ranks.context.bind_to_thread().map_err(driver)?;
        grow(&self.stream, &mut self.send, send.len())?;
        grow(&self.stream, &mut self.receive, out.len())?;
        if !sent.is_empty() {
            self.stream.memcpy_htod(send, &mut self.send).map_err(driver)?;
        }
        let flat = |parts: &[(usize, std::ops::Range<usize>)]| {
            parts.iter().map(|(rank, part)| (*rank, part.start, part.len())).collect::<Vec<_>>()
        };
        let Some(raw) = &self.raw else { return Err(Error::Stopped) };
        raw.exchange(&self.send, &flat(&sent), &mut self.receive, &flat(&received))?;
        self.wait(ranks, call)?;
        for (_, part) in received {
            let from = self.receive.slice(part.clone());
            self.stream.memcpy_dtoh(&from, &mut out[part]).map_err(driver)?;
        }
        self.stream.synchronize().map_err(driver)
    }

    /// Waits until the stream is done. NCCL waits without end for a rank that is gone; then its communicator is
    /// ended, which ends the waiting kernel.
    fn wait(&mut self, ranks: &Nccl, call: &Call) -> Result<()> {
        let event = self.stream.record_event(None).map_err(driver)?;
        let start = Instant::now();
        loop {
            if event.try_is_complete().map_err(driver)? {
                return Ok(());
            }
            let late = start.elapsed() > ranks.timeout;
            let others = || (0..ranks.world()).filter(|&rank| rank != ranks.rank()).collect();
            let collective = call.collective;
            let timeout = || Error::Timeout { ranks: others(), collective, waited: ranks.timeout };
            let failed = ranks.control.check().and(if late { Err(timeout()) } else { Ok(()) });
            if failed.is_err() {
                self.raw = None;
                return failed;
            }
            if start.elapsed() < Duration::from_millis(1) {
                thread::yield_now();
            } else {
                thread::sleep(Duration::from_micros(50));
            }
        }
    }
}

/// Makes room for `len` bytes.
fn grow(stream: &Arc<CudaStream>, buffer: &mut CudaSlice<u8>, len: usize) -> Result<()> {
    if buffer.len() < len {
        *buffer = stream.alloc_zeros(len).map_err(driver)?;
    }
    Ok(())
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn driver(error: DriverError) -> Error {
    Error::Device(format!("the GPU of this rank failed: {error}"))
}

impl Debug for Nccl {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let (rank, world, gpu) = (self.rank(), self.world(), self.context.ordinal());
        write!(f, "Nccl {{ rank: {rank}, world: {world}, gpu: {gpu}, control: {:?} }}", self.control)
    }
}

impl Carrier for Nccl {
    const KIND: &'static str = "nccl";

    fn place(&self) -> (usize, usize) {
        (self.control.rank(), self.control.world())
    }

    /// Compares this call with all others', then does it.
    fn exchange(&self, call: Result<Call>, send: &[u8], out: &mut [u8]) -> Result<()> {
        let done = call.and_then(|call| {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            self.agree(&call, *calls)?;
            *calls += 1;
            let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
            channel.exchange(self, &call, send, out)?;
            self.sent.add(call.collective, call.sent_by(self.rank(), self.world()));
            Ok(())
        });
        // The first cause wins, so one that came from elsewhere is not replaced.
        done.inspect_err(|error| self.control.abort(&error.to_string()))
    }

    fn fail(&self, reason: &str) {
        self.control.abort(reason);
    }

    fn another(&self) -> Result<Self> {
        let control = self.control.duplicate()?;
        let (context, sent) = (self.context.clone(), self.sent.clone());
        Self::join(control, context, self.timeout, sent)
    }

    fn fate(&self) -> Result<()> {
        self.control.check()
    }

    fn sent(&self) -> &Sent {
        &self.sent
    }
}
