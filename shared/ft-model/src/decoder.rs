//! The whole model over a stream of layers: loss, gradients, hidden states.

mod pass;

pub use crate::step_options::{DropoutKey, NeftuneKey, StepOptions};
pub use pass::Touched;

use std::sync::Arc;

use candle_core::{DType, Tensor};
use ft_kernels::backend::{Compute, Precision, is_host};
use ft_kernels::neftune::neftune_noise;
use ft_kernels::residual::scaled;
use ft_kernels::tensor::from_vec;

use crate::arch::{Architecture, Family};
use crate::batch::Batch;
use crate::block::{Adapted, Attention, Block, Kept, Products, Rows, WithoutCache, kept_bytes_per_token};
use crate::error::{Error, Result};
use crate::finite::expect_finite;
use crate::head::{Head, SequenceLoss};
use crate::layers::{LayerSource, LayerWeights, Unit, Weight};
use crate::lora::{Adapter, End, OnEnd, PairGradients, add_by_token};
use crate::sink::{Gradient, Sink};
use crate::spans::timed;
use crate::trained::{Biases, Saved, with_biases};

/// A frozen model, and the adapter on it if there is one.
pub struct Decoder<'a> {
    /// Which operators compute, and in what; where, the source's device says.
    pub compute: Compute,
    pub arch: &'a Architecture,
    pub source: &'a dyn LayerSource,
    pub adapter: Option<&'a Adapter>,
}

impl<'a> Decoder<'a> {
    /// The hidden states after the last layer, before the final norm: `[tokens, hidden]`.
    ///
    /// # Errors
    /// If a layer cannot be had, a token lies outside the vocabulary or an operator fails.
    pub fn hidden(&self, batch: &Batch) -> Result<Tensor> {
        self.hidden_each(batch, |_, _| Ok(()))
    }

    /// [`Self::hidden`], calling `see` with each layer's number and its input, and at the end with the
    /// number of layers and the result.
    ///
    /// # Errors
    /// As [`Self::hidden`], and what `see` reports.
    pub fn hidden_each(&self, batch: &Batch, mut see: impl FnMut(usize, &Tensor) -> Result<()>) -> Result<Tensor> {
        let rows = self.rows(batch, 0)?;
        self.through(self.embed(batch)?, &rows, &mut WithoutCache { starts: &batch.starts }, &mut see)
    }

    /// All layers over `x`, `[tokens, hidden]`, which nothing is learned from; `see` is called as in
    /// [`Self::hidden_each`].
    pub(crate) fn through(
        &self,
        mut x: Tensor,
        rows: &Rows<'_>,
        attention: &mut dyn Attention,
        see: &mut dyn FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        expect_finite(&x, || format!("what goes into the model's '{}.0'", self.arch.names().layers))?;
        for i in 0..self.arch.num_layers {
            see(i, &x)?;
            let layer = self.layer(i)?;
            let block = self.block(&layer, rows, None);
            x = block.output(&block.inner(&x, attention)?)?;
            self.expect_finite(&x, i)?;
        }
        see(self.arch.num_layers, &x)?;
        Ok(x)
    }

    /// Fails where layer `layer` gave numbers that are not finite. A device is only asked after the last layer, for an
    /// answer has to be waited for.
    pub(crate) fn expect_finite(&self, x: &Tensor, layer: usize) -> Result<()> {
        if !is_host(x.device()) && layer + 1 < self.arch.num_layers {
            return Ok(());
        }
        expect_finite(x, || format!("the model's '{}.{layer}'", self.arch.names().layers))
    }

    /// The logits of every token: `[tokens, vocabulary]`. For tests and short texts: it is large.
    ///
    /// # Errors
    /// As [`Self::hidden`].
    pub fn logits(&self, batch: &Batch) -> Result<Tensor> {
        let all: Vec<u32> = (0..batch.tokens() as u32).collect();
        self.head().logits(&self.hidden(batch)?, &all)
    }

    /// The losses of the batch's sequences.
    ///
    /// # Errors
    /// As [`Self::hidden`], and if a label lies outside the vocabulary.
    pub fn losses(&self, batch: &Batch) -> Result<Vec<SequenceLoss>> {
        self.source.expect(&self.touched().forward_pass(self.arch));
        self.head().losses(&self.hidden(batch)?, batch)
    }

    /// The losses of the batch's sequences; the adapters' gradients go to `sink`, for each trained tensor one from each
    /// sequence, in the order of the sequences.
    ///
    /// # Errors
    /// As [`Self::losses`], and what `sink` reports.
    pub fn losses_and_gradients(
        &self,
        batch: &Batch,
        options: &StepOptions,
        sink: &mut Sink<'_>,
    ) -> Result<Vec<SequenceLoss>> {
        let touched = self.touched();
        self.source.expect(&touched.training_pass(self.arch));
        let rows = self.rows(batch, options.first_sequence)?;
        let recomputed = self.recomputed_layers(batch.tokens(), options.activation_memory);
        let (x, mut kept) = self.forward_keeping(batch, &rows, recomputed, options)?;
        let (losses, mut dx) = self.head().losses_and_gradient(&x, batch, options, sink)?;
        drop(x);
        let _pass = timed!("backward");
        let (lowest, of_embedding) = (touched.lowest, self.trains_embedding());
        while let Some((input, saved)) = kept.pop() {
            let i = kept.len();
            if lowest.is_none_or(|lowest| i < lowest) && !of_embedding {
                break;
            }
            let layer = self.layer(i)?;
            let block = self.block(&layer, &rows, Some(options));
            let saved = match saved {
                Some(saved) => saved,
                None => block.inner(&input, &mut WithoutCache { starts: rows.starts })?,
            };
            let below = lowest.is_some_and(|lowest| i > lowest) || of_embedding;
            let Some(next) = block.backward(&dx, &input, saved, below, sink)? else { break };
            dx = next;
        }
        if of_embedding {
            self.embedding_gradient(&dx, batch, options.first_sequence, sink)?;
        }
        Ok(losses)
    }

    /// Takes part in another rank's micro-batch without one of its own: asks for all that it asks for, `training` or
    /// only looking.
    ///
    /// # Errors
    /// If a layer cannot be had.
    pub fn accompany(&self, training: bool) -> Result<()> {
        let touched = self.touched();
        let pass = if training { touched.training_pass(self.arch) } else { touched.forward_pass(self.arch) };
        self.source.expect(&pass);
        for unit in pass {
            match unit {
                Unit::Embedding => drop(self.source.embedding()?),
                Unit::Layer(i) => drop(self.source.layer(i)?),
                Unit::Head => drop(self.source.head()?),
            }
        }
        Ok(())
    }

    /// Where the adapter's trained tensors are.
    fn touched(&self) -> Touched {
        let trained = self.adapter.into_iter().flat_map(Adapter::trainable);
        Touched::of(self.arch, trained.map(|trained| trained.of))
    }

    /// The embedding where it is trained.
    fn saved_embedding(&self) -> Option<Saved<'_>> {
        self.adapter?.saved(&self.arch.embedding_name())
    }

    /// The pair on the embedding.
    fn embedding_pair(&self) -> Option<OnEnd<'_>> {
        self.adapter?.on_end(self.arch, End::Embedding)
    }

    /// Whether something of the embedding is trained.
    fn trains_embedding(&self) -> bool {
        self.saved_embedding().is_some() || self.embedding_pair().is_some()
    }

    /// Hands over each sequence's gradient of the embedding, its rows' gradients, added where their tokens stand; or of
    /// its pair.
    fn embedding_gradient(&self, dx: &Tensor, batch: &Batch, first: usize, sink: &mut Sink<'_>) -> Result<()> {
        let scale = self.arch.embedding_scale as f32;
        let dx = if scale.total_cmp(&1.0).is_eq() { dx.clone() } else { scaled(self.compute, dx.copy()?, scale)? };
        let dx = dx.to_dtype(DType::F32)?;
        for (i, span) in batch.starts.windows(2).enumerate() {
            let (sequence, ids) = (first + i, &batch.ids[span[0]..span[1]]);
            let rows = dx.narrow(0, span[0], span[1] - span[0])?;
            let padding = self.arch.padding_row();
            if let Some(OnEnd { ids: own, pair }) = self.embedding_pair() {
                let PairGradients { a, b } = pair.embed_backward(self.compute, ids, &rows, padding)?;
                sink(Gradient { id: own.a, sequence, tensor: a })?;
                sink(Gradient { id: own.b, sequence, tensor: b })?;
            }
            if let Some(saved) = self.saved_embedding() {
                let tensor = add_by_token(&saved.tensor.zeros_like()?, ids, &rows, padding)?;
                sink(Gradient { id: saved.id, sequence, tensor })?;
            }
        }
        Ok(())
    }

    /// How many of the first layers are computed a second time, for a micro-batch of `tokens` tokens:
    /// what fits `activation_memory` is kept of the last layers, whose backward comes first, so that
    /// their memory is free again when the first layers need theirs.
    pub fn recomputed_layers(&self, tokens: usize, activation_memory: u64) -> usize {
        recomputed_layers(self.arch, self.compute.precision, tokens, activation_memory)
    }

    /// Forward through all layers. For each its input, and from layer `recomputed` on what backward needs.
    #[allow(clippy::type_complexity)]
    fn forward_keeping(
        &self,
        batch: &Batch,
        rows: &Rows<'_>,
        recomputed: usize,
        options: &StepOptions,
    ) -> Result<(Tensor, Vec<(Tensor, Option<Kept>)>)> {
        let _pass = timed!("forward");
        let mut x = self.noisy(self.embed(batch)?, batch, options)?;
        let mut all = Vec::with_capacity(self.arch.num_layers);
        for i in 0..self.arch.num_layers {
            let layer = self.layer(i)?;
            let block = self.block(&layer, rows, Some(options));
            let kept = block.inner(&x, &mut WithoutCache { starts: rows.starts })?;
            let y = block.output(&kept)?;
            all.push((std::mem::replace(&mut x, y), (i >= recomputed).then_some(kept)));
        }
        Ok((x, all))
    }

    /// The end of the model.
    pub fn head(&self) -> Head<'a> {
        Head { compute: self.compute, arch: self.arch, source: self.source, adapter: self.adapter }
    }

    /// Embeddings with NEFTune's noise, each sequence with its own.
    fn noisy(&self, x: Tensor, batch: &Batch, options: &StepOptions) -> Result<Tensor> {
        let Some(key) = options.neftune.filter(|key| key.alpha > 0.0) else { return Ok(x) };
        let mut noise = Vec::with_capacity(x.elem_count());
        for (i, span) in batch.starts.windows(2).enumerate() {
            let stream = options.noise_of(&key, i);
            noise.extend(neftune_noise(self.compute.isa, &stream, span[1] - span[0], self.arch.hidden_size, key.alpha));
        }
        let noise = from_vec(noise, x.shape())?.to_device(x.device())?.to_dtype(x.dtype())?;
        // Granite scales its embeddings after the peers have added the noise, Gemma before.
        let scale = if self.arch.family == Family::Granite { self.arch.embedding_scale } else { 1.0 };
        Ok((x + (noise * scale)?)?)
    }

    /// The embeddings of sequences laid end to end, `[tokens, hidden]`: what the first layer reads.
    fn embed(&self, batch: &Batch) -> Result<Tensor> {
        let positions = batch.starts.windows(2).flat_map(|span| 0..(span[1] - span[0]) as u32);
        self.embed_at(&batch.ids, &positions.collect::<Vec<_>>())
    }

    /// The embeddings of tokens at positions of their sequences.
    pub(crate) fn embed_at(&self, ids: &[u32], positions: &[u32]) -> Result<Tensor> {
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= self.arch.vocab_size) {
            return Err(Error::Token { id, vocabulary: self.arch.vocab_size });
        }
        let _timed = timed!("embedding");
        let ends = self.source.ends();
        let table = match self.saved_embedding() {
            Some(saved) => Weight::from(saved.tensor),
            None => self.source.embedding()?,
        };
        let mut x = table.look_up(ids)?;
        if let Some(OnEnd { pair, .. }) = self.embedding_pair() {
            x = (x + pair.embed(self.compute, ids)?)?;
        }
        let scale = self.arch.embedding_scale as f32;
        if scale.total_cmp(&1.0).is_ne() {
            x = scaled(self.compute, x, scale)?;
        }
        if let Some(table) = &ends.positions {
            x = (x + table.index_select(&Tensor::new(positions, table.device())?, 0)?)?;
        }
        Ok(x.to_dtype(self.compute.precision.activations)?)
    }

    fn rows<'b>(&self, batch: &'b Batch, first_sequence: usize) -> Result<Rows<'b>> {
        let ropes = self.arch.rope_tables(&batch.starts)?;
        let positions = batch.starts.windows(2).flat_map(|span| 0..(span[1] - span[0]) as u32);
        let query_factors = self.arch.query_factors(positions);
        Ok(Rows { starts: &batch.starts, first_sequence, ropes, query_factors, products: Products::Many })
    }

    /// The weights of layer `i`, with the trained biases in their places.
    fn layer(&self, i: usize) -> Result<Loaded> {
        let _timed = timed!("weights");
        let (weights, biases) = with_biases(self.arch, i, self.source.layer(i)?, self.adapter)?;
        Ok(Loaded { number: i, weights, biases })
    }

    fn block<'b>(&'b self, layer: &'b Loaded, rows: &'b Rows<'b>, options: Option<&StepOptions>) -> Block<'b> {
        let number = layer.number;
        let on = self.adapter.into_iter().flat_map(|adapter| adapter.on_layer(number));
        let adapted = |(projection, ids, pair)| {
            let dropout = options.and_then(|o| o.dropout_of(number, projection, rows.starts.len() - 1));
            Adapted { projection, ids, pair, dropout }
        };
        Block {
            compute: self.compute,
            arch: self.arch,
            layer: number,
            weights: &layer.weights,
            adapters: on.map(adapted).collect(),
            biases: &layer.biases,
            rows,
        }
    }
}

/// [`Decoder::recomputed_layers`] of a model of which no more is known.
pub fn recomputed_layers(arch: &Architecture, precision: Precision, tokens: usize, activation_memory: u64) -> usize {
    let layer = (kept_bytes_per_token(arch, precision) * tokens).max(1) as u64;
    arch.num_layers - arch.num_layers.min(usize::try_from(activation_memory / layer).unwrap_or(usize::MAX))
}

/// A layer in hand.
struct Loaded {
    number: usize,
    weights: Arc<LayerWeights>,
    biases: Biases,
}
