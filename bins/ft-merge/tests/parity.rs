//! Every model of `testdata/reference` against what transformers and peft computed: logits, hidden states, the losses
//! of ten steps, the first step's gradients, the final adapter, and what the program merges. Prints a table.
//!
//! `FT_REFERENCE=FOLDER` takes another folder of them (`scripts/make_reference.py` makes more).

#[path = "../../../shared/ft-model/tests/common/mod.rs"]
mod common;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::{DType, Device, Tensor};
use common::{Reference, max_abs, testdata, worse};
use ft_kernels::Compute;
use ft_model::batch::Batch;
use ft_model::checkpoint::Checkpoint;
use ft_model::decoder::Decoder;
use ft_model::layers::{LayerSource, Mapped, Resident};
use ft_model::lora::{Adapter, LoraConfig, TrainedKind};
use ft_model::optimizer::{Optimizer, OptimizerConfig};
use ft_model::step::Step;

/// All models that every step is compared of.
fn all() -> Vec<Reference> {
    let given = std::env::var_os("FT_REFERENCE").filter(|folder| !folder.is_empty());
    let root = given.map_or_else(|| testdata().join("reference"), PathBuf::from);
    let entries = std::fs::read_dir(&root).unwrap_or_else(|e| panic!("{}: {e}", root.display()));
    let mut dirs: Vec<_> = entries.map(|e| e.unwrap().path()).filter(|p| p.join("meta.json").is_file()).collect();
    dirs.sort();
    assert!(!dirs.is_empty(), "reference values are missing in {}", root.display());
    dirs.into_iter().map(Reference::open).collect()
}

/// `‖found − expected‖ / ‖expected‖`; where nothing is expected, `‖found‖`.
fn relative(found: &Tensor, expected: &Tensor) -> f64 {
    let norm = |t: &Tensor| f64::from(t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()).sqrt();
    let (difference, size) = (norm(&(found - expected).unwrap()), norm(expected));
    if size == 0.0 { difference } else { difference / size }
}

/// The gradient of a tensor by its name in the adapter's file. DoRA's magnitudes are parameters of a module in peft, and
/// may be called by that.
fn named<'a>(gradients: &'a HashMap<String, Tensor>, name: &str) -> &'a Tensor {
    gradients.get(name).unwrap_or_else(|| &gradients[&format!("{name}.weight")])
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
    trained: f64,
    merged: f64,
}

/// How large each may be: about ten times the largest that was found, but of the adapter, where AdamW makes full steps of
/// gradients that are little more than rounding, and which is found up to 9e-4.
const ALLOWED: Errors = Errors {
    hidden: 1.2e-5,
    logits: 2.4e-5,
    loss: 1.2e-5,
    gradient: 3.2e-5,
    adapter: 1e-3,
    trained: 4e-5,
    merged: 2e-5,
};

impl Errors {
    fn all(&self) -> [f64; 7] {
        let Self { hidden, logits, loss, gradient, adapter, trained, merged } = *self;
        [hidden, logits, loss, gradient, adapter, trained, merged]
    }

    fn max(&self, other: &Self) -> Self {
        let [hidden, logits, loss, gradient, adapter, trained, merged] =
            std::array::from_fn(|i| worse(self.all()[i], other.all()[i]));
        Self { hidden, logits, loss, gradient, adapter, trained, merged }
    }

    /// Whether all are numbers, and small enough.
    fn pass(&self) -> bool {
        self.all().iter().zip(ALLOWED.all()).all(|(found, allowed)| *found < allowed)
    }

    fn row(&self, name: &str, models: &str) -> String {
        let errors = self.all().map(|error| format!(" {error:8.1e}")).concat();
        format!("{name:32} {models:>6} {errors}")
    }
}

fn compare(
    reference: &Reference,
    source: &dyn LayerSource,
    arch: &ft_model::Architecture,
    batches: &[Batch],
) -> Errors {
    let mut errors = Errors::default();
    let all = Batch::new(&reference.sequences());
    let plain = Decoder { compute: Compute::cpu(), arch, source, adapter: None };
    // The reference's last hidden state is the one after the final norm; the logits stand for it.
    plain
        .hidden_each(&all, |i, x| {
            if i < arch.num_layers {
                errors.hidden = worse(errors.hidden, reference.error(&format!("hidden.{i}"), x, &all));
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
        errors.loss = worse(errors.loss, (found.loss - expected.as_f64().unwrap()).abs());
        if step == 0 {
            for (trained, found) in adapter.trainable().zip(&found.gradients) {
                errors.gradient = worse(errors.gradient, relative(found, named(&gradients, &trained.name())));
            }
        }
        optimizer.update(&mut adapter, &found.gradients, number("lr", 1e-3), 0.0, &ft_dist::Solo).unwrap();
    }
    let expected = Adapter::load(&reference.dir.join("adapter_final")).unwrap();
    for (found, expected) in adapter.trainable().zip(expected.trainable()) {
        assert_eq!(found.name(), expected.name());
        let (found, expected) = match found.kind {
            TrainedKind::Saved if found.tensor.rank() == 1 => {
                let mask = felt(named(&gradients, &found.name()));
                ((found.tensor * &mask).unwrap(), (expected.tensor * &mask).unwrap())
            }
            // An expert that no token sees has no gradient in its router's row where weights share out 1: none here, and
            // in torch what is left of a difference of equal numbers, of which AdamW makes steps.
            TrainedKind::B
                if found.of.ends_with(".mlp.gate") && arch.experts.is_some_and(|experts| experts.normalised) =>
            {
                let moved = found.tensor.ne(0.0).unwrap().to_dtype(DType::F32).unwrap();
                let mask = felt(named(&gradients, &found.name())).maximum(&moved).unwrap();
                (found.tensor.clone(), (expected.tensor * &mask).unwrap())
            }
            _ => (found.tensor.clone(), expected.tensor.clone()),
        };
        errors.adapter = worse(errors.adapter, relative(&found, &expected));
    }
    let trained = Decoder { compute: Compute::cpu(), arch, source, adapter: Some(&expected) };
    errors.trained = reference.error("final_logits", &trained.logits(&all).unwrap(), &all);
    errors
}

/// The logits of what `ft-merge` makes of model and adapter, against peft's of its merged model.
fn merged(reference: &Reference) -> f64 {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("merged");
    let part = |name: &str| reference.dir.join(name);
    let mut program = Command::new(env!("CARGO_BIN_EXE_ft-merge"));
    program.arg("--model").arg(part("model")).arg("--adapter").arg(part("adapter_final")).arg("-o").arg(&out);
    let told = program.output().unwrap();
    assert!(told.status.success(), "{}: {}", reference.name, String::from_utf8_lossy(&told.stderr));
    let checkpoint = Checkpoint::open(&out).unwrap();
    let source = Resident::load(&checkpoint, DType::F32, |_| {}).unwrap();
    let all = Batch::new(&reference.sequences());
    let decoder = Decoder { compute: Compute::cpu(), arch: checkpoint.architecture(), source: &source, adapter: None };
    reference.error("merged_logits", &decoder.logits(&all).unwrap(), &all)
}

/// Where embedding and head are one, an adapter of either changes that one alone: merged, they are two.
#[test]
fn an_adapted_end_of_a_tied_vocabulary_is_merged_alone() {
    let reference = Reference::open(testdata().join("reference/qwen2_tied-s12"));
    let checkpoint = Checkpoint::open(&reference.dir.join("model")).unwrap();
    let arch = checkpoint.architecture();
    assert!(arch.tie_word_embeddings);
    let source = Resident::load(&checkpoint, DType::F32, |_| {}).unwrap();
    let all = Batch::new(&reference.sequences());
    let plain = Decoder { compute: Compute::cpu(), arch, source: &source, adapter: None }.logits(&all).unwrap();
    for targets in ["lm_head", "embed_tokens", "embed_tokens,lm_head,v_proj"] {
        let mut config = LoraConfig::new(4, 8.0, targets);
        config.init_lora_weights = false.into();
        let adapter = Adapter::init(arch, config, 5).unwrap();
        let expected =
            Decoder { compute: Compute::cpu(), arch, source: &source, adapter: Some(&adapter) }.logits(&all).unwrap();
        assert!(relative(&plain, &expected) > 1e-2, "{targets}");
        let home = tempfile::tempdir().unwrap();
        let (from, out) = (home.path().join("adapter"), home.path().join("merged"));
        adapter.save(&from, &BTreeMap::new()).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_ft-merge"));
        program.arg("--model").arg(reference.dir.join("model")).arg("--adapter").arg(&from).arg("-o").arg(&out);
        let told = program.output().unwrap();
        assert!(told.status.success(), "{targets}: {}", String::from_utf8_lossy(&told.stderr));
        let merged = Checkpoint::open(&out).unwrap();
        assert!(!merged.architecture().tie_word_embeddings);
        let source = Resident::load(&merged, DType::F32, |_| {}).unwrap();
        let found = Decoder { compute: Compute::cpu(), arch: merged.architecture(), source: &source, adapter: None }
            .logits(&all)
            .unwrap();
        assert!(relative(&found, &expected) < 1e-5, "{targets}");
    }
}

/// From memory with the rows together, and from the file with each row apart.
fn errors(reference: &Reference, model: &Path) -> (&'static str, Errors) {
    let checkpoint = Checkpoint::open(model).unwrap();
    let arch = checkpoint.architecture().clone();
    let sequences = reference.sequences();
    let together = [Batch::new(&sequences)];
    let apart: Vec<Batch> = sequences.iter().map(|s| Batch::new([s])).collect();
    let resident = Resident::load(&checkpoint, DType::F32, |_| {}).unwrap();
    let mapped = Mapped::open(checkpoint, DType::F32).unwrap();
    let both = compare(reference, &resident, &arch, &together).max(&compare(reference, &mapped, &arch, &apart));
    (arch.family.name(), Errors { merged: merged(reference), ..both })
}

#[test]
fn every_reference_is_reached() {
    let mut families: BTreeMap<&str, (usize, Errors)> = BTreeMap::new();
    let mut failed = Vec::new();
    for reference in all() {
        let (family, found) = errors(&reference, &reference.dir.join("model"));
        println!("{}", found.row(&reference.name, ""));
        if !found.pass() {
            failed.push(reference.name.clone());
        }
        let (models, largest) = families.entry(family).or_default();
        (*models, *largest) = (*models + 1, largest.max(&found));
    }
    let names = ["hidden", "logits", "loss", "gradient", "adapter", "trained", "merge"];
    println!("\n{:32} {:>6} {}", "family", "models", names.map(|name| format!(" {name:>8}")).concat());
    for (family, (models, errors)) in &families {
        println!("{}", errors.row(family, &models.to_string()));
    }
    println!("{}", ALLOWED.row("allowed", ""));
    assert!(failed.is_empty(), "off by more than is allowed: {failed:?}");
}
