//! The path that a GPU takes, on the CPU: whole training steps with every operator's plain version, and, in a build with
//! the feature `cuda-host`, with a GPU's kernels on their emulation, against the fused ones.

mod common;

use std::path::PathBuf;

use candle_core::{DType, Tensor};
use common::{Reference, every_reference, testdata};
use ft_kernels::Compute;
use ft_model::batch::Batch;
use ft_model::checkpoint::Checkpoint;
use ft_model::decoder::{Decoder, DropoutKey, NeftuneKey};
use ft_model::generate::{Generator, Options};
use ft_model::layers::Resident;
use ft_model::lora::Adapter;
use ft_model::optimizer::{Optimizer, OptimizerConfig};
use ft_model::step::Step;

/// In which type the frozen weights of a model are, where it is not f32.
const IN_TWO_BYTES: [(&str, DType); 3] =
    [("llama-s1", DType::BF16), ("llama_yarn_rope-s6", DType::F16), ("qwen2-s41-dora", DType::BF16)];

/// What a run of three steps gives.
struct Found {
    losses: Vec<f64>,
    /// Of the first step, by name.
    gradients: Vec<(String, Tensor)>,
    evaluated: Vec<f64>,
    answers: Vec<Vec<u32>>,
}

fn run(reference: &Reference, dtype: DType, compute: Compute) -> Found {
    let checkpoint = Checkpoint::open(&reference.dir.join("model")).unwrap();
    let arch = checkpoint.architecture().clone();
    let source = Resident::load(&checkpoint, dtype, |_| {}).unwrap();
    let mut adapter = Adapter::load(&reference.dir.join("adapter_init")).unwrap();
    let mut optimizer = Optimizer::new(&adapter, OptimizerConfig::default()).unwrap();
    let sequences = reference.sequences();
    let (mut losses, mut gradients) = (Vec::new(), Vec::new());
    for number in 0..3 {
        // Every second step is computed twice.
        let activation_memory = if number % 2 == 0 { u64::MAX } else { 0 };
        let step = Step {
            compute,
            // peft adapts experts without dropout.
            dropout: arch.experts.is_none().then_some(DropoutKey { p: 0.2, seed: 3, step: number }),
            neftune: Some(NeftuneKey { alpha: 5.0, seed: 3, step: number }),
            ..Step::alone(&arch, &source, activation_memory)
        };
        let found = step.run(&adapter, &[Batch::new(&sequences)]).unwrap();
        losses.push(found.loss);
        if number == 0 {
            let copies = found.gradients.iter().map(|gradient| gradient.copy().unwrap());
            gradients = adapter.trainable().map(|trained| trained.name()).zip(copies).collect();
        }
        optimizer.update(&mut adapter, &found.gradients, 1e-3, 1.0, step.ranks).unwrap();
    }
    let decoder = || Decoder { compute, arch: &arch, source: &source, adapter: Some(&adapter) };
    let evaluated = decoder().losses(&Batch::new(&sequences)).unwrap().iter().map(|loss| loss.sum).collect();
    let prompts: Vec<Vec<u32>> = sequences.iter().map(|s| s.input_ids[..5.min(s.input_ids.len())].to_vec()).collect();
    let options = Options { max_new_tokens: 8, batch_size: 2, end_ids: Vec::new() };
    let mut generator = Generator::new(decoder(), &prompts, options).unwrap();
    let mut answers = vec![Vec::new(); prompts.len()];
    while !generator.is_done() {
        let likeliest = |_: usize, logits: &candle_core::Tensor| Ok(logits.argmax(0)?.to_scalar::<u32>()?);
        for answer in generator.step(&mut { likeliest }).unwrap() {
            answers[answer.prompt] = answer.tokens;
        }
    }
    Found { losses, gradients, evaluated, answers }
}

fn norm(t: &Tensor) -> f64 {
    f64::from(t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()).sqrt()
}

#[test]
fn plain_operators_train_every_model_as_the_fused_ones() {
    every_reference().into_iter().for_each(|dir| compare(dir, Compute::reference()));
}

/// Models that are trained beside each other.
#[cfg(feature = "cuda-host")]
const WORKERS: usize = 2;

#[test]
#[cfg(feature = "cuda-host")]
fn kernels_train_every_model_as_the_fused_operators() {
    let all = every_reference();
    let compute = Compute { backend: ft_kernels::Backend::Cuda, ..Compute::cpu() };
    let share = |first: usize| all.iter().skip(first).step_by(WORKERS).for_each(|dir| compare(dir.clone(), compute));
    std::thread::scope(|scope| {
        (0..WORKERS).for_each(|first| drop(scope.spawn(move || share(first))));
    });
}

/// Asserts that a model is trained by other operators as by the fused ones.
fn compare(dir: PathBuf, other: Compute) {
    let reference = Reference::open(dir);
    let name = reference.name.as_str();
    let dtype = IN_TWO_BYTES.iter().find(|(of, _)| *of == name).map_or(DType::F32, |(_, dtype)| *dtype);
    let (fused, plain) = (run(&reference, dtype, Compute::cpu()), run(&reference, dtype, other));
    assert_ne!(fused.losses, plain.losses, "{name}: both ran the same operators");
    for (fused, plain) in fused.losses.iter().zip(&plain.losses) {
        assert!((fused - plain).abs() < 2e-4, "{name}: losses {fused} and {plain}");
    }
    for (fused, plain) in fused.evaluated.iter().zip(&plain.evaluated) {
        assert!((fused - plain).abs() < 1e-3 * fused.abs().max(1.0), "{name}: losses after {fused} and {plain}");
    }
    let largest = fused.gradients.iter().map(|(_, gradient)| norm(gradient)).fold(0.0, f64::max);
    for ((of, fused), (_, plain)) in fused.gradients.iter().zip(&plain.gradients) {
        // What is nothing but rounding beside the others is allowed to be another rounding.
        let apart = norm(&(fused - plain).unwrap());
        assert!(apart <= 1e-4 * norm(fused) + 1e-6 * largest, "{name}: gradient of '{of}' is off by {apart}");
    }
    assert_eq!(fused.answers, plain.answers, "{name}");
}

/// A row without tokens, alone in its micro-batch, as an evaluation may have one.
#[test]
fn an_empty_row_alone_has_no_loss_on_any_backend() {
    let reference = Reference::open(testdata().join("reference/llama-s0"));
    let checkpoint = Checkpoint::open(&reference.dir.join("model")).unwrap();
    let source = Resident::load(&checkpoint, DType::F32, |_| {}).unwrap();
    let adapter = Adapter::load(&reference.dir.join("adapter_init")).unwrap();
    let nothing = ft_model::batch::Sequence { input_ids: Vec::new(), labels: Vec::new() };
    for compute in [Compute::cpu(), Compute::reference()] {
        let arch = checkpoint.architecture();
        let decoder = Decoder { compute, arch, source: &source, adapter: Some(&adapter) };
        let losses = decoder.losses(&Batch::new([&nothing])).unwrap();
        assert_eq!((losses.len(), losses[0].labels), (1, 0), "{:?}", compute.backend);
        let step = Step { compute, ..Step::alone(arch, &source, u64::MAX) };
        let sequences = reference.sequences();
        let expected = step.run(&adapter, &[Batch::new(&sequences)]).unwrap();
        let found = step.run(&adapter, &[Batch::new(&sequences), Batch::new([&nothing])]).unwrap();
        assert_eq!(found.loss.to_bits(), expected.loss.to_bits(), "{:?}", compute.backend);
    }
}
