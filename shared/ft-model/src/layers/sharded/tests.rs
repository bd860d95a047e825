use std::path::Path;
use std::time::Duration;

use candle_core::DType;
use ft_dist::Threads;
use ft_kernels::linear::Weight;
use ft_kernels::quant::Kind;

use super::*;
use crate::layers::{PackedFormat, Quantised, Resident};

fn open(name: &str) -> Checkpoint {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
    let is_file = Path::new(name).extension().is_some_and(|end| end == "gguf");
    let path = if is_file { data.join("gguf").join(name) } else { data.join("reference").join(name).join("model") };
    Checkpoint::open(&path).unwrap()
}

fn values(matrix: impl Into<Weight>) -> Vec<f32> {
    let tensor = matrix.into().widened().unwrap();
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// All matrices of a pass there and back.
fn walk(source: &dyn LayerSource, layers: usize) -> Vec<Vec<f32>> {
    let there = (0..layers).map(Unit::Layer);
    let pass: Vec<Unit> = std::iter::once(Unit::Embedding)
        .chain(there.clone())
        .chain(std::iter::once(Unit::Head))
        .chain(there.rev())
        .collect();
    source.expect(&pass);
    let mut found = Vec::new();
    for unit in pass {
        match unit {
            Unit::Embedding => found.push(values(source.embedding().unwrap().widened().unwrap())),
            Unit::Head => found.push(values(source.head().unwrap().widened().unwrap())),
            Unit::Layer(i) => {
                let layer = source.layer(i).unwrap();
                found.extend(Site::ALL.map(|site| values(&layer.product(site).weight)));
            }
        }
    }
    found
}

/// On `world` ranks, each as a thread: what each of them walks through, and what it holds and gathered.
fn on_ranks(name: &str, held: WeightFormat, world: usize, reshard: bool) -> Vec<(Vec<Vec<f32>>, u64, u64)> {
    with_options(name, &ShardedOptions { format: held, reshard_after_forward: reshard, folder: None }, world)
}

fn with_options(name: &str, options: &ShardedOptions, world: usize) -> Vec<(Vec<Vec<f32>>, u64, u64)> {
    let threads = Threads::new(world, Duration::from_secs(60)).into_iter().map(|ranks| {
        let (name, options) = (name.to_owned(), options.clone());
        std::thread::spawn(move || {
            let model = open(&name);
            let sharded = Sharded::load(&model, &options, &*ranks, |_| {}).unwrap();
            let found = walk(&sharded, model.architecture().num_layers);
            assert_eq!(sharded.bytes_on_disk() > 0, options.folder.is_some());
            (found, sharded.held_bytes(), sharded.gathered_bytes())
        })
    });
    let threads: Vec<_> = threads.collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

#[test]
fn every_rank_gets_the_whole_matrices() {
    for name in ["llama-s0", "llama_tied_bias-s0", "gpt2-s28", "phi3-s15"] {
        let model = open(name);
        for dtype in [DType::F32, DType::BF16] {
            let resident = Resident::load(&model, dtype, |_| {}).unwrap();
            let layers = model.architecture().num_layers;
            let expected = walk(&resident, layers);
            let of_layers = (0..layers).map(|i| resident.layer(i).unwrap().small_bytes());
            let small = resident.ends().bytes() + of_layers.sum::<u64>();
            for world in [1, 2, 3, 8] {
                let found = on_ranks(name, WeightFormat::Float(dtype), world, true);
                assert!(found.iter().all(|(values, ..)| *values == expected), "{name} {dtype:?} {world}");
                let all: u64 = found.iter().map(|(_, held, _)| held).sum();
                let most = found.iter().map(|(_, held, _)| held).max().unwrap();
                assert!(all >= resident.held_bytes(), "nothing is lost");
                // What is small lies on every rank, and a share may be longer than another by what is not cut.
                let share = (resident.held_bytes() - small).div_ceil(world as u64);
                let uneven = (64 * (layers + 2)) as u64;
                assert!(*most <= small + share + uneven, "{name}: {most} of {world}");
            }
        }
    }
}

#[test]
fn codes_are_gathered_and_expanded_after() {
    for bits in [PackedFormat::EightBit, PackedFormat::FourBit { kind: Kind::Nf4, double: true }, PackedFormat::AsIs] {
        let model = open("llama-s0");
        let quantised = Quantised::load(&model, bits, |_| {}).unwrap();
        let expected = walk(&quantised, 2);
        for (found, ..) in on_ranks("llama-s0", WeightFormat::Packed(bits), 3, true) {
            assert!(found == expected, "{bits:?}");
        }
    }
}

#[test]
fn a_layer_is_gathered_twice_a_pass_or_once_where_it_is_kept() {
    for (name, twice_of_vocabulary) in [("llama-s0", false), ("llama_tied_bias-s0", true)] {
        let model = open(name);
        let layers: u64 = model
            .names()
            .iter()
            .filter(|name| name.contains(".layers.") && name.ends_with("proj.weight"))
            .map(|name| 4 * model.shape(name).unwrap().iter().product::<usize>() as u64)
            .sum();
        let shape = model.shape("model.embed_tokens.weight").unwrap();
        let vocabulary = 4 * shape.iter().product::<usize>() as u64;
        let (_, _, gathered) = on_ranks(name, WeightFormat::Float(DType::F32), 2, true).swap_remove(1);
        assert_eq!(gathered, 2 * layers + 2 * vocabulary);
        let (_, _, gathered) = on_ranks(name, WeightFormat::Float(DType::F32), 2, false).swap_remove(1);
        assert_eq!(gathered, layers + if twice_of_vocabulary { 1 } else { 2 } * vocabulary);
    }
}

#[test]
fn what_lies_on_disk_is_the_same_and_takes_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    for held in [WeightFormat::Float(DType::BF16), WeightFormat::Packed(PackedFormat::EightBit)] {
        let run = |folder| {
            let options = ShardedOptions { format: held, reshard_after_forward: true, folder };
            with_options("llama-s0", &options, 3)
        };
        let (memory, disk) = (run(None), run(Some(folder.path().to_path_buf())));
        for ((values, bytes, gathered), (same, small, sent)) in memory.iter().zip(&disk) {
            assert!(values == same, "{held:?}");
            assert_eq!(gathered, sent);
            assert!(small * 4 < *bytes, "norms are left: {small} of {bytes}");
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
    let nowhere = Some("/nowhere".into());
    let options =
        ShardedOptions { format: WeightFormat::Float(DType::F32), reshard_after_forward: true, folder: nowhere };
    let told = Sharded::load(&open("llama-s0"), &options, &ft_dist::Solo, |_| {}).unwrap_err().to_string();
    assert!(told.contains("/nowhere/(this rank's frozen weights)"), "{told}");
}

#[test]
fn a_vocabulary_in_blocks_is_gathered_in_blocks() {
    let name = "llama3_rope-s5.q8_0.gguf";
    let model = open(name);
    let layers = model.architecture().num_layers;
    for bits in [PackedFormat::EightBit, PackedFormat::AsIs] {
        let quantised = Quantised::load(&model, bits, |_| {}).unwrap();
        assert!(matches!(quantised.head().unwrap(), Weight::Rows(_)));
        let expected = walk(&quantised, layers);
        let packed = quantised.frozen_bytes() as u64;
        for (found, _, gathered) in on_ranks(name, WeightFormat::Packed(bits), 3, true) {
            assert!(found == expected, "{bits:?}");
            assert_eq!(gathered, 2 * packed + quantised.vocabulary_bytes(), "layers twice, both ends once");
        }
    }
}
