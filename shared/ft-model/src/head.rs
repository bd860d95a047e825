//! The end of the model: final norm, vocabulary, loss.
//!
//! Hidden states of positions without a label never reach the vocabulary; the rest go through it in
//! chunks, each chunk's loss and gradient taken at once, so that `[rows, vocabulary]` exists for one
//! chunk only.

use std::ops::Range;

use candle_core::Tensor;
use ft_kernels::backend::{Compute, is_host};
use ft_kernels::linear::{Dropout, dropout_factors, product, product_few, weight_gradient};
use ft_kernels::loss::{LogitShape, RowLosses, cross_entropy, cross_entropy_forward, shape_logits};
use ft_kernels::rows::sum_rows;

use crate::arch::Architecture;
use crate::batch::Batch;
use crate::error::Result;
use crate::layers::{LayerSource, NormWeights, Weight};
use crate::lora::{Adapter, End, OnEnd, PairGradients};
use crate::sink::{Gradient, Sink};
use crate::spans::timed;
use crate::step_options::StepOptions;
use crate::trainable::TrainableId;
use crate::trained::Saved;

/// Rows that go through the vocabulary at a time, on a CPU and on another device.
const CHUNK: usize = 256;
const CHUNK_OF_A_DEVICE: usize = 1024;

/// Of one sequence: the sum of its labels' losses, how many there are, and how many were the likeliest token.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SequenceLoss {
    /// In nats.
    pub sum: f64,
    pub labels: usize,
    pub correct: usize,
}

/// The model's end.
pub struct Head<'a> {
    pub compute: Compute,
    pub arch: &'a Architecture,
    pub source: &'a dyn LayerSource,
    pub adapter: Option<&'a Adapter>,
}

/// The head's weight and bias, and where they are trained; and its pair.
struct Weights<'a> {
    weight: Weight,
    bias: Option<Tensor>,
    trained: [Option<TrainableId>; 2],
    pair: Option<OnEnd<'a>>,
}

impl Head<'_> {
    /// The logits of the rows `rows` of `x` (`[tokens, hidden]`, before the final norm), as the head's product gives
    /// them: `[rows, vocabulary]`, neither scaled nor squeezed.
    fn products(&self, weights: &Weights<'_>, x: &Tensor, rows: &[u32]) -> Result<Tensor> {
        let normed = self.final_norm().weights.forward(self.compute, self.arch, &pick(x, rows)?)?;
        let logits = weights.logits(self.compute, &normed)?;
        Ok(match weights.pair {
            Some(OnEnd { pair, .. }) => pair.add_logits(self.compute, logits, normed)?.0,
            None => logits,
        })
    }

    /// The logits of the rows `rows` of `x` (`[tokens, hidden]`, before the final norm): `[rows, vocabulary]`.
    ///
    /// # Errors
    /// If an operator fails.
    pub fn logits(&self, x: &Tensor, rows: &[u32]) -> Result<Tensor> {
        Ok(shape_logits(self.compute, self.products(&self.weights()?, x, rows)?, self.shape())?)
    }

    /// How logits are made from the head's product.
    pub fn shape(&self) -> LogitShape {
        LogitShape { scale: self.arch.logit_scale as f32, softcap: self.arch.logit_softcap.map(|cap| cap as f32) }
    }

    /// The head, `[vocabulary, hidden]`, and its bias: the trained ones where there are some.
    fn weights(&self) -> Result<Weights<'_>> {
        let name = self.arch.names().head;
        let saved = |kind: &str| self.adapter.and_then(|a| a.saved(&format!("{name}.{kind}")));
        let (weight, bias) = (saved("weight"), saved("bias"));
        let id = |saved: &Option<Saved<'_>>| saved.as_ref().map(|saved| saved.id);
        Ok(Weights {
            trained: [id(&weight), id(&bias)],
            pair: self.adapter.and_then(|adapter| adapter.on_end(self.arch, End::Head)),
            weight: weight.map_or_else(|| self.source.head(), |saved| Ok(saved.tensor.into()))?,
            bias: bias.map(|saved| saved.tensor).or(self.source.ends().head_bias.as_ref()).cloned(),
        })
    }

    /// [`Self::logits`] of all of a few rows.
    pub(crate) fn logits_of_few(&self, x: &Tensor) -> Result<Tensor> {
        let normed = self.final_norm().weights.forward(self.compute, self.arch, x)?;
        let Weights { weight, bias, pair, .. } = self.weights()?;
        let mut logits = product_few(self.compute, &normed, &weight)?;
        if let Some(bias) = bias {
            logits = logits.broadcast_add(&bias.to_dtype(logits.dtype())?)?;
        }
        if let Some(OnEnd { pair, .. }) = pair {
            logits = pair.add_logits_of_few(self.compute, &logits, &normed)?;
        }
        Ok(shape_logits(self.compute, logits, self.shape())?)
    }

    /// The losses of the batch's sequences.
    ///
    /// # Errors
    /// If an operator fails, or a label lies outside the vocabulary.
    pub fn losses(&self, x: &Tensor, batch: &Batch) -> Result<Vec<SequenceLoss>> {
        let weights = self.weights()?;
        let mut losses = vec![SequenceLoss::default(); batch.sequences()];
        let most = chunk_rows(is_host(x.device()));
        for from in (0..batch.rows.len()).step_by(most) {
            let chunk = from..(from + most).min(batch.rows.len());
            let logits = self.products(&weights, x, &batch.rows[chunk.clone()])?;
            let rows = cross_entropy_forward(self.compute, &logits, &batch.targets[chunk.clone()], self.shape())?;
            add(&mut losses, &rows, &batch.owners[chunk]);
        }
        Ok(losses)
    }

    /// The negative log-likelihood of each labelled row of the batch, in nats, in the rows' order.
    ///
    /// # Errors
    /// As [`Self::losses`].
    pub fn row_losses(&self, x: &Tensor, batch: &Batch) -> Result<RowLosses> {
        let weights = self.weights()?;
        let mut all = RowLosses { nll: Vec::new(), correct: Vec::new() };
        let most = chunk_rows(is_host(x.device()));
        for (rows, targets) in batch.rows.chunks(most).zip(batch.targets.chunks(most)) {
            let found = cross_entropy_forward(self.compute, &self.products(&weights, x, rows)?, targets, self.shape())?;
            all.nll.extend(found.nll);
            all.correct.extend(found.correct);
        }
        Ok(all)
    }

    /// The losses of the batch's sequences, and the gradient of `x` of their sum over the step's normaliser; the head's own
    /// gradients, where it is trained, go to `sink`.
    ///
    /// # Errors
    /// As [`Self::losses`], and what `sink` reports.
    pub fn losses_and_gradient(
        &self,
        x: &Tensor,
        batch: &Batch,
        options: &StepOptions,
        sink: &mut Sink<'_>,
    ) -> Result<(Vec<SequenceLoss>, Tensor)> {
        let weights = self.weights()?;
        let norm = self.final_norm();
        let mut losses = vec![SequenceLoss::default(); batch.sequences()];
        let mut gradients = Vec::new();
        let mut own = Own::new(&weights, &norm);
        let dropout = options.dropout_of_head(self.arch, batch.sequences());
        let scale = (1.0 / options.normaliser) as f32;
        for Chunk { rows, ends } in chunks(batch, own.is_trained(), chunk_rows(is_host(x.device()))) {
            if !rows.is_empty() {
                let pass = timed!("forward");
                let picked = pick(x, &batch.rows[rows.clone()])?;
                let normed = norm.weights.forward(self.compute, self.arch, &picked)?;
                let targets = &batch.targets[rows.clone()];
                let (mut logits, mut low) = (weights.logits(self.compute, &normed)?, None);
                if let Some(OnEnd { pair, .. }) = weights.pair {
                    let masks = Masks::of(self.compute, dropout.as_ref(), batch, rows.clone(), &normed)?;
                    let (sum, kept) = pair.add_logits(self.compute, logits, masks.applied(&normed)?)?;
                    (logits, low) = (sum, Some((pair, kept, masks)));
                }
                let (nll, dlogits) = {
                    let _timed = timed!("loss");
                    cross_entropy(self.compute, logits, targets, scale, self.shape())?
                };
                add(&mut losses, &nll, &batch.owners[rows]);
                drop(pass);
                let _pass = timed!("backward");
                let mut dnormed = {
                    let _timed = timed!("head");
                    product(self.compute, &dlogits, &weights.weight, true)?
                };
                if let Some((pair, low, masks)) = low {
                    let (gradients, through) = pair.logits_backward(self.compute, &dlogits, &low)?;
                    dnormed = (dnormed + masks.applied(&through)?)?;
                    own.add_pair(gradients)?;
                }
                own.add(self.compute, &dlogits, &normed, &dnormed)?;
                gradients.push(norm.weights.backward(self.compute, self.arch, &dnormed, &picked, None)?);
            }
            if let Some(sequence) = ends {
                own.hand_over(options.first_sequence + sequence, sink)?;
            }
        }
        Ok((losses, laid_out(&gradients, x, &batch.rows)?))
    }

    /// The norm after the last block, with its trained bias where there is one.
    fn final_norm(&self) -> FinalNorm {
        let weights = &self.source.ends().final_norm;
        let name = format!("{}.bias", self.arch.names().final_norm);
        match self.adapter.and_then(|a| a.saved(&name)) {
            Some(saved) => FinalNorm { weights: weights.with_bias(saved.tensor), trained: Some(saved.id) },
            None => FinalNorm { weights: weights.clone(), trained: None },
        }
    }
}

/// The factors of the dropout of some rows of one sequence, `[rows, hidden]`; none without dropout.
struct Masks(Option<Tensor>);

impl Masks {
    /// A row's factors are those of its token's place in the sequence, however the rows are cut.
    fn of(
        compute: Compute,
        dropout: Option<&Dropout>,
        batch: &Batch,
        rows: Range<usize>,
        like: &Tensor,
    ) -> Result<Self> {
        let Some(dropout) = dropout else { return Ok(Self(None)) };
        let owner = batch.owners[rows.start];
        let start = batch.starts[owner];
        let positions: Vec<usize> = batch.rows[rows].iter().map(|&row| row as usize - start).collect();
        let factors = dropout_factors(compute, &dropout.streams[owner], dropout.p, &positions, like.dim(1)?)?;
        Ok(Self(Some(factors.to_device(like.device())?.to_dtype(like.dtype())?)))
    }

    fn applied(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match &self.0 {
            Some(factors) => (x * factors)?,
            None => x.clone(),
        })
    }
}

/// The norm after the last block, and its bias where it is trained.
struct FinalNorm {
    weights: NormWeights,
    trained: Option<TrainableId>,
}

/// The gradients of the head's own tensors from one sequence, as far as they are trained.
struct Own<'a> {
    /// For each its id, its tensor, and the sum so far.
    weight: Option<(TrainableId, &'a Tensor, Option<Tensor>)>,
    bias: Option<(TrainableId, &'a Tensor, Option<Tensor>)>,
    norm: Option<(TrainableId, &'a Tensor, Option<Tensor>)>,
    /// `A` and `B` of the head's pair.
    pair: [Option<(TrainableId, &'a Tensor, Option<Tensor>)>; 2],
}

impl<'a> Own<'a> {
    fn new(weights: &'a Weights<'a>, norm: &'a FinalNorm) -> Self {
        let one = |id: Option<TrainableId>, tensor: Option<&'a Tensor>| Some((id?, tensor?, None));
        Self {
            weight: one(weights.trained[0], weights.weight.as_float()),
            bias: one(weights.trained[1], weights.bias.as_ref()),
            norm: one(norm.trained, norm.weights.bias.as_ref()),
            pair: match weights.pair {
                Some(OnEnd { ids, pair }) => [one(Some(ids.a), Some(&pair.a)), one(Some(ids.b), Some(&pair.b))],
                None => [None, None],
            },
        }
    }

    fn is_trained(&self) -> bool {
        self.weight.is_some() || self.bias.is_some() || self.norm.is_some() || self.pair[0].is_some()
    }

    /// Adds the pair's gradients from some of the sequence's rows.
    fn add_pair(&mut self, gradients: PairGradients) -> Result<()> {
        for (sum, part) in self.pair.iter_mut().zip([gradients.a, gradients.b]) {
            if let Some((_, _, sum)) = sum {
                more(sum, part)?;
            }
        }
        Ok(())
    }

    /// Adds what some of the sequence's rows say.
    fn add(&mut self, compute: Compute, dlogits: &Tensor, normed: &Tensor, dnormed: &Tensor) -> Result<()> {
        let columns = |dy: &Tensor| -> Result<Tensor> {
            let sums = sum_rows(compute, dy, &[0, dy.dim(0)?])?;
            Ok(Tensor::cat(&sums, 0)?)
        };
        if let Some((_, _, sum)) = &mut self.weight {
            more(sum, weight_gradient(compute, dlogits, normed)?)?;
        }
        if let Some((_, _, sum)) = &mut self.bias {
            more(sum, columns(dlogits)?)?;
        }
        if let Some((_, _, sum)) = &mut self.norm {
            more(sum, columns(dnormed)?)?;
        }
        Ok(())
    }

    /// The sequence is done.
    fn hand_over(&mut self, sequence: usize, sink: &mut Sink<'_>) -> Result<()> {
        let whole = [&mut self.weight, &mut self.bias, &mut self.norm];
        for (id, tensor, sum) in whole.into_iter().chain(&mut self.pair).flatten() {
            let tensor = match sum.take() {
                Some(sum) => sum,
                None => tensor.zeros_like()?,
            };
            sink(Gradient { id: *id, sequence, tensor })?;
        }
        Ok(())
    }
}

fn more(sum: &mut Option<Tensor>, part: Tensor) -> Result<()> {
    *sum = Some(match sum.take() {
        Some(sum) => (sum + part)?,
        None => part,
    });
    Ok(())
}

impl Weights<'_> {
    /// `[rows, hidden]` to `[rows, vocabulary]`.
    fn logits(&self, compute: Compute, normed: &Tensor) -> Result<Tensor> {
        let _timed = timed!("head");
        let logits = product(compute, normed, &self.weight, false)?;
        Ok(match &self.bias {
            Some(bias) => logits.broadcast_add(&bias.to_dtype(logits.dtype())?)?,
            None => logits,
        })
    }
}

/// Labelled rows that go through the vocabulary together.
struct Chunk {
    rows: Range<usize>,
    /// The sequence whose last ones they are, where chunks do not reach over several.
    ends: Option<usize>,
}

/// The labelled rows in chunks. Where a tensor of the head is trained no chunk reaches over two sequences: its gradient
/// is formed per sequence, and must not depend on what stands beside it.
fn chunks(batch: &Batch, one_by_one: bool, most: usize) -> Vec<Chunk> {
    let cut = |rows: Range<usize>, of: Option<usize>| -> Vec<Chunk> {
        let last = rows.end;
        let one = |from| Chunk { rows: from..(from + most).min(last), ends: of.filter(|_| from + most >= last) };
        rows.step_by(most).map(one).collect()
    };
    if !one_by_one {
        return cut(0..batch.rows.len(), None);
    }
    let first = |sequence: usize| batch.owners.partition_point(|owner| *owner < sequence);
    let of = |sequence: usize| match first(sequence)..first(sequence + 1) {
        none if none.is_empty() => vec![Chunk { rows: none, ends: Some(sequence) }],
        rows => cut(rows, Some(sequence)),
    };
    (0..batch.sequences()).flat_map(of).collect()
}

/// The gradients of the rows `rows` at their places in one of all of `x`'s; zero elsewhere.
fn laid_out(gradients: &[Tensor], x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    if gradients.is_empty() {
        return Ok(x.zeros_like()?);
    }
    let found = Tensor::cat(gradients, 0)?;
    if is_host(x.device()) {
        let rows = Tensor::new(rows, x.device())?;
        return Ok(x.zeros_like()?.index_add(&rows, &found, 0)?);
    }
    // Candle's addition by rows goes through them one by one on a GPU; this takes each from its place, or zeros.
    let (tokens, columns) = x.dims2()?;
    let mut places = vec![rows.len() as u32; tokens];
    rows.iter().zip(0..).for_each(|(row, place)| places[*row as usize] = place);
    let zeros = Tensor::zeros((1, columns), found.dtype(), x.device())?;
    Ok(Tensor::cat(&[found, zeros], 0)?.index_select(&Tensor::new(places, x.device())?, 0)?)
}

/// How many rows go through the vocabulary at a time.
pub(crate) fn chunk_rows(on_cpu: bool) -> usize {
    if on_cpu { CHUNK } else { CHUNK_OF_A_DEVICE }
}

/// The rows `rows` of `x`.
fn pick(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    Ok(x.index_select(&Tensor::new(rows, x.device())?, 0)?)
}

/// Adds each row's loss to its sequence's, in the rows' order.
fn add(losses: &mut [SequenceLoss], rows: &RowLosses, owners: &[usize]) {
    for ((nll, correct), owner) in rows.nll.iter().zip(&rows.correct).zip(owners) {
        let loss = &mut losses[*owner];
        loss.sum += f64::from(*nll);
        loss.labels += 1;
        loss.correct += usize::from(*correct);
    }
}
