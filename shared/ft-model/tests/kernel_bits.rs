//! Some models of `testdata/reference` by a GPU's kernels on their emulation: one adapter, bit by bit, however the work is cut
//! and in whatever order a block's threads run; and in bf16 near what f32 learns.

#![cfg(feature = "cuda-host")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use candle_core::{DType, Device};
use common::{Reference, testdata};
use ft_dist::{Communicator, Threads};
use ft_kernels::{Backend, Compute, Precision};
use ft_model::Architecture;
use ft_model::batch::{Batch, Sequence};
use ft_model::checkpoint::Checkpoint;
use ft_model::decoder::{DropoutKey, NeftuneKey};
use ft_model::layers::{LayerSource, WeightFormat, open};
use ft_model::lora::Adapter;
use ft_model::optimizer::{Optimizer, OptimizerConfig};
use ft_model::step::Step;

/// Plain, with a window and caps, with norms of heads, with layer norms and partial rotations, with trained biases, with a
/// magnitude.
const MODELS: [&str; 6] = ["llama-s1", "gemma2-s18", "qwen3-s13", "phi-s32", "gpt2-s57-bias-all", "qwen2-s41-dora"];

const SEQUENCES: usize = 4;
const STEPS: u64 = 2;

const BF16: Precision = Precision { activations: DType::BF16, products: Some(DType::BF16), tf32: false };

/// How a run is computed, of which no bit may depend.
#[derive(Clone, Copy, Debug)]
struct Way {
    micro_batch: usize,
    ranks: usize,
    activation_memory: u64,
    /// The order of threads.
    order: u64,
}

const WHOLE: Way = Way { micro_batch: SEQUENCES, ranks: 1, activation_memory: u64::MAX, order: 0 };

struct Model {
    reference: Reference,
    source: Box<dyn LayerSource>,
    arch: Architecture,
    sequences: Vec<Sequence>,
}

impl Model {
    fn open(name: &str, format: WeightFormat) -> Self {
        let reference = Reference::open(testdata().join("reference").join(name));
        let checkpoint = Checkpoint::open(&reference.dir.join("model")).unwrap();
        let source = open(&checkpoint, format, (&Device::Cpu, None), |_| {}).unwrap().source;
        let sequences = reference.sequences().iter().cycle().take(SEQUENCES).cloned().collect();
        let arch = checkpoint.architecture().clone();
        Self { reference, source, arch, sequences }
    }

    /// The steps' losses, and the adapter after them, which is the same on all ranks.
    fn trained(&self, compute: Compute, way: Way) -> (Vec<f64>, Vec<u8>) {
        std::thread::scope(|scope| {
            let ranks = Threads::new(way.ranks, Duration::from_secs(600));
            let all: Vec<_> =
                ranks.into_iter().map(|rank| scope.spawn(move || self.on_rank(compute, way, &rank))).collect();
            let mut found: Vec<_> = all.into_iter().map(|rank| rank.join().unwrap()).collect();
            let first = found.swap_remove(0);
            assert!(found.iter().all(|other| other.1 == first.1), "the ranks differ");
            first
        })
    }

    fn on_rank(&self, compute: Compute, way: Way, ranks: &Arc<dyn Communicator>) -> (Vec<f64>, Vec<u8>) {
        ft_kernels::cuda::host::shuffle(way.order);
        let mut adapter = Adapter::load(&self.reference.dir.join("adapter_init")).unwrap();
        let mut optimizer = Optimizer::new(&adapter, OptimizerConfig::default()).unwrap();
        let own = ft_dist::shares(self.sequences.len(), way.ranks).swap_remove(ranks.rank());
        let batches: Vec<Batch> = self.sequences[own].chunks(way.micro_batch).map(Batch::new).collect();
        let mut losses = Vec::new();
        for number in 0..STEPS {
            let step = Step {
                compute,
                ranks: &**ranks,
                dropout: Some(DropoutKey { p: 0.1, seed: 3, step: number }),
                neftune: Some(NeftuneKey { alpha: 5.0, seed: 3, step: number }),
                ..Step::alone(&self.arch, &*self.source, way.activation_memory)
            };
            let found = step.run(&adapter, &batches).unwrap();
            losses.push(found.loss);
            optimizer.update(&mut adapter, &found.gradients, 1e-3, 1.0, &**ranks).unwrap();
        }
        (losses, adapter.to_bytes(&BTreeMap::new()).unwrap())
    }
}

fn kernels(precision: Precision) -> Compute {
    Compute { backend: Backend::Cuda, precision, ..Compute::cpu() }
}

#[test]
fn kernels_give_one_adapter_however_the_work_is_cut() {
    for name in MODELS {
        let model = Model::open(name, WeightFormat::F32);
        for precision in [Precision::F32, BF16] {
            let (_, expected) = model.trained(kernels(precision), WHOLE);
            let ways = [
                Way { micro_batch: 1, order: 1, ..WHOLE },
                Way { micro_batch: 3, activation_memory: 0, order: 2, ..WHOLE },
                Way { ranks: 2, order: 3, ..WHOLE },
            ];
            for way in ways {
                assert!(model.trained(kernels(precision), way).1 == expected, "{name} {precision:?}: {way:?}");
            }
        }
    }
}

/// bf16 has eight digits of two: a loss may move by what its logits' rounding moves it.
#[test]
fn activations_in_bf16_learn_what_f32_learns() {
    for name in MODELS {
        let model = Model::open(name, WeightFormat::F32);
        let (exact, _) = model.trained(Compute::cpu(), WHOLE);
        let (found, _) = model.trained(kernels(BF16), WHOLE);
        for (exact, found) in exact.iter().zip(&found) {
            assert!(exact != found, "{name}: nothing was rounded");
            assert!((exact - found).abs() < 1e-2 * exact, "{name}: losses {exact} and {found}");
        }
    }
}

/// The kernels expand what the CPU reads where it lies: to the same numbers, which the same products meet.
#[test]
fn frozen_matrices_in_few_bits_are_expanded_by_kernels() {
    for format in [WeightFormat::FOUR_BIT, WeightFormat::EIGHT_BIT] {
        let model = Model::open("llama-s1", format);
        let (exact, _) = model.trained(Compute::cpu(), WHOLE);
        let (found, _) = model.trained(kernels(Precision::F32), WHOLE);
        for (exact, found) in exact.iter().zip(&found) {
            assert!((exact - found).abs() < 2e-4, "{format:?}: losses {exact} and {found}");
        }
    }
}
