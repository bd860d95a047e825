//! The model's forward over prompts, and over one new token a sequence.

use candle_core::Tensor;
use ft_kernels::activation::{Activation, gated};
use ft_kernels::attention::{AttentionSpec, attention, attention_decode};
use ft_kernels::linear::{Linear, product_few};
use ft_kernels::norm::rms_norm;
use ft_kernels::rope::{Direction, RopeTables};
use ft_kernels::tensor::{from_vec, with_slice};

use super::cache::Cache;
use super::prompts::Prompts;
use crate::arch::Architecture;
use crate::block::{Block, Rows, attention_spec};
use crate::decoder::Decoder;
use crate::error::Result;
use crate::projection::Site;

/// A model that reads prompts and continues them.
pub struct Engine<'a> {
    decoder: Decoder<'a>,
    spec: AttentionSpec,
    frequencies: Vec<f64>,
    magnitude: f64,
}

/// How a layer's products are computed: many rows pack the weights, few read them where they lie.
#[derive(Clone, Copy)]
enum Products {
    Many,
    Few,
}

impl<'a> Engine<'a> {
    /// The engine of `decoder`'s model and adapter.
    pub fn new(decoder: Decoder<'a>) -> Self {
        let (frequencies, magnitude) = decoder.arch.rope_frequencies();
        Self { spec: attention_spec(decoder.arch), decoder, frequencies, magnitude }
    }

    /// What the model is made of.
    pub fn arch(&self) -> &'a Architecture {
        self.decoder.arch
    }

    /// Reads prompts: their caches, with room for `more` tokens each, and the logits of their last
    /// tokens, `[prompts, vocabulary]`. No prompt may be empty.
    ///
    /// # Errors
    /// If a layer cannot be had, a prompt has a token outside the vocabulary, or an operator fails.
    pub fn prefill(&self, prompts: &[&[u32]], more: usize) -> Result<(Vec<Cache>, Tensor)> {
        let layers = self.decoder.arch.num_layers;
        let cache = |prompt: &&[u32]| Cache::new(layers, &self.spec, prompt.len() + more);
        let mut caches: Vec<Cache> = prompts.iter().map(cache).collect();
        let columns = self.spec.qkv_columns();
        let logits = self.read(prompts, |layer, qkv, starts| {
            for (cache, span) in caches.iter_mut().zip(starts.windows(2)) {
                cache.extend(layer, &qkv[span[0] * columns..span[1] * columns], &self.spec);
            }
        })?;
        caches.iter_mut().zip(prompts).for_each(|(cache, prompt)| cache.advance(prompt.len()));
        Ok((caches, logits))
    }

    /// The logits of the prompts' last tokens, `[prompts, vocabulary]`, and no caches.
    ///
    /// # Errors
    /// As [`Self::prefill`].
    pub fn last_logits(&self, prompts: &[&[u32]]) -> Result<Tensor> {
        self.read(prompts, |_, _, _| {})
    }

    /// Runs prompts through all layers; `keep` sees each layer's rotated queries, keys and values, row by
    /// row, and where each prompt starts among the rows.
    fn read(&self, prompts: &[&[u32]], mut keep: impl FnMut(usize, &[f32], &[usize])) -> Result<Tensor> {
        let prompts = Prompts::new(prompts);
        let last = |x: Tensor| -> Result<Tensor> {
            Ok(x.index_select(&Tensor::new(prompts.last.as_slice(), x.device())?, 0)?)
        };
        let x = self.run(&prompts.ids, &prompts.positions, Products::Many, |layer, qkv| {
            let qkv = prompts.whole(qkv)?;
            with_slice(&qkv, |qkv| keep(layer, qkv, &prompts.starts))?;
            let (attended, _) = attention(&qkv, &self.spec, &prompts.starts)?;
            Ok(prompts.once(attended)?)
        })?;
        self.logits(&last(x)?)
    }

    /// Adds one token to each sequence; the logits of these tokens, `[sequences, vocabulary]`.
    ///
    /// # Errors
    /// As [`Self::prefill`].
    pub fn step(&self, tokens: &[u32], caches: &mut [&mut Cache]) -> Result<Tensor> {
        let positions: Vec<u32> = caches.iter().map(|cache| cache.tokens() as u32).collect();
        let x = self.run(tokens, &positions, Products::Few, |layer, qkv| self.attend(layer, &qkv, caches))?;
        caches.iter_mut().for_each(|cache| cache.advance(1));
        self.logits(&x)
    }

    /// The attention of one new token a sequence, whose keys and values go to the caches.
    fn attend(&self, layer: usize, qkv: &Tensor, caches: &mut [&mut Cache]) -> Result<Tensor> {
        let (columns, width) = (self.spec.query_columns(), self.spec.qkv_columns());
        let mut queries = Vec::with_capacity(caches.len() * columns);
        with_slice(qkv, |qkv| {
            for (cache, row) in caches.iter_mut().zip(qkv.chunks_exact(width)) {
                queries.extend_from_slice(&row[..columns]);
                cache.extend(layer, row, &self.spec);
            }
        })?;
        let views: Vec<_> = caches.iter().map(|cache| cache.layer(layer)).collect();
        let queries = from_vec(queries, (views.len(), columns))?;
        Ok(attention_decode(&queries, &views, &self.spec)?)
    }

    /// All layers; `attend` makes the attention of a layer from its rotated queries, keys and values.
    fn run(
        &self,
        ids: &[u32],
        positions: &[u32],
        products: Products,
        mut attend: impl FnMut(usize, Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let rope = RopeTables::new(positions, &self.frequencies, self.magnitude);
        // Where sequences start matters for dropout alone, and here is none.
        let rows = Rows { starts: &[0, ids.len()], rope };
        let mut x = self.decoder.embed(ids)?;
        for layer in 0..self.decoder.arch.num_layers {
            let weights = self.decoder.source.layer(layer)?;
            let block = self.decoder.block(layer, &weights, &rows, None)?;
            x = run_block(&block, &x, products, |qkv| attend(layer, qkv))?;
        }
        Ok(x)
    }

    /// The logits of hidden states `[rows, hidden]` of the last layer.
    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        let source = self.decoder.source;
        let normed = rms_norm(x, &source.final_norm()?, self.decoder.arch.rms_norm_eps)?;
        Ok(product_few(&normed, &source.head()?)?)
    }
}

/// One layer, as [`Block::inner`] and [`Block::output`] have it, with another attention.
fn run_block(
    block: &Block<'_>,
    x: &Tensor,
    products: Products,
    attend: impl FnOnce(Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let (w, eps) = (block.weights, block.arch.rms_norm_eps);
    let product = |linear: Linear<'_>, x: &Tensor, residual: Option<&Tensor>| match products {
        Products::Many => linear.forward(x, block.rows.starts, residual),
        Products::Few => linear.forward_few(x, residual),
    };
    let normed = rms_norm(x, &w.input_norm, eps)?;
    let qkv = product(block.linear(Site::Qkv), &normed, None)?;
    let attended = attend(block.rotate(qkv, Direction::Forward)?)?;
    let middle = product(block.linear(Site::O), &attended, Some(x))?;
    let normed = rms_norm(&middle, &w.post_norm, eps)?;
    let h = gated(&product(block.linear(Site::GateUp), &normed, None)?, Activation::Silu)?;
    Ok(product(block.linear(Site::Down), &h, Some(&middle))?)
}
