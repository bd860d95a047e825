//! What is known about a family of kernels.

use crate::attention::AttentionSpec;
use crate::cuda::{Grid, Launch};

/// A kernel that forms gradients.
pub(super) struct Gradient {
    /// How it is called in its module.
    pub name: String,
    /// The heads, each of which is a block's.
    pub heads: usize,
    /// Bytes of shared memory of a block.
    pub shared: usize,
}

/// One family of kernels, at some shape.
pub(super) struct Kernels {
    pub module: &'static str,
    pub threads: usize,
    /// Tokens of a tile.
    pub rows: usize,
    /// Whether the heads' width is an argument, and not the kernel's own.
    pub any_width: bool,
    pub forward: (String, usize),
    pub backward: Vec<Gradient>,
}

impl Kernels {
    /// A kernel's last arguments.
    pub fn with_spec<'a>(&self, call: Launch<'a>, spec: &AttentionSpec) -> Launch<'a> {
        let call = call.int(spec.num_heads).int(spec.num_kv_heads);
        let call = if self.any_width { call.int(spec.head_dim) } else { call };
        call.f32(spec.scale).int(spec.sliding_window.unwrap_or(0)).f32(spec.softcap.unwrap_or(0.0))
    }

    pub fn grid(&self, tiles: &[u32], heads: usize, shared: usize) -> Grid {
        Grid { shared, ..Grid::plane(tiles.len() / 4, heads, self.threads) }
    }
}
