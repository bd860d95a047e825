//! Which rows make which step: a function of the rows' lengths, the seed and the step's number alone.
//!
//! An item is what a batch counts: a row, which may be packed already, or with `--packing` a bin of sequences. A step is
//! `per_device_train_batch_size` ×
//! `gradient_accumulation_steps` × ranks items, and depends on that product only: how it is cut into micro-batches and
//! dealt out to ranks changes neither its rows nor their order.

mod epoch;
mod grouping;
mod packing;

use std::cell::RefCell;
use std::rc::Rc;

use ft_kernels::philox::Stream;

use crate::error::{Error, Result};
use crate::options::{Options, RowOptions, TrainingOptions};

/// The random streams of the rows' order and of the order of grouped steps.
const SHUFFLE: u32 = 1;
const SHUFFLE_STEPS: u32 = 5;

/// What `--packing` fills where `--max-seq-length` is not given: `SFTConfig`'s `max_length`.
const PACKED_LENGTH: usize = 1024;

/// Deals rows out to steps and micro-batches.
#[derive(Debug, Clone)]
pub struct Sampler {
    /// Tokens of each item.
    lengths: Vec<usize>,
    /// The sequences of each bin; none where every row is one sequence.
    bins: Option<Vec<Vec<usize>>>,
    /// Tokens that a bin may hold.
    bin_length: Option<usize>,
    micro_batch: usize,
    /// Ranks that share each step.
    world: usize,
    /// Items in a step.
    size: usize,
    seed: u64,
    shuffle: bool,
    group: bool,
    drop_last: bool,
    /// The order of the epoch that was asked for last.
    epoch: RefCell<Option<(u64, Rc<Vec<usize>>)>>,
}

/// The tokens that a packed sequence may have; none without `--packing`.
pub fn bin_length(rows: &RowOptions) -> Option<usize> {
    rows.packing.then(|| rows.max_seq_length.map_or(PACKED_LENGTH, |length| length as usize))
}

impl Sampler {
    /// For sequences of `lengths` tokens, the numbers of the rows that they stand in, rising, and `world` ranks that take
    /// each step together.
    ///
    /// # Errors
    /// Where a row is longer than a bin, and where `--dataloader-drop-last` would leave nothing.
    pub fn new(options: &Options, lengths: &[usize], rows: &[usize], world: usize) -> Result<Self> {
        let bin_length = bin_length(&options.rows);
        let bins = match bin_length {
            Some(length) => Some(packing::best_fit_decreasing(lengths, length)?),
            None => packing::of_rows(rows),
        };
        let Options { training, rows, .. } = options;
        let of_bin = |rows: &Vec<usize>| rows.iter().map(|&row| lengths[row]).sum();
        let sampler = Self {
            lengths: bins.as_ref().map_or_else(|| lengths.to_vec(), |bins| bins.iter().map(of_bin).collect()),
            bins,
            bin_length,
            micro_batch: training.per_device_train_batch_size as usize,
            world,
            size: training.sequences_a_step(world),
            seed: rows.data_seed.unwrap_or(training.seed),
            shuffle: rows.shuffle,
            group: rows.group_by_length,
            drop_last: rows.dataloader_drop_last,
            epoch: RefCell::new(None),
        };
        if sampler.taken() == 0 {
            return Err(Error::Options(format!(
                "--dataloader-drop-last leaves nothing: {} {} sequences, and there are {}",
                if world > 1 { "the ranks' micro-batches take" } else { "a micro-batch takes" },
                sampler.micro_batch * world,
                sampler.lengths.len()
            )));
        }
        Ok(sampler)
    }

    /// Optimizer steps in one pass over the rows; the last one may be short.
    pub fn steps_an_epoch(&self) -> u64 {
        self.taken().div_ceil(self.size) as u64
    }

    /// Items that an epoch takes: all, or with `--dataloader-drop-last` what fills the micro-batches of all ranks, as
    /// torch's and accelerate's loaders have it.
    fn taken(&self) -> usize {
        let items = self.lengths.len();
        if self.drop_last { items - items % (self.micro_batch * self.world) } else { items }
    }

    /// Optimizer steps of the whole run.
    pub fn steps(&self, options: &TrainingOptions) -> u64 {
        match options.max_steps {
            Some(steps) => steps,
            None => (options.num_train_epochs * self.steps_an_epoch() as f64).ceil() as u64,
        }
    }

    /// The rows of step `step`, counted from 0, of all ranks one after the other: a list a micro-batch. The rows of a
    /// bin stand side by side.
    pub fn step(&self, step: u64) -> Vec<Vec<usize>> {
        (0..self.world).flat_map(|rank| self.share(step, rank)).collect()
    }

    /// One rank's rows of a step, a list a micro-batch: consecutive items, as many as the other ranks have or one
    /// fewer.
    pub fn share(&self, step: u64, rank: usize) -> Vec<Vec<usize>> {
        let rows = |items: &Vec<usize>| items.iter().flat_map(|&item| self.rows(item)).collect();
        self.micro_batches(step, rank).iter().map(rows).collect()
    }

    /// The tokens of a step.
    pub fn tokens(&self, step: u64) -> usize {
        self.items(step).iter().map(|&item| self.lengths[item]).sum()
    }

    /// The rows of an item.
    fn rows(&self, item: usize) -> Vec<usize> {
        self.bins.as_ref().map_or_else(|| vec![item], |bins| bins[item].clone())
    }

    /// The items of a step.
    fn items(&self, step: u64) -> Vec<usize> {
        let order = self.order(step / self.steps_an_epoch());
        let first = (step % self.steps_an_epoch()) as usize * self.size;
        let last = first.saturating_add(self.size).min(self.taken());
        order[first..last].to_vec()
    }

    /// The items of a rank's part of a step, a list a micro-batch.
    fn micro_batches(&self, step: u64, rank: usize) -> Vec<Vec<usize>> {
        let items = self.items(step);
        let share = ft_dist::shares(items.len(), self.world).swap_remove(rank);
        items[share].chunks(self.micro_batch).map(<[usize]>::to_vec).collect()
    }

    /// The order of an epoch's items.
    fn order(&self, epoch: u64) -> Rc<Vec<usize>> {
        let mut last = self.epoch.borrow_mut();
        if let Some((_, order)) = last.as_ref().filter(|(of, _)| *of == epoch) {
            return Rc::clone(order);
        }
        let order = Rc::new(self.draw(epoch));
        *last = Some((epoch, Rc::clone(&order)));
        order
    }

    fn draw(&self, epoch: u64) -> Vec<usize> {
        if !self.shuffle {
            return (0..self.lengths.len()).collect();
        }
        let order = Stream::new(self.seed, SHUFFLE, epoch).permutation(self.lengths.len());
        if self.group {
            grouping::group(&order, &self.lengths, self.size, Stream::new(self.seed, SHUFFLE_STEPS, epoch))
        } else {
            order
        }
    }
}

#[cfg(test)]
mod tests;
