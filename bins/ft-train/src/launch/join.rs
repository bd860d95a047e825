//! The way to the other processes.

use std::sync::Arc;

use anyhow::{Result, bail};
use ft_cli::Usage;
use ft_dist::Communicator;

use super::environment::Placement;
use crate::args::{Backend, RanksArgs};

/// Meets the other ranks.
pub fn join(args: &RanksArgs, placement: &Placement) -> Result<Arc<dyn Communicator>> {
    match args.ddp_backend {
        Backend::Threads => bail!(Usage("--ddp-backend threads is for --nproc-per-node; use gloo, mpi or nccl".into())),
        Backend::Auto | Backend::Gloo | Backend::Mpi | Backend::Nccl => bail!("not yet {placement:?}"),
    }
}
