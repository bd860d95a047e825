//! Blocks of GGUF files against those that llama.cpp's quantisers make (`scripts/make_ggml_reference.py`).

use std::path::Path;

use candle_core::quantized::GgmlDType;
use candle_core::{Device, Tensor};
use ft_kernels::quant::{encode_blocks, expand_blocks};

const KINDS: [(GgmlDType, &str); 8] = [
    (GgmlDType::Q4_0, "Q4_0"),
    (GgmlDType::Q4_1, "Q4_1"),
    (GgmlDType::Q5_0, "Q5_0"),
    (GgmlDType::Q5_1, "Q5_1"),
    (GgmlDType::Q8_0, "Q8_0"),
    (GgmlDType::Q4K, "Q4_K"),
    (GgmlDType::Q5K, "Q5_K"),
    (GgmlDType::Q6K, "Q6_K"),
];

#[test]
fn blocks_are_llama_cpps_byte_by_byte() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/quant/ggml.safetensors");
    let reference = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let values = reference["values"].to_vec1::<f32>().unwrap();
    for (kind, name) in KINDS {
        let expected = reference[name].to_vec1::<u8>().unwrap();
        let mut bytes = vec![0xff; expected.len()];
        encode_blocks(kind, &values, &mut bytes).unwrap();
        let size = kind.type_size();
        for (i, (bytes, expected)) in bytes.chunks(size).zip(expected.chunks(size)).enumerate() {
            assert_eq!(bytes, expected, "{name}: block {i}");
        }
    }
}

#[test]
fn what_is_made_expands_to_about_what_it_was() {
    let values: Vec<f32> = Tensor::randn(0f32, 0.05, 4096, &Device::Cpu).unwrap().to_vec1().unwrap();
    let mut losses = Vec::new();
    for (kind, name) in KINDS {
        let mut bytes = vec![0; values.len() / kind.block_size() * kind.type_size()];
        encode_blocks(kind, &values, &mut bytes).unwrap();
        let mut read = vec![0.0; values.len()];
        expand_blocks(kind, &bytes, &mut read).unwrap();
        let lost: f32 = values.iter().zip(&read).map(|(a, b)| (a - b) * (a - b)).sum();
        losses.push((name, (lost / values.iter().map(|x| x * x).sum::<f32>()).sqrt()));
    }
    let most = |name: &str| if name.starts_with("Q4") { 0.11 } else if name.starts_with("Q5") { 0.055 } else { 0.03 };
    assert!(losses.iter().all(|(name, lost)| *lost < most(name) && *lost > 0.0), "{losses:?}");
}

#[test]
fn sizes_and_types_that_do_not_fit_are_errors() {
    let error = encode_blocks(GgmlDType::Q4K, &[0.0; 32], &mut [0; 18]).unwrap_err().to_string();
    assert!(error.contains("whole blocks of Q4K for 32 elements"), "{error}");
    let error = encode_blocks(GgmlDType::Q2K, &[0.0; 256], &mut [0; 84]).unwrap_err().to_string();
    assert!(error.contains("not made here"), "{error}");
}
