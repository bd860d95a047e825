//! What a decoder is made of, the same from whatever file it was read.
//!
//! One description serves all families: a block is attention and MLP on a residual stream, with norms before or after
//! each or both, and each of the constants below. No family has code of its own in the engine.

mod config;
mod families;
mod family;
pub(crate) mod gguf;
mod keys;
mod names;
mod rope;
mod rope_config;

pub use family::Family;
pub use ft_kernels::activation::{Activation, Xielu};
pub use names::{ExpertNames, NamedProjection, Names};
pub use rope::{Rope, RopeScaling};

use ft_kernels::math::logf;
use ft_kernels::rope::RopeTables;
use serde_json::Value;

use crate::error::Result;
use crate::projection::Site;

/// A decoder's shape and the constants of its mathematics.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// Which family it belongs to.
    pub family: Family,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; `num_heads` is a multiple of it.
    pub num_kv_heads: usize,
    /// Width of a head, which need not be `hidden_size / num_heads`.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// How rows are normalised.
    pub norm: NormKind,
    /// Added to the mean square, or the variance, in every norm.
    pub norm_eps: f64,
    /// Whether a norm multiplies by 1 and its weight (Gemma), and not by the weight itself.
    pub norm_plus_one: bool,
    /// Which norm queries and keys have of their own.
    pub qk_norm: QkNorm,
    /// Whether they have it after they turn, and not before.
    pub turns_first: bool,
    /// How queries grow with their position.
    pub query_growth: Option<QueryGrowth>,
    /// Whether the MLP reads what the attention reads, and both are added to it (GPT-NeoX, Phi).
    pub parallel: bool,
    /// What products of queries and keys are multiplied by.
    pub attention_scale: f64,
    /// Whether that is divided by the layer's number too, counted from 1.
    pub scales_by_layer: bool,
    /// The bound that attention scores are squeezed into.
    pub attention_softcap: Option<f64>,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// Whether the attention's output projection has one.
    pub o_bias: bool,
    /// Whether the MLP's projections have one.
    pub mlp_bias: bool,
    /// Whether the MLP multiplies its activation with a second projection.
    pub gated: bool,
    /// The MLP's activation; where it has numbers, each layer has its own among its weights.
    pub activation: Activation,
    /// The experts of layers whose MLP is a mixture of them.
    pub experts: Option<Experts>,
    /// What differs from layer to layer.
    pub layers: Vec<LayerKind>,
    /// The rotary position embeddings that layers name.
    pub ropes: Vec<Rope>,
    /// Rows of the table of learned positions, where there is one.
    pub learned_positions: Option<usize>,
    /// What embeddings are multiplied by.
    pub embedding_scale: f64,
    /// What attention and MLP are multiplied by before they are added to the residual stream.
    pub residual_scale: f64,
    /// What logits are multiplied by.
    pub logit_scale: f64,
    /// The bound that logits are squeezed into.
    pub logit_softcap: Option<f64>,
    /// Whether the head has a bias.
    pub head_bias: bool,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// Keys of `config.json` that ask for dropout inside the base while it trains, with what they ask for.
    pub base_dropout: Vec<(String, f64)>,
    /// The longest sequence that the model was made for.
    pub max_position_embeddings: usize,
    /// The token that begins a text.
    pub bos_token_id: Option<u32>,
    /// The tokens that end a text; the first is the one to write.
    pub eos_token_ids: Vec<u32>,
    /// The token that fills up a batch.
    pub pad_token_id: Option<u32>,
    /// `config.json` as it was read, or as it was made from a GGUF file.
    pub raw: Value,
}

/// How rows are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// By the root of the mean square (Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019).
    Rms,
    /// By mean and deviation (Ba et al., "Layer Normalization", 2016).
    Layer {
        /// Whether a bias is added.
        bias: bool,
    },
}

impl NormKind {
    /// Whether norms of this kind have a bias.
    pub fn has_bias(self) -> bool {
        self == NormKind::Layer { bias: true }
    }
}

/// Queries are multiplied by `1 + beta·ln(1 + ⌊position / context⌋)` (Llama 4's temperature of attention).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueryGrowth {
    /// How much.
    pub beta: f64,
    /// The tokens after which they grow.
    pub context: usize,
}

/// The norm of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// None.
    None,
    /// Each head by itself, all by one weight.
    Head,
    /// All heads together.
    Whole,
    /// Each head by itself and by a weight of its own, with mean and deviation and without a bias (StableLM 2 12B).
    Each,
}

/// What a layer has of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerKind {
    /// How many tokens a token sees, itself included; all where there is none.
    pub sliding_window: Option<usize>,
    /// Its rotary embedding among the architecture's; none where positions are not turned in.
    pub rope: Option<usize>,
    /// Whether its MLP is a mixture of experts.
    pub is_mixture: bool,
}

/// Experts of which each token sees a few (Jiang et al., "Mixtral of Experts", 2024, section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Experts {
    /// How many a layer has.
    pub count: usize,
    /// How many of them a token sees.
    pub per_token: usize,
    /// Width of each.
    pub intermediate_size: usize,
    /// Whether the weights of a token's experts are divided by their sum.
    pub normalised: bool,
}

/// A tensor that an architecture asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Its name in a Hugging Face checkpoint.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Architecture {
    /// What checkpoints of the family call each part.
    pub fn names(&self) -> &'static Names {
        self.family.names_of(self.parallel)
    }

    /// Columns of the queries.
    pub fn query_columns(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Columns of the keys, and of the values.
    pub fn key_columns(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }

    /// Columns of queries, keys and values together.
    pub fn qkv_columns(&self) -> usize {
        self.query_columns() + 2 * self.key_columns()
    }

    /// The experts of layer `layer`, if it has some.
    pub fn experts_of(&self, layer: usize) -> Option<&Experts> {
        self.experts.as_ref().filter(|_| self.layers.get(layer).is_some_and(|kind| kind.is_mixture))
    }

    /// Whether a part of a layer, by its name there without `.weight`, is the product that chooses experts. It is small
    /// and decides much, so it is never held in fewer bits than the file has.
    pub fn is_router(&self, path: &str) -> bool {
        self.names().experts.is_some_and(|names| names.router == path)
    }

    /// Columns of an MLP's first product, or an expert's, of so many columns inside: gate and up, or the one projection
    /// where there is no gate.
    pub fn gate_up_columns(&self, intermediate_size: usize) -> usize {
        intermediate_size * if self.gated { 2 } else { 1 }
    }

    /// The cosines and sines of sequences laid end to end, for each of the rotary embeddings. A sequence's
    /// frequencies may depend on its own length.
    ///
    /// # Errors
    /// If candle refuses the shapes.
    pub fn rope_tables(&self, starts: &[usize]) -> Result<Vec<RopeTables>> {
        let lengths: Vec<usize> = starts.windows(2).map(|span| span[1] - span[0]).collect();
        self.ropes.iter().map(|rope| rope.tables(lengths.iter().map(|&n| (0..n as u32, n)))).collect()
    }

    /// What the queries at these positions are multiplied by, where that is not 1 for all.
    pub fn query_factors(&self, positions: impl Iterator<Item = u32>) -> Option<Vec<f32>> {
        let QueryGrowth { beta, context } = self.query_growth?;
        // In f32, as transformers.
        let one = |position: u32| 1.0 + beta as f32 * logf(1.0 + (position as f32 / context as f32).floor());
        Some(positions.map(one).collect())
    }

    /// The most tokens of a sequence, where positions are learned: there are no more of them.
    pub fn longest(&self) -> Option<usize> {
        self.learned_positions
    }

    /// How many tokens of a sequence the model was made for, or its rotations stretched for; none where they stretch
    /// with the sequence.
    pub fn reach(&self) -> Option<usize> {
        let own = self.max_position_embeddings;
        self.ropes.iter().map(|rope| rope.scaling.reach(own)).try_fold(own, |most, reach| reach.map(|n| n.max(most)))
    }

    /// What to say of sequences that are longer than the model was made for, if the longest of them is.
    pub fn beyond(&self, longest: usize) -> Option<String> {
        let reach = self.reach().filter(|reach| longest > *reach)?;
        Some(format!(
            "up to {longest} tokens in a row, but the model was made for {reach}: what it makes of the rest is its guess"
        ))
    }

    /// Whether sequences of these lengths have the same rotations at the same positions.
    pub fn turns_alike(&self, lengths: impl Iterator<Item = usize>) -> bool {
        let (short, long) = lengths.fold((usize::MAX, 0), |(short, long), n| (short.min(n), long.max(n)));
        short >= long || self.ropes.iter().all(|rope| rope.frequencies(short) == rope.frequencies(long))
    }

    /// The tensors of block `layer`, in the order of the computation.
    pub fn layer_tensors(&self, layer: usize) -> Vec<Expected> {
        let names = self.names();
        let mut all: Vec<Expected> = Vec::new();
        let mut add = |part: &str, kind: &str, shape: Vec<usize>| {
            let name = names.in_layer(layer, &format!("{part}.{kind}"));
            // Where attention and MLP share a norm it is one tensor.
            if all.iter().all(|known| known.name != name) {
                all.push(Expected { name, shape });
            }
        };
        for site in Site::ALL {
            for (path, (out, inner)) in site.stored(self, layer) {
                let transposed = self.family.is_transposed();
                add(&path, "weight", if transposed { vec![inner, out] } else { vec![out, inner] });
                if self.has_bias(site) {
                    add(&path, "bias", vec![out]);
                }
            }
        }
        for norm in [names.input_norm, names.attention_norm, names.mlp_norm, names.output_norm].into_iter().flatten() {
            add(norm, "weight", vec![self.hidden_size]);
            if self.norm.has_bias() {
                add(norm, "bias", vec![self.hidden_size]);
            }
        }
        for (parts, width) in self.qk_norms() {
            for norm in parts {
                add(&norm, "weight", vec![width]);
                if self.qk_norm_has_bias() {
                    add(&norm, "bias", vec![width]);
                }
            }
        }
        for number in self.activation_numbers() {
            let name = names.in_layer(layer, &number.name);
            all.push(Expected { name, shape: number.shape });
        }
        all
    }

    /// The numbers of a layer's activation that its checkpoint holds, by their names within the layer.
    pub fn activation_numbers(&self) -> Vec<Expected> {
        let Activation::Xielu(_) = self.activation else { return Vec::new() };
        let of = |name: &str, shape: &[usize]| Expected { name: format!("mlp.act_fn.{name}"), shape: shape.to_vec() };
        vec![of("alpha_p", &[1]), of("alpha_n", &[1]), of("beta", &[]), of("eps", &[])]
    }

    /// The norms of queries and of keys, where there are some: the names within a layer of the tensors that make up the
    /// weight of each, laid end to end, and the width of one of these tensors.
    pub fn qk_norms(&self) -> Vec<(Vec<String>, usize)> {
        let [q, k] = self.names().qk_norm;
        let one = |name: &str| vec![name.to_owned()];
        let each = |name: &str, heads: usize| (0..heads).map(|head| format!("{name}.norms.{head}")).collect();
        match self.qk_norm {
            QkNorm::None => Vec::new(),
            QkNorm::Head => vec![(one(q), self.head_dim), (one(k), self.head_dim)],
            QkNorm::Whole => vec![(one(q), self.query_columns()), (one(k), self.key_columns())],
            QkNorm::Each => {
                vec![(each(q, self.num_heads), self.head_dim), (each(k, self.num_kv_heads), self.head_dim)]
            }
        }
    }

    /// Whether the norms of queries and keys have a bias.
    pub fn qk_norm_has_bias(&self) -> bool {
        self.qk_norm == QkNorm::Head && self.norm.has_bias()
    }

    /// Whether the projections of a site have a bias.
    pub fn has_bias(&self, site: Site) -> bool {
        match site {
            Site::Qkv => self.qkv_bias,
            Site::O => self.o_bias,
            Site::GateUp | Site::Down => self.mlp_bias,
        }
    }

    /// All tensors: the embeddings, the blocks', the final norm, and the head where it is not the embedding.
    pub fn tensors(&self) -> Vec<Expected> {
        let names = self.names();
        let tensor = |name: &str, kind: &str, shape: Vec<usize>| Expected { name: format!("{name}.{kind}"), shape };
        let table = vec![self.vocab_size, self.hidden_size];
        let mut all = vec![tensor(names.embedding, "weight", table.clone())];
        if let (Some(name), Some(rows)) = (names.positions, self.learned_positions) {
            all.push(tensor(name, "weight", vec![rows, self.hidden_size]));
        }
        all.extend((0..self.num_layers).flat_map(|layer| self.layer_tensors(layer)));
        all.push(tensor(names.final_norm, "weight", vec![self.hidden_size]));
        if self.norm.has_bias() {
            all.push(tensor(names.final_norm, "bias", vec![self.hidden_size]));
        }
        if !self.tie_word_embeddings {
            all.push(tensor(names.head, "weight", table));
        }
        if self.head_bias {
            all.push(tensor(names.head, "bias", vec![self.vocab_size]));
        }
        all
    }

    /// The token whose embedding is not trained: torch's embeddings give the row of their `padding_idx` no gradient, and
    /// transformers makes it the config's `pad_token_id` in all families but two.
    pub fn padding_row(&self) -> Option<u32> {
        self.pad_token_id.filter(|_| !matches!(self.family, Family::Gpt2 | Family::GptNeox))
    }

    /// The name of the embedding's tensor.
    pub fn embedding_name(&self) -> String {
        format!("{}.weight", self.names().embedding)
    }

    /// The name of the head's tensor: the embedding's where they are tied.
    pub fn head_name(&self) -> String {
        let names = self.names();
        format!("{}.weight", if self.tie_word_embeddings { names.embedding } else { names.head })
    }

    /// The number of parameters; a tied head counts once.
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(|t| t.shape.iter().product::<usize>()).sum()
    }
}

impl Rope {
    /// The cosines and sines of runs of positions, each in a sequence of so many tokens.
    ///
    /// # Errors
    /// If candle refuses the shapes.
    pub fn tables(&self, runs: impl IntoIterator<Item = (std::ops::Range<u32>, usize)>) -> Result<RopeTables> {
        let one = |(positions, length): (std::ops::Range<u32>, usize)| {
            RopeTables::new(&positions.collect::<Vec<_>>(), &self.frequencies(length), self.magnitude())
                .in_pairs(self.pairs)
        };
        Ok(RopeTables::join(runs.into_iter().map(one).collect())?)
    }
}

#[cfg(test)]
mod tests;
