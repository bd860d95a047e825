//! Every model of `testdata/reference` against what transformers and peft computed: logits, hidden
//! states, the losses of ten steps, the first step's gradients, the final adapter.

mod common;

use candle_core::{DType, Device, Tensor};
use common::{Reference, max_abs, testdata};
use ft_model::batch::Batch;
use ft_model::checkpoint::Checkpoint;
use ft_model::decoder::Decoder;
use ft_model::layers::{LayerSource, Mapped, Resident};
use ft_model::lora::{Adapter, Kind};
use ft_model::optimizer::{Optimizer, OptimizerConfig};
use ft_model::step::Step;

/// All models that every step is compared of.
fn all() -> Vec<Reference> {
    let root = testdata().join("reference");
    let mut dirs: Vec<_> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    let not_yet = ["mixtral", "qwen3_moe", "phi_qk", "target-"];
    dirs.retain(|dir| !not_yet.iter().any(|word| dir.to_string_lossy().contains(word)));
    dirs.sort();
    assert!(dirs.len() >= 6, "reference values are missing: {dirs:?}");
    dirs.into_iter().map(Reference::open).collect()
}

/// `‖found − expected‖ / ‖expected‖`; where nothing is expected, `‖found‖`.
fn relative(found: &Tensor, expected: &Tensor) -> f64 {
    let norm = |t: &Tensor| f64::from(t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()).sqrt();
    let (difference, size) = (norm(&(found - expected).unwrap()), norm(expected));
    if size == 0.0 { difference } else { difference / size }
}

/// 1 where a bias has a gradient, 0 where it is nothing but rounding: a bias of keys that do not turn changes no
/// attention, and AdamW makes full steps of whatever noise its gradient is.
fn felt(gradient: &Tensor) -> Tensor {
    let floor = f64::from(max_abs(gradient)) * 1e-5;
    gradient.abs().unwrap().ge(floor).unwrap().to_dtype(DType::F32).unwrap()
}

/// What is held against the reference; each is the largest error of its kind.
#[derive(Debug, Default)]
struct Errors {
    hidden: f64,
    logits: f64,
    loss: f64,
    gradient: f64,
    adapter: f64,
    final_logits: f64,
    merged_logits: f64,
}

fn compare(
    reference: &Reference,
    source: &dyn LayerSource,
    arch: &ft_model::Architecture,
    batches: &[Batch],
) -> Errors {
    let mut errors = Errors::default();
    let all = Batch::new(&reference.sequences());
    let plain = Decoder { arch, source, adapter: None };
    // The reference's last hidden state is the one after the final norm; the logits stand for it.
    plain
        .hidden_each(&all, |i, x| {
            if i < arch.num_layers {
                errors.hidden = errors.hidden.max(reference.error(&format!("hidden.{i}"), x, &all));
            }
            Ok(())
        })
        .unwrap();
    errors.logits = reference.error("logits", &plain.logits(&all).unwrap(), &all);

    let mut adapter = Adapter::load(&reference.dir.join("adapter_init")).unwrap();
    adapter.check(arch).unwrap();
    let settings = &reference.meta["settings"];
    let number = |key: &str, default: f64| settings[key].as_f64().unwrap_or(default);
    let config = OptimizerConfig { weight_decay: number("weight_decay", 0.0), ..OptimizerConfig::default() };
    let mut optimizer = Optimizer::new(&adapter, config).unwrap();
    let gradients =
        candle_core::safetensors::load(reference.dir.join("grads_step0.safetensors"), &Device::Cpu).unwrap();
    for (step, expected) in reference.meta["losses"].as_array().unwrap().iter().enumerate() {
        let found = Step::alone(arch, source, u64::MAX).run(&adapter, batches).unwrap();
        errors.loss = errors.loss.max((found.loss - expected.as_f64().unwrap()).abs());
        if step == 0 {
            for (trained, found) in adapter.trainable().zip(&found.gradients) {
                errors.gradient = errors.gradient.max(relative(found, &gradients[&trained.name()]));
            }
        }
        optimizer.update(&mut adapter, &found.gradients, number("lr", 1e-3), 0.0, &ft_dist::Solo).unwrap();
    }
    let expected = Adapter::load(&reference.dir.join("adapter_final")).unwrap();
    for (found, expected) in adapter.trainable().zip(expected.trainable()) {
        assert_eq!(found.name(), expected.name());
        let (found, expected) = match found.kind {
            Kind::Saved if found.tensor.rank() == 1 => {
                let mask = felt(&gradients[&found.name()]);
                ((found.tensor * &mask).unwrap(), (expected.tensor * &mask).unwrap())
            }
            _ => (found.tensor.clone(), expected.tensor.clone()),
        };
        errors.adapter = errors.adapter.max(relative(&found, &expected));
    }
    let trained = Decoder { arch, source, adapter: Some(&expected) };
    errors.final_logits = reference.error("final_logits", &trained.logits(&all).unwrap(), &all);
    errors
}

#[test]
fn every_reference_is_reached() {
    for reference in all() {
        let checkpoint = Checkpoint::open(&reference.dir.join("model")).unwrap();
        let arch = checkpoint.architecture().clone();
        let sequences = reference.sequences();
        let together = [Batch::new(&sequences)];
        let apart: Vec<Batch> = sequences.iter().map(|s| Batch::new([s])).collect();
        let resident = Resident::load(&checkpoint, DType::F32, |_| {}).unwrap();
        let mapped = Mapped::open(checkpoint, DType::F32).unwrap();
        let sources: [(&dyn LayerSource, &[Batch]); 2] = [(&resident, &together), (&mapped, &apart)];
        for (source, batches) in sources {
            let e = compare(&reference, source, &arch, batches);
            println!(
                "{:24} hidden {:.1e} logits {:.1e} loss {:.1e} gradient {:.1e} adapter {:.1e} final logits {:.1e}",
                reference.name, e.hidden, e.logits, e.loss, e.gradient, e.adapter, e.final_logits
            );
            assert!(e.hidden < 1e-4 && e.logits < 1e-4, "{}: {e:?}", reference.name);
            assert!(e.loss < 1e-4 && e.gradient < 1e-3 && e.adapter < 1e-3, "{}: {e:?}", reference.name);
            assert!(e.final_logits < 1e-4, "{}: {e:?}", reference.name);
        }
    }
}
