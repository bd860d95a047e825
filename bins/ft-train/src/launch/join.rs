//! The way to the other processes.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use ft_cli::Usage;
use ft_dist::{Communicator, JoinOptions, Rendezvous, Tcp};
use ft_kernels::backend::is_host;
use ft_model::device::DeviceName;

use crate::args::{Args, Backend};
use crate::environment::{Launcher, Placement};

/// Meets the other ranks.
///
/// # Errors
/// If this build has not what is asked for, or the others cannot be found in time.
pub fn join(args: &Args, placement: &Placement) -> Result<Arc<dyn Communicator>> {
    let by_mpi = matches!(placement.launcher, Launcher::OpenMpi | Launcher::Mpich) && cfg!(feature = "mpi");
    match args.ranks.ddp_backend {
        Backend::Threads => bail!(Usage("--ddp-backend threads is for --nproc-per-node; use gloo, mpi or nccl".into())),
        Backend::Mpi => mpi(args),
        Backend::Gloo => sockets(args, placement),
        Backend::Auto if by_mpi => mpi(args),
        Backend::Auto => on_gpus(args, sockets(args, placement)?, placement.local_rank, false),
        Backend::Nccl => on_gpus(args, sockets(args, placement)?, placement.local_rank, true),
    }
}

fn sockets(args: &Args, placement: &Placement) -> Result<Arc<dyn Communicator>> {
    let (host, port) = placement.master.clone().with_context(|| {
        format!("{} does not say where rank 0 is; set MASTER_ADDR and MASTER_PORT for all ranks", placement.launcher)
    })?;
    let rendezvous =
        if placement.agent_store { Rendezvous::TcpStore { host, port } } else { Rendezvous::Master { host, port } };
    let world = placement.world;
    let options = JoinOptions {
        label: &format!("restart {}", placement.restarts),
        rendezvous_timeout: args.ranks.rendezvous_timeout(),
        timeout: args.ranks.timeout(),
        arrived: &|rank, here| tracing::debug!("rank {rank} has come: {here} of {world} ranks are here"),
        called_off: ft_io::interrupt::requested,
    };
    Ok(Tcp::join(&rendezvous, placement.rank, world, &options)?)
}

#[cfg(feature = "mpi")]
fn mpi(args: &Args) -> Result<Arc<dyn Communicator>> {
    Ok(ft_dist::Mpi::from_environment(args.ranks.timeout())?)
}

#[cfg(not(feature = "mpi"))]
fn mpi(_: &Args) -> Result<Arc<dyn Communicator>> {
    bail!(Usage("this build has no MPI: build with --features mpi, or give --ddp-backend gloo".into()))
}

/// The device of a rank: the one that is asked for, counted on by the rank's number on its machine.
pub fn device_of(name: DeviceName, local_rank: usize) -> DeviceName {
    match name {
        DeviceName::Cpu => DeviceName::Cpu,
        DeviceName::Auto if ft_model::device::named(DeviceName::Auto).is_ok_and(|device| is_host(&device)) => {
            DeviceName::Cpu
        }
        DeviceName::Auto => DeviceName::Cuda(local_rank),
        DeviceName::Cuda(first) => DeviceName::Cuda(first + local_rank),
    }
}

/// The same ranks over NCCL where each has a GPU; `host` carries what NCCL needs to begin.
#[cfg(feature = "cuda")]
pub fn on_gpus(
    args: &Args,
    host: Arc<dyn Communicator>,
    local_rank: usize,
    asked: bool,
) -> Result<Arc<dyn Communicator>> {
    match device_of(args.device.device, local_rank) {
        DeviceName::Cuda(number) => Ok(ft_dist::Nccl::new(&*host, number, args.ranks.timeout())?),
        DeviceName::Auto | DeviceName::Cpu if asked => {
            bail!(Usage("--ddp-backend nccl needs a GPU for each rank: --device cuda".into()))
        }
        DeviceName::Auto | DeviceName::Cpu => Ok(host),
    }
}

/// The same ranks: a build without CUDA has no NCCL.
#[cfg(not(feature = "cuda"))]
pub fn on_gpus(_: &Args, host: Arc<dyn Communicator>, _: usize, asked: bool) -> Result<Arc<dyn Communicator>> {
    if asked {
        bail!(Usage("this build has no NCCL: build with --features cuda, or give --ddp-backend gloo".into()));
    }
    Ok(host)
}
