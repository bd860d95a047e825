//! The model's forward over prompts, and over one new token a sequence.

use candle_core::Tensor;
use ft_kernels::Compute;
use ft_kernels::attention::{AttentionSpec, attention};
use ft_kernels::tensor::on_host;

use super::cache::{Cache, attend, attend_along};
use super::prompts::{Prompts, Run};
use crate::arch::Architecture;
use crate::block::{Attended, Attention, Products, Rows};
use crate::decoder::Decoder;
use crate::error::Result;

/// New tokens that a cache has room for from the start; for longer answers it grows as they come.
const RESERVED: usize = 256;

/// A model that reads prompts and continues them.
pub struct Engine<'a> {
    decoder: Decoder<'a>,
}

/// The attention of prompts, whose keys and values `keep` sees: with the layer's number, each prompt's rows of rotated
/// queries, keys and values, and where each prompt starts among the rows.
struct OfPrompts<'a, K> {
    prompts: &'a Prompts,
    keep: K,
}

impl<K: FnMut(usize, &Tensor, &[usize]) -> Result<()>> Attention for OfPrompts<'_, K> {
    fn attend(&mut self, compute: Compute, layer: usize, spec: &AttentionSpec, turned: &Tensor) -> Result<Attended> {
        let qkv = self.prompts.whole(turned.clone())?;
        (self.keep)(layer, &qkv, &self.prompts.starts)?;
        let (attended, _) = attention(compute, &qkv, spec, &self.prompts.starts)?;
        Ok(Attended { rows: self.prompts.once(attended)?, lse: None })
    }
}

/// The attention of one new token a sequence, whose keys and values go to the sequences' caches.
struct OfNewTokens<'a, 'c> {
    caches: &'a mut [&'c mut Cache],
    query_columns: usize,
}

impl Attention for OfNewTokens<'_, '_> {
    fn attend(&mut self, compute: Compute, layer: usize, spec: &AttentionSpec, turned: &Tensor) -> Result<Attended> {
        for (i, cache) in self.caches.iter_mut().enumerate() {
            cache.extend(layer, &turned.narrow(0, i, 1)?)?;
        }
        let queries = turned.narrow(1, 0, self.query_columns)?.contiguous()?;
        Ok(Attended { rows: attend(compute, &queries, self.caches, layer, spec)?, lse: None })
    }
}

/// The attention of several new tokens of one sequence, whose keys and values go to its cache.
struct OfRest<'c> {
    cache: &'c mut Cache,
    query_columns: usize,
}

impl Attention for OfRest<'_> {
    fn attend(&mut self, compute: Compute, layer: usize, spec: &AttentionSpec, turned: &Tensor) -> Result<Attended> {
        self.cache.extend(layer, turned)?;
        let queries = turned.narrow(1, 0, self.query_columns)?.contiguous()?;
        Ok(Attended { rows: attend_along(compute, &queries, self.cache, layer, spec)?, lse: None })
    }
}

impl<'a> Engine<'a> {
    /// The engine of `decoder`'s model and adapter.
    pub fn new(decoder: Decoder<'a>) -> Self {
        Self { decoder }
    }

    /// The model and its adapter.
    pub fn decoder(&self) -> &Decoder<'a> {
        &self.decoder
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
    fn read(&self, prompts: &Prompts, keep: impl FnMut(usize, &Tensor, &[usize]) -> Result<()>) -> Result<Tensor> {
        let last = |x: Tensor| -> Result<Tensor> {
            Ok(x.index_select(&Tensor::new(prompts.last.as_slice(), x.device())?, 0)?)
        };
        let x = self.run(&prompts.ids, &prompts.runs, Products::Many, &mut OfPrompts { prompts, keep })?;
        self.logits(&last(x)?)
    }

    /// Adds one token to each sequence; the logits of these tokens, `[sequences, vocabulary]`.
    ///
    /// # Errors
    /// As [`Self::prefill`].
    pub fn step(&self, tokens: &[u32], caches: &mut [&mut Cache]) -> Result<Tensor> {
        let run = |cache: &&mut Cache| (cache.tokens() as u32..cache.tokens() as u32 + 1, cache.tokens() + 1);
        let runs: Vec<Run> = caches.iter().map(run).collect();
        let attention = &mut OfNewTokens { caches: &mut *caches, query_columns: self.decoder.arch.query_columns() };
        let x = self.run(tokens, &runs, Products::Few, attention)?;
        caches.iter_mut().for_each(|cache| cache.advance(1));
        self.logits(&x)
    }

    /// Adds several tokens, at least one, to one sequence that is not empty; the logits of the last, `[1, vocabulary]`.
    ///
    /// # Errors
    /// As [`Self::prefill`].
    pub fn extend(&self, tokens: &[u32], cache: &mut Cache) -> Result<Tensor> {
        let (from, to) = (cache.tokens(), cache.tokens() + tokens.len());
        let attention = &mut OfRest { cache: &mut *cache, query_columns: self.decoder.arch.query_columns() };
        let x = self.run(tokens, &[(from as u32..to as u32, to)], Products::Many, attention)?;
        cache.advance(tokens.len());
        self.logits(&x.narrow(0, tokens.len() - 1, 1)?.contiguous()?)
    }

    /// The hidden states of tokens after all layers, `[tokens, hidden]`; their positions stand in `runs`.
    fn run(&self, ids: &[u32], runs: &[Run], products: Products, attention: &mut dyn Attention) -> Result<Tensor> {
        let arch = self.decoder.arch;
        let ropes = arch.ropes.iter().map(|rope| rope.tables(runs.iter().cloned())).collect::<Result<_>>()?;
        // Where sequences start matters for dropout alone, and here is none.
        let positions: Vec<u32> = runs.iter().flat_map(|run| run.0.clone()).collect();
        let query_factors = arch.query_factors(positions.iter().copied());
        let rows = Rows { starts: &[0, ids.len()], first_sequence: 0, ropes, query_factors, products };
        self.decoder.through(self.decoder.embed_at(ids, &positions)?, &rows, attention, &mut |_, _| Ok(()))
    }

    /// The logits of hidden states `[rows, hidden]` of the last layer, on the host.
    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        Ok(on_host(&self.decoder.head().logits_of_few(x)?)?)
    }
}
