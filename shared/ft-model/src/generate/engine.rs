//! The model's forward over prompts, and over one new token a sequence.

use candle_core::Tensor;
use ft_kernels::attention::attention;
use ft_kernels::linear::Linear;
use ft_kernels::tensor::on_host;

use super::cache::{Cache, attend};
use super::prompts::{Prompts, Run};
use crate::arch::Architecture;
use crate::block::{Block, ProductOf, Rows, attention_spec};
use crate::decoder::Decoder;
use crate::error::Result;
use crate::projection::Site;

/// New tokens that a cache has room for from the start; for longer answers it grows as they come.
const RESERVED: usize = 256;

/// A model that reads prompts and continues them.
pub struct Engine<'a> {
    decoder: Decoder<'a>,
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
        Self { decoder }
    }

    /// What the model is made of.
    pub fn arch(&self) -> &'a Architecture {
        self.decoder.arch
    }

    /// Reads prompts: their caches, which will take about `more` tokens each, and the logits of their last
    /// tokens, `[prompts, vocabulary]`. No prompt may be empty.
    ///
    /// # Errors
    /// If a layer cannot be had, a prompt has a token outside the vocabulary, or an operator fails.
    pub fn prefill(&self, prompts: &[&[u32]], more: usize) -> Result<(Vec<Cache>, Tensor)> {
        let arch = self.decoder.arch;
        let cache = |prompt: &&[u32]| Cache::new(arch, prompt.len() + more.min(RESERVED));
        let mut caches: Vec<Cache> = prompts.iter().map(cache).collect();
        let logits = self.read(&self.laid_out(prompts), |layer, qkv, starts| {
            for (cache, span) in caches.iter_mut().zip(starts.windows(2)) {
                cache.extend(layer, &qkv.narrow(0, span[0], span[1] - span[0])?)?;
            }
            Ok(())
        })?;
        caches.iter_mut().zip(prompts).for_each(|(cache, prompt)| cache.advance(prompt.len()));
        Ok((caches, logits))
    }

    /// The cache of `tokens` as the first ones of a sequence of `length`, which will take about `more`.
    ///
    /// # Errors
    /// As [`Self::prefill`].
    pub fn reread(&self, tokens: &[u32], length: usize, more: usize) -> Result<Cache> {
        let mut cache = Cache::new(self.decoder.arch, tokens.len() + more.min(RESERVED));
        let mut prompts = Prompts::new(&[tokens], false);
        prompts.runs[0].1 = length;
        self.read(&prompts, |layer, qkv, _| Ok(cache.extend(layer, qkv)?))?;
        cache.advance(tokens.len());
        Ok(cache)
    }

    /// The logits of the prompts' last tokens, `[prompts, vocabulary]`, and no caches.
    ///
    /// # Errors
    /// As [`Self::prefill`].
    pub fn last_logits(&self, prompts: &[&[u32]]) -> Result<Tensor> {
        self.read(&self.laid_out(prompts), |_, _, _| Ok(()))
    }

    fn laid_out(&self, prompts: &[&[u32]]) -> Prompts {
        Prompts::new(prompts, self.decoder.arch.turns_alike(prompts.iter().map(|prompt| prompt.len())))
    }

    /// Runs prompts through all layers; `keep` sees each layer's rotated queries, keys and values, row by
    /// row, and where each prompt starts among the rows.
    fn read(&self, prompts: &Prompts, mut keep: impl FnMut(usize, &Tensor, &[usize]) -> Result<()>) -> Result<Tensor> {
        let last = |x: Tensor| -> Result<Tensor> {
            Ok(x.index_select(&Tensor::new(prompts.last.as_slice(), x.device())?, 0)?)
        };
        let x = self.run(&prompts.ids, &prompts.runs, Products::Many, |layer, qkv| {
            let qkv = prompts.whole(qkv)?;
            keep(layer, &qkv, &prompts.starts)?;
            let (attended, _) = attention(&qkv, &attention_spec(self.decoder.arch, layer), &prompts.starts)?;
            Ok(prompts.once(attended)?)
        })?;
        self.logits(&last(x)?)
    }

    /// Adds one token to each sequence; the logits of these tokens, `[sequences, vocabulary]`.
    ///
    /// # Errors
    /// As [`Self::prefill`].
    pub fn step(&self, tokens: &[u32], caches: &mut [&mut Cache]) -> Result<Tensor> {
        let run = |cache: &&mut Cache| (cache.tokens() as u32..cache.tokens() as u32 + 1, cache.tokens() + 1);
        let runs: Vec<Run> = caches.iter().map(run).collect();
        let x = self.run(tokens, &runs, Products::Few, |layer, qkv| self.attend(layer, &qkv, caches))?;
        caches.iter_mut().for_each(|cache| cache.advance(1));
        self.logits(&x)
    }

    /// The attention of one new token a sequence, whose keys and values go to the caches.
    fn attend(&self, layer: usize, qkv: &Tensor, caches: &mut [&mut Cache]) -> Result<Tensor> {
        let arch = self.decoder.arch;
        for (i, cache) in caches.iter_mut().enumerate() {
            cache.extend(layer, &qkv.narrow(0, i, 1)?)?;
        }
        let queries = qkv.narrow(1, 0, arch.query_columns())?.contiguous()?;
        Ok(attend(&queries, caches, layer, &attention_spec(arch, layer))?)
    }

    /// All layers; `attend` makes the attention of a layer from its turned queries, keys and values. The tokens'
    /// positions stand in `runs`.
    fn run(
        &self,
        ids: &[u32],
        runs: &[Run],
        products: Products,
        mut attend: impl FnMut(usize, Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let arch = self.decoder.arch;
        let ropes = arch.ropes.iter().map(|rope| rope.tables(runs.iter().cloned())).collect::<Result<_>>()?;
        // Where sequences start matters for dropout alone, and here is none.
        let rows = Rows { starts: &[0, ids.len()], ropes };
        let positions: Vec<u32> = runs.iter().flat_map(|run| run.0.clone()).collect();
        let mut x = self.decoder.embed_at(ids, &positions)?;
        for number in 0..arch.num_layers {
            let layer = self.decoder.layer(number)?;
            let block = self.decoder.block(&layer, &rows, None);
            x = run_block(&block, &x, products, |qkv| attend(number, qkv))?;
        }
        Ok(x)
    }

    /// The logits of hidden states `[rows, hidden]` of the last layer, on the host.
    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        Ok(on_host(&self.decoder.head().logits_of_few(x)?)?)
    }
}

/// One layer, as [`Block::inner`] and [`Block::output`] have it, with another attention.
fn run_block(
    block: &Block<'_>,
    x: &Tensor,
    products: Products,
    attend: impl FnOnce(Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let w = block.weights;
    let product = |linear: Linear<'_>, x: &Tensor, residual: Option<&Tensor>| match products {
        Products::Many => linear.forward(x, block.rows.starts, residual),
        Products::Few => linear.forward_few(x, residual),
    };
    let normed = block.normed(w.input_norm.as_ref(), x)?;
    let qkv = block.by_kind(product(block.linear(Site::Qkv), &normed, None)?)?;
    let attended = attend(block.turned(&qkv)?)?;
    let (middle, _) =
        block.add(x, w.attention_norm.as_ref(), |residual| Ok(product(block.linear(Site::O), &attended, residual)?))?;
    let normed = block.normed(w.mlp_norm.as_ref(), if block.arch.parallel { x } else { &middle })?;
    if let Some(experts) = block.arch.experts_of(block.layer) {
        let of: &ProductOf<'_> = &|linear, x, starts| match products {
            Products::Many => Ok(linear.forward(x, starts, None)?),
            Products::Few => Ok(linear.forward_few(x, None)?),
        };
        let routed = block.routed(&normed, experts, block.rows.starts, of)?;
        let branch = |residual: Option<&Tensor>| block.mixed(&routed, residual, block.rows.starts, of);
        return Ok(block.add(&middle, w.output_norm.as_ref(), branch)?.0);
    }
    let hidden = block.activated(&product(block.linear(Site::GateUp), &normed, None)?)?;
    let (y, _) = block
        .add(&middle, w.output_norm.as_ref(), |residual| Ok(product(block.linear(Site::Down), &hidden, residual)?))?;
    Ok(y)
}
