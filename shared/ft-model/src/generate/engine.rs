//! The model's forward over prompts, and over one new token a sequence.

use candle_core::Tensor;
use ft_kernels::activation::swiglu;
use ft_kernels::attention::{AttentionSpec, attention_decode};
use ft_kernels::linear::product_few;
use ft_kernels::norm::rms_norm;
use ft_kernels::rope::{Direction, RopeTables};
use ft_kernels::tensor::{from_vec, with_slice};

use super::cache::Cache;
use crate::arch::Architecture;
use crate::batch::Batch;
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
    /// tokens, `[prompts, vocabulary]`.
    ///
    /// # Errors
    /// If a layer cannot be had, a prompt is empty or has a token outside the vocabulary, or an operator fails.
    pub fn prefill(&self, prompts: &[&[u32]], more: usize) -> Result<(Vec<Cache>, Tensor)> {
        let batch = Batch::of_prompts(prompts);
        let layers = self.decoder.arch.num_layers;
        let cache = |prompt: &&[u32]| Cache::new(layers, &self.spec, prompt.len() + more);
        let mut caches: Vec<Cache> = prompts.iter().map(cache).collect();
        let rows = self.decoder.rows(&batch);
        let mut x = self.decoder.embed(&batch.ids)?;
        let columns = self.spec.qkv_columns();
        for i in 0..layers {
            let weights = self.decoder.source.layer(i)?;
            let block = self.decoder.block(i, &weights, &rows, None)?;
            let kept = block.inner(&x)?;
            with_slice(kept.qkv(), |qkv| {
                for (cache, span) in caches.iter_mut().zip(batch.starts.windows(2)) {
                    cache.extend(i, &qkv[span[0] * columns..span[1] * columns], &self.spec);
                }
            })?;
            x = block.output(&kept)?;
        }
        caches.iter_mut().zip(prompts).for_each(|(cache, prompt)| cache.advance(prompt.len()));
        let last: Vec<u32> = batch.starts[1..].iter().map(|&end| end as u32 - 1).collect();
        let last = x.index_select(&Tensor::new(last.as_slice(), x.device())?, 0)?;
        Ok((caches, self.logits(&last)?))
    }

    /// Adds one token to each sequence; the logits of these tokens, `[sequences, vocabulary]`.
    ///
    /// # Errors
    /// As [`Self::prefill`].
    pub fn step(&self, tokens: &[u32], caches: &mut [&mut Cache]) -> Result<Tensor> {
        let positions: Vec<u32> = caches.iter().map(|cache| cache.tokens() as u32).collect();
        let starts: Vec<usize> = (0..=tokens.len()).collect();
        let rows = Rows { starts: &starts, rope: RopeTables::new(&positions, &self.frequencies, self.magnitude) };
        let mut x = self.decoder.embed(tokens)?;
        for i in 0..self.decoder.arch.num_layers {
            let weights = self.decoder.source.layer(i)?;
            let block = self.decoder.block(i, &weights, &rows, None)?;
            x = self.step_block(i, &block, &x, caches)?;
        }
        caches.iter_mut().for_each(|cache| cache.advance(1));
        self.logits(&x)
    }

    fn step_block(&self, layer: usize, block: &Block<'_>, x: &Tensor, caches: &mut [&mut Cache]) -> Result<Tensor> {
        let (w, eps) = (block.weights, block.arch.rms_norm_eps);
        let normed = rms_norm(x, &w.input_norm, eps)?;
        let qkv = block.linear(Site::Qkv).forward_few(&normed, None)?;
        let qkv = block.rotate(qkv, Direction::Forward)?;
        let (columns, width) = (self.spec.query_columns(), self.spec.qkv_columns());
        let mut queries = Vec::with_capacity(caches.len() * columns);
        with_slice(&qkv, |qkv| {
            for (cache, row) in caches.iter_mut().zip(qkv.chunks_exact(width)) {
                queries.extend_from_slice(&row[..columns]);
                cache.extend(layer, row, &self.spec);
            }
        })?;
        let views: Vec<_> = caches.iter().map(|cache| cache.layer(layer)).collect();
        let attended = attention_decode(&from_vec(queries, (views.len(), columns))?, &views, &self.spec)?;
        let middle = block.linear(Site::O).forward_few(&attended, Some(x))?;
        let normed = rms_norm(&middle, &w.post_norm, eps)?;
        let gated = swiglu(&block.linear(Site::GateUp).forward_few(&normed, None)?)?;
        Ok(block.linear(Site::Down).forward_few(&gated, Some(&middle))?)
    }

    /// The logits of hidden states `[rows, hidden]` of the last layer.
    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        let source = self.decoder.source;
        let normed = rms_norm(x, &source.final_norm()?, self.decoder.arch.rms_norm_eps)?;
        Ok(product_few(&normed, &source.head()?)?)
    }
}
