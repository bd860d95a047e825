//! What ranks share out, and how.

/// What ranks share out (ZeRO's stages: Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion
/// Parameter Models", 2020).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nothing.
    None,
    /// What the optimizer remembers.
    Zero1,
    /// And the gradients.
    Zero2,
    /// And the frozen weights.
    Zero3,
}

/// How a run is dealt out.
#[derive(Debug, Clone, Copy)]
pub struct Ranks {
    pub world: usize,
    pub stage: Stage,
    /// Whether a layer is given up after its forward and gathered again for its backward.
    pub reshard_after_forward: bool,
}
