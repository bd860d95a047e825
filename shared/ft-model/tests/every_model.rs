//! Every model of `testdata/reference`: one adapter, bit by bit, however the work is cut, however many threads and ranks
//! do it, whatever instructions the processor has.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use candle_core::DType;
use common::{Reference, every_reference};
use ft_dist::{Communicator, Threads};
use ft_kernels::Compute;
use ft_kernels::backend::Isa;
use ft_model::Architecture;
use ft_model::batch::{Batch, Sequence};
use ft_model::checkpoint::Checkpoint;
use ft_model::decoder::{DropoutKey, NeftuneKey};
use ft_model::layers::Resident;
use ft_model::lora::Adapter;
use ft_model::optimizer::{Optimizer, OptimizerConfig};
use ft_model::step::Step;

/// Steps that are trained: the second one sees what the first has changed.
const STEPS: u64 = 2;

/// Sequences in a step: two for each of three ranks.
const SEQUENCES: usize = 6;

/// Threads that test models beside each other.
const WORKERS: usize = 2;

/// How a run is computed, of which no bit may depend.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// Sequences in a micro-batch.
    micro_batch: usize,
    threads: usize,
    ranks: usize,
    isa: Isa,
    /// Bytes that may be kept for backward.
    activation_memory: u64,
}

/// A model in memory, and what it is trained on.
struct Model {
    reference: Reference,
    arch: Architecture,
    source: Resident,
    sequences: Vec<Sequence>,
    dropout: f64,
}

impl Model {
    fn open(dir: &Path) -> Self {
        let reference = Reference::open(dir.to_path_buf());
        let checkpoint = Checkpoint::open(&reference.dir.join("model")).unwrap();
        let arch = checkpoint.architecture().clone();
        let source = Resident::load(&checkpoint, DType::F32, |_| {}).unwrap();
        let sequences = reference.sequences().iter().cycle().take(SEQUENCES).cloned().collect();
        // peft adapts experts without dropout.
        let dropout = if arch.experts.is_some() { 0.0 } else { 0.1 };
        Self { reference, arch, source, sequences, dropout }
    }

    /// The adapter after some steps, which is the same on all ranks.
    fn trained(&self, way: Way) -> Vec<u8> {
        let of_rank = |ranks: Arc<dyn Communicator>| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(way.threads).build().unwrap();
            pool.install(|| self.on_rank(way, &*ranks))
        };
        std::thread::scope(|scope| {
            let ranks = Threads::new(way.ranks, Duration::from_secs(60));
            let all: Vec<_> = ranks.into_iter().map(|rank| scope.spawn(|| of_rank(rank))).collect();
            let mut adapters: Vec<Vec<u8>> = all.into_iter().map(|rank| rank.join().unwrap()).collect();
            let first = adapters.swap_remove(0);
            assert!(adapters.iter().all(|adapter| *adapter == first), "{}: the ranks differ", self.reference.name);
            first
        })
    }

    fn on_rank(&self, way: Way, ranks: &dyn Communicator) -> Vec<u8> {
        let mut adapter = self.untrained();
        let mut optimizer = Optimizer::new(&adapter, OptimizerConfig::default()).unwrap();
        let own = ft_dist::shares(self.sequences.len(), way.ranks).swap_remove(ranks.rank());
        let batches: Vec<Batch> = self.sequences[own].chunks(way.micro_batch).map(Batch::new).collect();
        for number in 0..STEPS {
            let step = Step {
                compute: Compute::cpu().with_isa(way.isa),
                ranks,
                dropout: (self.dropout > 0.0).then_some(DropoutKey { p: self.dropout, seed: 3, step: number }),
                neftune: Some(NeftuneKey { alpha: 5.0, seed: 3, step: number }),
                ..Step::alone(&self.arch, &self.source, way.activation_memory)
            };
            let found = step.run(&adapter, &batches).unwrap();
            optimizer.update(&mut adapter, &found.gradients, 1e-3, 1.0, ranks).unwrap();
        }
        adapter.to_bytes(&BTreeMap::new()).unwrap()
    }

    fn untrained(&self) -> Adapter {
        Adapter::load(&self.reference.dir.join("adapter_init")).unwrap()
    }
}

/// The ways that must not matter.
fn ways() -> (Way, Vec<Way>) {
    let whole = Way { micro_batch: SEQUENCES, threads: 1, ranks: 1, isa: Isa::best(), activation_memory: u64::MAX };
    let mut others = vec![
        Way { micro_batch: 1, ..whole },
        Way { micro_batch: 4, threads: 3, ..whole },
        Way { micro_batch: 2, threads: 2, activation_memory: 0, ..whole },
        Way { ranks: 2, ..whole },
        Way { ranks: 3, micro_batch: 1, ..whole },
    ];
    let here = Isa::ALL.into_iter().filter(|&isa| isa == isa.here() && isa != whole.isa);
    others.extend(here.map(|isa| Way { isa, ..whole }));
    (whole, others)
}

/// What of a model differs, if anything does.
fn faults(dir: &Path) -> Vec<String> {
    let (whole, others) = ways();
    let model = Model::open(dir);
    let expected = model.trained(whole);
    let name = &model.reference.name;
    let mut faults = Vec::new();
    if expected == model.untrained().to_bytes(&BTreeMap::new()).unwrap() {
        faults.push(format!("{name}: nothing was trained"));
    }
    let differ = others.into_iter().filter(|&way| model.trained(way) != expected);
    faults.extend(differ.map(|way| format!("{name}: {way:?}")));
    faults
}

#[test]
fn every_model_has_one_adapter_however_it_is_computed() {
    let all: Vec<PathBuf> = every_reference();
    let of_worker = |first: usize| all.iter().skip(first).step_by(WORKERS).flat_map(|dir| faults(dir)).collect();
    let found: Vec<Vec<String>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|first| scope.spawn(move || of_worker(first))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let found = found.concat();
    assert!(found.is_empty(), "the bits depend on how they are computed:\n{}", found.join("\n"));
}
