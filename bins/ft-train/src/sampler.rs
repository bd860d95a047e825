//! Which rows make which step: a function of the seed and the step's number alone.

use ft_kernels::philox::Stream;

use crate::args::{Args, TrainingArgs};

/// The random stream of the rows' order.
const SHUFFLE: u32 = 1;

/// Deals rows out to steps and micro-batches.
#[derive(Debug, Clone)]
pub struct Sampler {
    rows: usize,
    micro_batch: usize,
    accumulation: usize,
    seed: u64,
    shuffle: bool,
}

impl Sampler {
    pub fn new(args: &Args, rows: usize) -> Self {
        let Args { training: args, data, .. } = args;
        Self {
            rows,
            micro_batch: args.per_device_train_batch_size as usize,
            accumulation: args.gradient_accumulation_steps as usize,
            seed: data.data_seed.unwrap_or(args.seed),
            shuffle: data.shuffled(),
        }
    }

    /// Optimizer steps in one pass over the rows; the last one may be short.
    pub fn steps_an_epoch(&self) -> u64 {
        self.rows.div_ceil(self.micro_batch * self.accumulation) as u64
    }

    /// Optimizer steps of the whole run.
    pub fn steps(&self, args: &TrainingArgs) -> u64 {
        match u64::try_from(args.max_steps) {
            Ok(steps) => steps,
            Err(_) => (args.num_train_epochs * self.steps_an_epoch() as f64).ceil() as u64,
        }
    }

    /// The rows of step `step`, counted from 0: a list a micro-batch.
    pub fn step(&self, step: u64) -> Vec<Vec<usize>> {
        let epoch = step / self.steps_an_epoch();
        let size = self.micro_batch * self.accumulation;
        let first = (step % self.steps_an_epoch()) as usize * size;
        let last = (first + size).min(self.rows);
        let order = self.order(epoch);
        order[first..last].chunks(self.micro_batch).map(<[usize]>::to_vec).collect()
    }

    fn order(&self, epoch: u64) -> Vec<usize> {
        if self.shuffle {
            Stream::new(self.seed, SHUFFLE, epoch).permutation(self.rows)
        } else {
            (0..self.rows).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn sampler(line: &str, rows: usize) -> (Sampler, TrainingArgs) {
        let args = format!("ft-train --model m --train t -o o {line}");
        let args = Args::parse_from(args.split_whitespace());
        (Sampler::new(&args, rows), args.training)
    }

    #[test]
    fn an_epoch_takes_every_row_once_and_the_next_in_another_order() {
        let (sampler, args) =
            sampler("--per-device-train-batch-size 2 --gradient-accumulation-steps 2 --num-train-epochs 2", 10);
        assert_eq!((sampler.steps_an_epoch(), sampler.steps(&args)), (3, 6));
        let epoch = |e: u64| (0..3).flat_map(|s| sampler.step(e * 3 + s)).flatten().collect::<Vec<_>>();
        let (one, two) = (epoch(0), epoch(1));
        assert_ne!(one, two);
        for mut rows in [one, two] {
            rows.sort_unstable();
            assert_eq!(rows, (0..10).collect::<Vec<_>>());
        }
        assert_eq!(sampler.step(2).iter().map(Vec::len).collect::<Vec<_>>(), [2], "the last window is short");
    }

    #[test]
    fn how_a_step_is_cut_changes_no_row() {
        let (whole, _) = sampler("--per-device-train-batch-size 8", 50);
        let (cut, _) = sampler("--per-device-train-batch-size 1 --gradient-accumulation-steps 8", 50);
        for step in 0..14 {
            assert_eq!(whole.step(step).concat(), cut.step(step).concat());
        }
    }

    #[test]
    fn without_a_shuffle_the_files_order_stands() {
        let (sampler, args) = sampler("--no-shuffle --max-steps 5 --per-device-train-batch-size 3", 4);
        assert_eq!(sampler.steps(&args), 5);
        assert_eq!(sampler.step(0), [[0, 1, 2]]);
        assert_eq!(sampler.step(3), [[3]]);
    }
}
