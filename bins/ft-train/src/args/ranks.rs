//! Who trains together, and what each one keeps.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, ValueEnum};
use ft_cli::named_value;
use ft_trainer::options::Sharding;

/// Seconds for ranks to meet.
const RENDEZVOUS: u64 = 120;

/// Ranks. Started by torchrun, mpirun, srun or Kubeflow each process is one, and finds its number and the others in the
/// environment; --nproc-per-node starts them as threads of one process.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Ranks")]
pub struct RanksArgs {
    /// Ranks of this process, each on its own device or its share of the threads
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = ranks_here)]
    pub nproc_per_node: u32,
    /// What to shard across ranks: none (DDP), optimizer states (ZeRO-1), and gradients (ZeRO-2), and frozen weights
    /// (ZeRO-3, FSDP)
    #[arg(long, value_name = "WHAT", default_value = "none", value_parser = named_value::<Sharding>())]
    pub sharding: Sharding,
    /// With zero3: free a layer's gathered weights after its forward pass and gather them again for its backward pass
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value = "true", default_missing_value = "true",
        action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub fsdp_reshard_after_forward: bool,
    /// Communication backend of the ranks [default: threads with --nproc-per-node, else what the launcher uses]
    #[arg(long, value_name = "BACKEND", value_enum, default_value = "auto")]
    pub ddp_backend: Backend,
    /// Seconds to wait for the other ranks before giving up
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub ddp_timeout: u64,
    /// Seconds that ranks wait at the start for others of which nothing has been heard, as torchrun's join_timeout
    /// [default: 120, or --ddp-timeout where that is less]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub rdzv_timeout: Option<u64>,
    /// Take ranks, sharding, precision, offload, clipping and accumulation from a file of 'accelerate config'
    #[arg(long, value_name = "YAML")]
    pub accelerate_config: Option<PathBuf>,
    /// For tests: this rank fails in this step
    #[arg(long, hide = true, value_name = "RANK:STEP", value_parser = rank_and_step)]
    pub inject_failure: Option<(usize, u64)>,
    /// Ranks that share this machine's processors and memory: what started them says it, no argument.
    #[arg(skip = 1u32)]
    pub sharing: u32,
}

impl RanksArgs {
    /// `--ddp-timeout`
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.ddp_timeout)
    }

    /// `--rdzv-timeout`
    pub fn rendezvous_timeout(&self) -> Duration {
        Duration::from_secs(self.rdzv_timeout.unwrap_or(self.ddp_timeout.min(RENDEZVOUS)))
    }
}

/// Threads of one process: more are no help on any machine.
const MOST_HERE: u32 = 1024;

fn ranks_here(text: &str) -> Result<u32, String> {
    let number = text.trim().parse().ok().filter(|number| (1..=MOST_HERE).contains(number));
    number.ok_or_else(|| format!("expected a number of ranks from 1 to {MOST_HERE}"))
}

fn rank_and_step(text: &str) -> Result<(usize, u64), String> {
    let both = text.split_once(':').and_then(|(rank, step)| Some((rank.parse().ok()?, step.parse().ok()?)));
    both.ok_or_else(|| "expected RANK:STEP".into())
}

/// `--ddp-backend`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// As it fits
    Auto,
    /// Memory of one process
    Threads,
    /// Sockets, as gloo's
    #[value(alias = "tcp")]
    Gloo,
    /// MPI (a build with the feature mpi)
    Mpi,
    /// NCCL (a build with the feature cuda)
    Nccl,
}
