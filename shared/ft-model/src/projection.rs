//! The linear layers of a block, by name.

/// One of the block's four products: projections of the same input are one matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// Queries, keys and values, of the attention's input.
    Qkv,
    /// The attention's output projection.
    O,
    /// What reads the MLP's input: gate and up, or all experts' and the router.
    GateUp,
    /// What gives the MLP's output.
    Down,
}

impl Site {
    /// In the order of the forward.
    pub const ALL: [Site; 4] = [Site::Qkv, Site::O, Site::GateUp, Site::Down];
}

/// A linear layer of a block that an adapter can be put on. Their order is the one in which adapters list them, and within
/// a [`Site`] that of its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Projection {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// Queries, keys and values as one module (`qkv_proj`, `c_attn`, `query_key_value`).
    Qkv,
    /// The attention's output.
    O,
    /// The MLP's gate.
    Gate,
    /// What the gate multiplies.
    Up,
    /// Both of them as one module (Phi-3's `gate_up_proj`).
    GateUp,
    /// The first projection of an MLP without a gate (`fc1`, `c_fc`, `dense_h_to_4h`).
    UpOnly,
    /// All experts' gates and ups, an expert's rows after those of the one before it.
    ExpertsGateUp,
    /// What says which experts a token sees; it reads what they read.
    Router,
    /// The MLP's output.
    Down,
    /// All experts' output projections.
    ExpertsDown,
}

/// Random streams are numbered by the seven projections of a Llama layer.
const STREAMS_A_LAYER: usize = 7;

impl Projection {
    /// All of them.
    pub const ALL: [Projection; 13] = [
        Projection::Q,
        Projection::K,
        Projection::V,
        Projection::Qkv,
        Projection::O,
        Projection::Gate,
        Projection::Up,
        Projection::GateUp,
        Projection::UpOnly,
        Projection::ExpertsGateUp,
        Projection::Router,
        Projection::Down,
        Projection::ExpertsDown,
    ];

    /// The product that it is a part of.
    pub fn site(self) -> Site {
        match self {
            Projection::Q | Projection::K | Projection::V | Projection::Qkv => Site::Qkv,
            Projection::O => Site::O,
            Projection::Gate
            | Projection::Up
            | Projection::GateUp
            | Projection::UpOnly
            | Projection::ExpertsGateUp
            | Projection::Router => Site::GateUp,
            Projection::Down | Projection::ExpertsDown => Site::Down,
        }
    }

    /// The number that its random streams (initial values, dropout) have in layer `layer`: seven a layer, as Llama has
    /// projections; a fused one has that of its first part, a router that of the second. A seed's adapter depends on
    /// these numbers: they stay as they are.
    pub fn stream(self, layer: usize) -> usize {
        let own = match self {
            Projection::Q | Projection::Qkv => 0,
            Projection::K => 1,
            Projection::V => 2,
            Projection::O => 3,
            Projection::Gate | Projection::GateUp | Projection::UpOnly | Projection::ExpertsGateUp => 4,
            Projection::Up | Projection::Router => 5,
            Projection::Down | Projection::ExpertsDown => 6,
        };
        layer * STREAMS_A_LAYER + own
    }

    /// The first number that no projection of so many layers has: what embedding and head go on from.
    pub fn streams_of_layers(layers: usize) -> usize {
        layers * STREAMS_A_LAYER
    }

    /// Whether it is a part of a mixture of experts: peft adapts these as parameters and not as modules.
    pub fn is_of_mixture(self) -> bool {
        matches!(self, Projection::ExpertsGateUp | Projection::Router | Projection::ExpertsDown)
    }

    /// Whether it stands for the matrices of all experts.
    pub fn is_of_experts(self) -> bool {
        matches!(self, Projection::ExpertsGateUp | Projection::ExpertsDown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projections_of_one_layer_draw_from_streams_of_their_own() {
        use Projection::{Down, ExpertsDown, ExpertsGateUp, Gate, GateUp, K, O, Q, Qkv, Router, Up, UpOnly, V};
        let layers: [&[Projection]; 5] = [
            &[Q, K, V, O, Gate, Up, Down],
            &[Qkv, O, GateUp, Down],
            &[Qkv, O, UpOnly, Down],
            &[Q, K, V, O, UpOnly, Down],
            &[Q, K, V, O, ExpertsGateUp, Router, ExpertsDown],
        ];
        for layer in layers {
            let streams: Vec<usize> = layer.iter().map(|projection| projection.stream(2)).collect();
            assert!(streams.is_sorted_by(|a, b| a < b), "{layer:?}: {streams:?}");
            let own = Projection::streams_of_layers(2)..Projection::streams_of_layers(3);
            assert!(streams.iter().all(|stream| own.contains(stream)), "{layer:?}: {streams:?}");
            assert!(layer.is_sorted() && layer.is_sorted_by_key(|projection| projection.site()));
        }
        assert!(Projection::ALL.is_sorted());
    }
}
