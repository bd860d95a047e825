use std::path::{Path, PathBuf};

use candle_core::DType;
use ft_kernels::quant::{EightBit, FourBit, Kind};

use super::*;
use crate::layers::{Mapped, Resident};

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(name)
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&testdata(name)).unwrap()
}

fn values(matrix: impl Into<Weight>) -> Vec<u32> {
    let tensor = matrix.into().widened().unwrap();
    let values: Vec<f32> = tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

fn table(table: Result<Weight>) -> Vec<u32> {
    values(table.unwrap().widened().unwrap())
}

/// Whether two streams give the same numbers, to the last bit.
fn same(x: &dyn LayerSource, y: &dyn LayerSource, layers: usize) {
    for i in 0..layers {
        let (x, y) = (x.layer(i).unwrap(), y.layer(i).unwrap());
        for site in Site::ALL {
            let (x, y) = (x.product(site), y.product(site));
            assert_eq!((x.weight.dims2().unwrap(), x.weight.dtype()), (y.weight.dims2().unwrap(), DType::F32));
            assert!(values(&x.weight) == values(&y.weight), "layer {i}, {site:?}");
            assert_eq!(x.bias.as_ref().map(values), y.bias.as_ref().map(values));
        }
        let norms = |layer: &LayerWeights| layer.mlp_norm.as_ref().map(|norm| values(&norm.weight));
        assert_eq!(norms(&x), norms(&y));
    }
    assert!(x.layer(layers).is_err());
    assert!(table(x.embedding()) == table(y.embedding()));
    assert!(table(x.head()) == table(y.head()));
    assert_eq!(values(&x.ends().final_norm.weight), values(&y.ends().final_norm.weight));
}

const EVERY: [PackedFormat; 4] = [
    PackedFormat::EightBit,
    PackedFormat::FourBit { kind: Kind::Nf4, double: true },
    PackedFormat::FourBit { kind: Kind::Nf4, double: false },
    PackedFormat::FourBit { kind: Kind::Fp4, double: true },
];

/// The checkpoint's matrices of a layer: their product, first row there, number of rows and name.
fn stored(arch: &crate::Architecture, layer: usize) -> Vec<(Site, usize, usize, String)> {
    let mut all = Vec::new();
    for site in Site::ALL {
        let mut column = 0;
        for (path, (rows, _)) in site.stored(arch, layer) {
            all.push((site, column, rows, path));
            column += rows;
        }
    }
    all
}

#[test]
fn layers_are_what_their_packed_modules_expand_to() {
    // Rows one below the other; fused projections; and matrices that are stored [in, out].
    let names = ["llama_tied_bias-s0", "phi3-s15", "gpt2-s28", "mixtral-s36", "qwen3_moe_sparse-s39"];
    for name in names.map(|name| format!("reference/{name}/model")) {
        let name = name.as_str();
        let model = open(name);
        let arch = model.architecture().clone();
        let plain = Resident::load(&model, DType::F32, |_| {}).unwrap();
        for bits in EVERY {
            let seen = std::cell::RefCell::new(Vec::new());
            let packed = Quantised::load(&model, bits, |i| seen.borrow_mut().push(i)).unwrap();
            assert_eq!(seen.into_inner(), (1..=arch.num_layers).collect::<Vec<_>>());
            for i in 0..arch.num_layers {
                let (layer, plain) = (packed.layer(i).unwrap(), plain.layer(i).unwrap());
                for (site, column, rows, path) in stored(&arch, i) {
                    let part = |layer: &LayerWeights| {
                        let part = layer.product(site).weight.narrow(column, rows).unwrap();
                        part.widened().unwrap().flatten_all().unwrap()
                    };
                    let full: Vec<f32> = part(&plain).to_vec1().unwrap();
                    let mut expected = vec![0.0; full.len()];
                    if arch.is_router(&path) {
                        assert_eq!(part(&layer).to_vec1::<f32>().unwrap(), full, "{name} {bits:?} {path}");
                        continue;
                    }
                    match bits {
                        PackedFormat::FourBit { kind, double } => {
                            FourBit::quantise(&full, kind, double).expand(&mut expected).unwrap();
                        }
                        _ => EightBit::quantise(&full).expand(&mut expected).unwrap(),
                    }
                    assert_eq!(part(&layer).to_vec1::<f32>().unwrap(), expected, "{name} {bits:?} {path}");
                    assert_ne!(expected, full);
                }
                assert_eq!(layer.product(Site::O).bias.as_ref().map(values), plain.o.bias.as_ref().map(values));
            }
        }
    }
}

#[test]
fn as_is_is_what_the_file_says() {
    for name in [
        "reference/llama-s0/model",
        "reference/gpt2-s28/model",
        "gguf/llama3_rope-s5.gguf",
        "gguf/llama3_rope-s5.q8_0.gguf",
        "gguf/phi3_longrope-s16.q8_0.gguf",
        "quant/nf4",
        "quant/fp4",
        "quant/int8",
    ] {
        let model = open(name);
        let packed = Quantised::load(&model, PackedFormat::AsIs, |_| {}).unwrap();
        let plain = Resident::load(&model, DType::F32, |_| {}).unwrap();
        same(&packed, &plain, model.architecture().num_layers);
    }
}

#[test]
fn what_bitsandbytes_packed_is_taken_over() {
    for (name, most) in [("nf4", 0.53), ("fp4", 0.57), ("int8", 1.1)] {
        let model = open(&format!("quant/{name}"));
        let as_is = Quantised::load(&model, PackedFormat::AsIs, |_| {}).unwrap();
        for bits in EVERY {
            let packed = Quantised::load(&model, bits, |_| {}).unwrap();
            same(&packed, &as_is, 1);
            assert_eq!(packed.frozen_bytes(), as_is.frozen_bytes());
        }
        let each = as_is.frozen_bytes() as f64 / as_is.frozen_parameters() as f64;
        assert!(each < most, "{name}: {each} bytes a parameter");
        assert_eq!(
            as_is.embedding().unwrap().as_float().unwrap().dtype(),
            model.main_dtype().unwrap().float().unwrap()
        );
    }
}

fn smollm2() -> Checkpoint {
    let folder = std::env::var_os("FT_TEST_MODEL_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/models"), PathBuf::from);
    let path = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(path.is_file(), "the tests need '{}': run 'make fetch'", path.display());
    Checkpoint::open(&path).unwrap()
}

#[test]
fn smollm2_takes_as_few_bytes_as_promised() {
    let matrices = 106_168_320;
    for (bits, most) in [
        (PackedFormat::FourBit { kind: Kind::Nf4, double: true }, 0.516),
        (PackedFormat::FourBit { kind: Kind::Fp4, double: false }, 0.5626),
        (PackedFormat::EightBit, 1.0626),
        (PackedFormat::AsIs, 0.6251),
    ] {
        let packed = Quantised::load(&smollm2(), bits, |_| {}).unwrap();
        assert_eq!(
            (packed.frozen_parameters(), packed.expanded_bytes()),
            (matrices, 0),
            "products read it where it lies"
        );
        let each = packed.frozen_bytes() as f64 / matrices as f64;
        println!("{bits:?}: {} bytes for {matrices} parameters, {each:.4} each", packed.frozen_bytes());
        assert!(each < most, "{bits:?}: {each}");
        if bits == PackedFormat::AsIs {
            same(&packed, &Mapped::open(smollm2(), DType::F32).unwrap(), 30);
        }
    }
}
