use std::path::{Path, PathBuf};

use candle_core::DType;
use ft_kernels::quant::Kind;

use super::*;
use crate::layers::{LayerSource, PackedFormat, Quantised, Resident, TableBytes, WeightFormat};
use crate::lora::{Adapter, LoraConfig};
use crate::optimizer::{Optimizer, OptimizerKind};
use crate::{Architecture, Checkpoint, Error};

/// The reference folders, each with a model.
fn folders() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/reference");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("model/config.json").is_file());
    folders.sort();
    folders
}

fn open(folder: &Path) -> Option<Checkpoint> {
    match Checkpoint::open(&folder.join("model")) {
        // Reference values may be there before their family is, or what one of it asks for.
        Err(Error::In { source, .. })
            if matches!(*source, Error::UnknownArchitecture { .. } | Error::Unsupported { .. }) =>
        {
            None
        }
        opened => Some(opened.unwrap()),
    }
}

fn models() -> impl Iterator<Item = Checkpoint> {
    folders().into_iter().filter_map(|folder| open(&folder))
}

#[test]
fn frozen_bytes_are_those_of_the_loaded_weights() {
    let mut families = 0;
    for model in models() {
        families += 1;
        let arch = model.architecture();
        let tables = TableBytes::of(&model).unwrap();
        for dtype in [DType::F32, DType::BF16] {
            let frozen = Frozen::new(arch, WeightFormat::Float(dtype), tables).unwrap();
            let loaded = Resident::load(&model, dtype, |_| {}).unwrap();
            assert_eq!(frozen.bytes(), loaded.held_bytes(), "{:?}", model.path());
        }
        let four = |double| PackedFormat::FourBit { kind: Kind::Nf4, double };
        for bits in [PackedFormat::EightBit, four(true), four(false), PackedFormat::AsIs] {
            let frozen = Frozen::of(&model, WeightFormat::Packed(bits)).unwrap().unwrap();
            assert_eq!(
                Frozen::new(arch, WeightFormat::Packed(bits), tables),
                Some(frozen.clone()).filter(|_| bits != PackedFormat::AsIs)
            );
            let loaded = Quantised::load(&model, bits, |_| {}).unwrap();
            assert_eq!(frozen.bytes(), loaded.held_bytes(), "{:?} {bits:?}", model.path());
            assert_eq!(frozen.computing(Stage::None), loaded.layer_bytes() as u64);
        }
    }
    assert!(families > 30);
}

#[test]
fn a_vocabulary_in_blocks_takes_what_its_blocks_take() {
    for name in ["llama3_rope-s5.q8_0.gguf", "phi3_longrope-s16.q8_0.gguf"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/gguf").join(name);
        let model = Checkpoint::open(&path).unwrap();
        let tables = TableBytes::of(&model).unwrap();
        for bits in [PackedFormat::EightBit, PackedFormat::AsIs] {
            let frozen = Frozen::of(&model, WeightFormat::Packed(bits)).unwrap().unwrap();
            assert_eq!(frozen.bytes(), Quantised::load(&model, bits, |_| {}).unwrap().held_bytes(), "{name} {bits:?}");
        }
        let widened = TableBytes::float(model.architecture(), DType::F32);
        // A block of Q8_0 has 34 bytes for 32 elements.
        assert_eq!(tables.embedding * 64, widened.embedding * 17);
    }
}

#[test]
fn trained_shapes_are_those_of_a_new_adapter() {
    let mut found = 0;
    for folder in folders() {
        let Some(model) = open(&folder) else { continue };
        let Ok(text) = std::fs::read(folder.join("adapter_init/adapter_config.json")) else { continue };
        let mut config: LoraConfig = serde_json::from_slice(&text).unwrap();
        config.init_lora_weights = true.into();
        let source = Resident::load(&model, DType::F32, |_| {}).unwrap();
        let shapes = config.trained_shapes(model.architecture());
        let Ok(adapter) = Adapter::init_on(model.architecture(), &source, config, 1) else {
            // What cannot be trained cannot be planned.
            assert!(shapes.is_err(), "{}", folder.display());
            continue;
        };
        let expected: Vec<_> = adapter
            .trainable()
            .map(|trained| TrainedShape {
                of: trained.of.into(),
                name: trained.name(),
                shape: trained.tensor.dims().to_vec(),
            })
            .collect();
        assert_eq!(shapes.unwrap(), expected, "{}", folder.display());
        found += 1;
    }
    assert!(found > 10, "{found}");
}

/// Enough elements for moments of 8 bits and for several cuts.
fn plan_of<'a>(
    arch: &'a Architecture,
    frozen: &'a Frozen,
    optimizer: &'a OptimizerConfig,
    lora: &LoraConfig,
) -> MemoryPlan<'a> {
    let step = StepShape {
        micro_batch: 2,
        accumulation: 3,
        length: 10,
        activation_memory: 0,
        longest_piece: 10,
        precision: ft_kernels::Precision::F32,
        on_cpu: true,
    };
    MemoryPlan::new(arch, frozen, lora, optimizer, step).unwrap()
}

#[test]
fn moments_are_those_of_the_optimizer() {
    let model = models().next().unwrap();
    let arch = model.architecture();
    let frozen = Frozen::new(arch, WeightFormat::Float(DType::F32), TableBytes::float(arch, DType::F32)).unwrap();
    let lora = LoraConfig::new(64, 64.0, "all-linear");
    let adapter = Adapter::init(arch, lora.clone(), 3).unwrap();
    for kind in OptimizerKind::ALL {
        let folder = std::env::temp_dir();
        let config = OptimizerConfig { kind, page_folder: folder, ..OptimizerConfig::default() };
        let plan = plan_of(arch, &frozen, &config, &lora);
        for (world, stage) in [(1, Stage::Zero1), (3, Stage::None), (3, Stage::Zero1), (5, Stage::Zero3)] {
            let shared = if stage == Stage::None { 1 } else { world };
            for rank in 0..world {
                let place = if shared == 1 { 0 } else { rank };
                let optimizer = Optimizer::among(&adapter, config.clone(), shared, place).unwrap();
                let planned = plan.rank(Ranks { world, stage, reshard_after_forward: true }, rank);
                assert_eq!(planned.moment_bytes, optimizer.state_bytes(), "{kind} {world} {rank}");
            }
        }
    }
}

#[test]
fn every_byte_is_sent_twice_a_piece_or_once_where_it_is_kept() {
    let model = models().find(|model| !model.architecture().tie_word_embeddings).unwrap();
    let arch = model.architecture();
    let frozen = Frozen::new(arch, WeightFormat::Float(DType::BF16), TableBytes::float(arch, DType::F32)).unwrap();
    let config = OptimizerConfig::default();
    let plan = plan_of(arch, &frozen, &config, &LoraConfig::new(4, 4.0, "all-linear"));
    let layers: usize = arch.num_layers * layer_bytes(arch);
    let vocabulary = 2 * 2 * arch.vocab_size * arch.hidden_size;
    for (reshard_after_forward, times) in [(true, 2), (false, 1)] {
        let ranks = Ranks { world: 4, stage: Stage::Zero3, reshard_after_forward };
        let all: Vec<RankPlan> = (0..4).map(|rank| plan.rank(ranks, rank)).collect();
        // Three micro-batches, each in two pieces.
        assert_eq!(all[0].gathered_bytes_per_step, 6 * (times * layers + vocabulary) as u64);
        let sent: u64 = all.iter().map(|rank| rank.sent_bytes_per_step.frozen).sum();
        assert_eq!(sent, 3 * all[0].gathered_bytes_per_step, "each byte goes to three others");
    }
}

/// Of a layer's matrices in 16 bits.
fn layer_bytes(arch: &Architecture) -> usize {
    let shapes = crate::projection::Projection::of_layer(arch, 0).into_iter().map(|p| p.shape(arch, 0));
    shapes.map(|(out, inner)| 2 * out * inner).sum()
}
