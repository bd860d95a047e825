//! Blocks of GGUF files against those that llama.cpp's quantisers make (`scripts/make_ggml_reference.py`).

use std::path::Path;

use candle_core::Device;
use candle_core::quantized::GgmlDType;
use ft_kernels::quant::encode_blocks;

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
fn sizes_and_types_that_do_not_fit_are_errors() {
    let error = encode_blocks(GgmlDType::Q4K, &[0.0; 32], &mut [0; 18]).unwrap_err().to_string();
    assert!(error.contains("whole blocks of Q4K for 32 elements"), "{error}");
    let error = encode_blocks(GgmlDType::Q2K, &[0.0; 256], &mut [0; 84]).unwrap_err().to_string();
    assert!(error.contains("not made here"), "{error}");
}
