//! Where the memory goes, and what ranks share.

use ft_model::layers::WeightFormat;

/// Where the memory goes.
#[derive(Debug, Clone)]
pub struct MemoryOptions {
    /// How the frozen matrices are kept; where it is none, as the precision says.
    pub load_in: Option<WeightFormat>,
    /// Where the frozen weights are until a layer is computed.
    pub offload_param_device: Offload,
    /// Where the optimizer's moments are.
    pub offload_optimizer_device: Offload,
    /// Bytes of activations kept for backward; the rest is computed twice. Where it is none, a quarter of the memory
    /// that is free.
    pub activation_memory: Option<u64>,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            load_in: None,
            offload_param_device: Offload::None,
            offload_optimizer_device: Offload::None,
            activation_memory: None,
        }
    }
}

ft_io::named_values! {
    /// Where something is kept that is not in use.
    pub enum Offload {
        /// With the device that computes
        None = ["none"],
        /// In the host's memory
        Cpu = ["cpu"],
        /// On disk
        Disk = ["disk", "nvme"],
    }
}

/// What the ranks of a run share.
#[derive(Debug, Clone)]
pub struct RankOptions {
    pub sharding: Sharding,
    /// With [`Sharding::Zero3`]: whether a layer is given up after its forward and gathered again for its backward.
    pub fsdp_reshard_after_forward: bool,
    /// Ranks of this process, which share its memory.
    pub nproc_per_node: u32,
    /// Ranks that share this machine's processors and memory.
    pub sharing: u32,
    /// For tests: the rank and the step, from 1, that fail.
    pub inject_failure: Option<(usize, u64)>,
}

impl Default for RankOptions {
    fn default() -> Self {
        Self {
            sharding: Sharding::None,
            fsdp_reshard_after_forward: true,
            nproc_per_node: 1,
            sharing: 1,
            inject_failure: None,
        }
    }
}

ft_io::named_values! {
    /// What ranks share out among themselves.
    pub enum Sharding {
        /// Nothing: every rank holds everything (DDP)
        None = ["none"],
        /// Optimizer states
        Zero1 = ["zero1"],
        /// Optimizer states and gradients
        Zero2 = ["zero2"],
        /// Optimizer states, gradients and frozen weights, gathered one layer at a time
        Zero3 = ["zero3", "fsdp", "full_shard"],
    }
}
