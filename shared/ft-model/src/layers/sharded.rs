//! Each rank holds its part of every matrix; a layer comes together when it is asked for (ZeRO's third stage:
//! Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", 2020, section 5.3).

mod form;
mod own;
mod read;

pub(crate) use own::share;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ft_dist::{Background, Communicator, Handle};

use self::form::MatrixForm;
use self::own::{Shard, Store};
use self::read::Reader;
use super::load::{ends, layer_of};
use super::source::{LayerSource, ShardedBytes, Unit};
use super::table;
use super::weight_format::WeightFormat;
use super::weights::{Ends, Layer, LayerWeights};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::projection::Site;
use ft_kernels::linear::Weight;

/// How a model is shared among ranks.
#[derive(Debug, Clone)]
pub struct ShardedOptions {
    pub format: WeightFormat,
    /// Whether what was gathered in a forward is given up at once, or kept for its backward.
    pub reshard_after_forward: bool,
    /// Where a file without a name holds the rank's own part; memory holds it without.
    pub folder: Option<PathBuf>,
}

/// The weights of a model shared among ranks. Matrices are laid end to end, layer by layer and so the embedding and
/// the head, and each rank holds one run of the bytes of every one of them; norms, biases and learned positions, which
/// are small, lie on every rank.
///
/// All ranks ask for the same things in the same order. What [`LayerSource::expect`] was told is sent ahead: the next
/// layer is on its way while one computes.
#[derive(Debug)]
pub struct Sharded {
    layers: Vec<Layer<MatrixForm>>,
    embedding: MatrixForm,
    /// None where it is the embedding.
    head: Option<MatrixForm>,
    ends: Ends,
    shards: HashMap<ShardKey, Shard>,
    background: Background,
    flight: Mutex<Flight>,
    /// Whether what was gathered in a forward is given up at once, or kept for its backward.
    reshard_after_forward: bool,
    gathered: AtomicU64,
    /// Bytes of its own that this rank has sent, to each of the others.
    sent: AtomicU64,
    others: u64,
}

/// What lies together: the vocabulary's matrices, or a layer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ShardKey {
    Embedding,
    Layer(usize),
    Head,
}

/// What is on its way, and what will be asked for next.
#[derive(Debug, Default)]
struct Flight {
    expected: VecDeque<ShardKey>,
    next: Option<(ShardKey, Handle<Vec<u8>>)>,
    kept: HashMap<ShardKey, Arc<Vec<u8>>>,
}

impl Sharded {
    /// Reads this rank's part of all matrices, and of floats nothing else; `progress` is called with the number of
    /// layers read so far.
    ///
    /// # Errors
    /// If a tensor cannot be read, the disk is full, or another rank fails.
    pub fn load(
        checkpoint: &Checkpoint,
        options: &ShardedOptions,
        ranks: &dyn Communicator,
        progress: impl Fn(usize),
    ) -> Result<Self> {
        let arch = checkpoint.architecture();
        let format = options.format;
        let mut store = Store::new(options.folder.as_deref())?;
        let mut shards = HashMap::new();
        let mut layers = Vec::new();
        let reader = Reader { checkpoint, format, rank: ranks.rank(), world: ranks.world() };
        for i in 0..arch.num_layers {
            let layer = layer_of(checkpoint, i, &|names| reader.names(names))?;
            let mut parts = Vec::new();
            for site in Site::ALL {
                parts.push(&layer.product(site).weight);
            }
            let (shard, forms) = reader.read(&parts)?;
            shards.insert(ShardKey::Layer(i), store.keep(shard)?);
            let mut forms = forms.into_iter();
            layers.push(layer.map(|_| Ok(forms.next().unwrap_or_default()))?);
            progress(i + 1);
        }
        let mut matrix = |place: ShardKey, name: &str| -> Result<MatrixForm> {
            let name = format!("{name}.weight");
            let format = match format {
                WeightFormat::Float(_) => format,
                WeightFormat::Packed(_) => table::held(checkpoint.stored(&name)?),
            };
            let vocabulary = Reader { format, ..reader };
            let (shard, forms) = vocabulary.read(&[&vocabulary.names(&[name])?])?;
            shards.insert(place, store.keep(shard)?);
            Ok(forms.into_iter().next().unwrap_or_default())
        };
        let embedding = matrix(ShardKey::Embedding, arch.names().embedding)?;
        let tied = arch.tie_word_embeddings;
        let head = (!tied).then(|| matrix(ShardKey::Head, arch.names().head)).transpose()?;
        Ok(Self {
            layers,
            embedding,
            head,
            ends: ends(checkpoint)?,
            shards,
            background: Background::new(ranks)?,
            flight: Mutex::default(),
            reshard_after_forward: options.reshard_after_forward,
            gathered: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            others: ranks.world() as u64 - 1,
        })
    }

    /// Bytes of matrices that came together on this rank so far, its own included.
    pub fn gathered_bytes(&self) -> u64 {
        self.gathered.load(Ordering::Relaxed)
    }

    /// Bytes of this rank's own matrices that lie in a file.
    pub fn bytes_on_disk(&self) -> u64 {
        self.shards.values().map(|shard| shard.own.on_disk() as u64).sum()
    }

    /// Bytes of matrices that this rank sent to the others so far.
    pub fn sent_bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The bytes of the largest layer, or matrix of the vocabulary, when it is together.
    pub fn largest_unit_bytes(&self) -> u64 {
        self.shards.values().map(Shard::bytes).max().unwrap_or(0)
    }

    /// The matrices of a place, with what is expected next sent ahead.
    fn gather(&self, place: ShardKey) -> Result<Arc<Vec<u8>>> {
        let mut flight = self.flight.lock().unwrap_or_else(PoisonError::into_inner);
        let told = flight.expected.front() == Some(&place);
        if told {
            flight.expected.pop_front();
        }
        let bytes = match flight.kept.remove(&place) {
            Some(kept) => kept,
            None => match flight.next.take() {
                Some((on_its_way, handle)) if on_its_way == place => Arc::new(handle.wait()?),
                other => {
                    flight.next = other;
                    Arc::new(self.send(place)?.wait()?)
                }
            },
        };
        if !self.reshard_after_forward && flight.expected.contains(&place) {
            flight.kept.insert(place, Arc::clone(&bytes));
        }
        let next = flight.expected.front().copied().filter(|_| told && flight.next.is_none());
        if let Some(next) = next.filter(|next| !flight.kept.contains_key(next)) {
            flight.next = Some((next, self.send(next)?));
        }
        Ok(bytes)
    }

    /// Begins to gather.
    fn send(&self, place: ShardKey) -> Result<Handle<Vec<u8>>> {
        let missing = || Error::Layer { index: self.layers.len(), layers: self.layers.len() };
        let shard = self.shards.get(&place).ok_or_else(missing)?;
        self.gathered.fetch_add(shard.bytes(), Ordering::Relaxed);
        self.sent.fetch_add(shard.own.len() as u64 * self.others, Ordering::Relaxed);
        Ok(self.background.all_gather(shard.own.bytes()?, shard.counts.clone()))
    }

    fn place(&self, unit: Unit) -> ShardKey {
        match unit {
            Unit::Layer(i) => ShardKey::Layer(i),
            Unit::Head if self.head.is_some() => ShardKey::Head,
            Unit::Embedding | Unit::Head => ShardKey::Embedding,
        }
    }
}

impl LayerSource for Sharded {
    fn layer(&self, i: usize) -> Result<Arc<LayerWeights>> {
        let layer = self.layers.get(i).ok_or(Error::Layer { index: i, layers: self.layers.len() })?;
        let bytes = self.gather(ShardKey::Layer(i))?;
        let mut rest = bytes.as_slice();
        Ok(Arc::new(layer.map(|form| form.take(&mut rest))?))
    }

    fn embedding(&self) -> Result<Weight> {
        self.embedding.take(&mut self.gather(ShardKey::Embedding)?.as_slice())
    }

    fn head(&self) -> Result<Weight> {
        let form = self.head.as_ref().unwrap_or(&self.embedding);
        form.take(&mut self.gather(self.place(Unit::Head))?.as_slice())
    }

    fn ends(&self) -> &Ends {
        &self.ends
    }

    fn expect(&self, pass: &[Unit]) {
        let mut flight = self.flight.lock().unwrap_or_else(PoisonError::into_inner);
        flight.expected = pass.iter().map(|&unit| self.place(unit)).collect();
        flight.kept.clear();
    }

    fn forms_layers_anew(&self) -> bool {
        true
    }

    fn is_collective(&self) -> bool {
        true
    }

    fn held_bytes(&self) -> u64 {
        let own: usize = self.shards.values().map(|shard| shard.own.in_memory()).sum();
        let forms = |layer: &Layer<MatrixForm>| Site::ALL.map(|site| layer.product(site).weight.small_bytes());
        let small = self.layers.iter().map(|layer| layer.small_bytes() + forms(layer).iter().sum::<u64>());
        own as u64 + small.sum::<u64>() + self.ends.bytes()
    }

    fn sharded_bytes(&self) -> Option<ShardedBytes> {
        let (sent, gathered) = (self.sent_bytes(), self.gathered_bytes());
        Some(ShardedBytes { sent, gathered, largest_unit: self.largest_unit_bytes() })
    }
}

#[cfg(test)]
mod tests;
