use candle_core::quantized::GgmlDType;
use candle_core::{Device, Tensor};
use proptest::prelude::*;

use super::kernels::{Round4, Round8};
use super::*;
use crate::simd::testing::same_on_every_isa;
use crate::simd::{Isa, dispatch};

/// Numbers of about the size of weights, some blocks of them zero.
fn weights(len: usize) -> Vec<f32> {
    let number = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / 8e6 - 1.0;
    (0..len).map(|i| if i / 64 % 7 == 3 { 0.0 } else { number(i).powi(3) * 0.05 * (1 + i / 640) as f32 }).collect()
}

fn every_four_bit(values: &[f32]) -> Vec<FourBit> {
    let one = |kind| [false, true].map(|double| FourBit::quantise(values, kind, double));
    [Kind::Nf4, Kind::Fp4].into_iter().flat_map(one).collect()
}

fn expanded(matrix: &FourBit) -> Vec<f32> {
    let mut out = vec![f32::NAN; matrix.len()];
    matrix.expand(&mut out).unwrap();
    out
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn four_bits_expand_as_the_reference_does() {
    for len in [0, 1, 17, 63, 64, 65, 1000, 16_384, 70_001, 200_000] {
        for matrix in every_four_bit(&weights(len)) {
            if len > 0 {
                let expected = reference::expand_four_bit(&matrix, &Device::Cpu).unwrap().to_vec1::<f32>().unwrap();
                assert_eq!(bits(&expanded(&matrix)), bits(&expected), "{len} {:?}", matrix.kind());
            }
            let mut short = vec![0.0; len + 1];
            let error = matrix.expand(&mut short).unwrap_err().to_string();
            assert!(error.contains(&format!("is {}, expected {len}", len + 1)), "{error}");
        }
    }
}

#[test]
fn four_bits_are_the_nearest_codes() {
    let values = weights(5000);
    for kind in [Kind::Nf4, Kind::Fp4] {
        let matrix = FourBit::quantise(&values, kind, false);
        let Absmax::Plain(scales) = matrix.absmax() else { panic!("plain scales were asked for") };
        for (i, (x, y)) in values.iter().zip(expanded(&matrix)).enumerate() {
            let scale = scales[i / BLOCK];
            let distance = |code: &f32| (x - code * scale).abs();
            let nearest = kind.table().iter().map(distance).fold(f32::INFINITY, f32::min);
            assert!((x - y).abs() <= nearest * (1.0 + 1e-5) + 1e-9, "{kind} {i}: {x} became {y}");
        }
    }
}

#[test]
fn all_instruction_sets_round_to_the_same_codes() {
    let values = weights(3333);
    assert!(same_on_every_isa(|isa| {
        let four = [Kind::Nf4, Kind::Fp4].map(|kind| {
            let (mut packed, mut absmax) = (vec![0; values.len().div_ceil(2)], vec![0.0; values.len().div_ceil(BLOCK)]);
            dispatch(isa, Round4 { kind, block: BLOCK, values: &values, packed: &mut packed, absmax: &mut absmax });
            (packed, bits(&absmax))
        });
        let mut blocks = vec![[0; super::block::BYTES]; values.len().div_ceil(super::block::BLOCK)];
        dispatch(isa, Round8 { values: &values, blocks: &mut blocks });
        (four, blocks)
    }));
}

#[test]
fn threads_change_nothing() {
    let values = weights(300_000);
    let work = || every_four_bit(&values).iter().map(|m| bits(&expanded(m))).collect::<Vec<_>>();
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    assert!(pool(1).install(work) == pool(3).install(work));
}

#[test]
fn a_part_is_the_same_from_wherever_it_starts_on_every_instruction_set() {
    let values = weights(700);
    let four = every_four_bit(&values);
    let eight = EightBit::quantise(&values);
    let codes: Vec<u8> = (0..700).map(|i| (i * 37 % 256) as u8).collect();
    let gguf = gguf_blocks(768);
    let mut all: Vec<(Blocks<'_>, usize)> = four.iter().map(|matrix| (matrix.blocks(), 700)).collect();
    all.push((eight.blocks(), 700));
    all.push((Blocks::Bytes { codes: &codes, scales: &[0.3], columns: 700 }, 700));
    all.extend(gguf.iter().map(|(kind, bytes, _)| (Blocks::gguf(*kind, bytes).unwrap(), 768)));
    for (blocks, len) in all {
        let mut all = vec![f32::NAN; len];
        blocks.expand(Isa::Portable, 0, &mut all).unwrap();
        for isa in Isa::ALL {
            for skip in [0, 1, 2, 16, 63, 64, 65, 130, 256, 600, 699] {
                for count in [0, 1, 5, 64, 90, 300] {
                    let count = count.min(len - skip);
                    let mut out = vec![f32::NAN; count];
                    blocks.expand(isa, skip, &mut out).unwrap();
                    assert!(bits(&out) == bits(&all[skip..skip + count]), "{count} from {skip} of {blocks:?}, {isa:?}");
                }
            }
        }
        let told = blocks.expand(Isa::best(), len - 5, &mut [0.0; 200]).unwrap_err().to_string();
        assert!(told.contains(&format!("{} at most", len + 195)), "{told}");
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let refused = |block, packed, scales, len| {
        let absmax = Absmax::Plain(vec![1.0; scales]);
        FourBit::from_parts(Kind::Nf4, block, vec![0; packed], absmax, len).unwrap_err().to_string()
    };
    assert!(refused(48, 50, 3, 100).contains("the block is 48"));
    assert!(refused(64, 49, 2, 100).contains("the codes is 49, expected 50"));
    assert!(refused(64, 50, 3, 100).contains("the scales is 3, expected 2"));
    let second = Second::new(vec![1.0; 2], 0.0, crate::optim::DynamicMap::signed().values());
    assert!(Nested::from_parts(vec![0; 513], second.clone()).unwrap_err().to_string().contains("expected 3"));
    assert!(second.expand(500, &[0; 13], &mut [0.0; 13]).is_err());
    assert!(EightBit::from_bytes(&[0; 34], 33).is_err());
}

#[test]
fn double_quantisation_takes_the_bytes_that_the_paper_says() {
    let len = 1 << 20;
    let values = weights(len);
    // 4 bits, and 8 / 64 + 32 / (64 · 256) = 0.127 bits of constants ("QLoRA", section 3).
    let bits = FourBit::quantise(&values, Kind::Nf4, true).bytes() as f64 * 8.0 / len as f64;
    assert!((4.126..4.128).contains(&bits), "{bits}");
    assert_eq!(FourBit::quantise(&values, Kind::Nf4, false).bytes(), len / 2 + len / 16);
}

#[test]
fn scales_survive_double_quantisation() {
    let values = weights(100_000);
    let plain = FourBit::quantise(&values, Kind::Nf4, false);
    let Absmax::Plain(scales) = plain.absmax() else { panic!("plain scales were asked for") };
    let nested = Nested::quantise(scales);
    let mut back = vec![0.0; scales.len()];
    nested.second().expand(0, nested.codes(), &mut back).unwrap();
    for ((i, x), y) in scales.iter().enumerate().zip(back) {
        // The map's widest step is 0.0141 of the block's largest.
        let largest = nested.second().scales[i / Second::BLOCK];
        assert!((x - y).abs() <= 0.00704 * largest + 1e-7, "{i}: {x} became {y}, of {largest}");
    }
}

#[test]
fn eight_bits_are_those_of_gguf() {
    let values = weights(64 * 1024);
    let ours = EightBit::quantise(&values);
    let tensor = Tensor::from_slice(&values, values.len(), &Device::Cpu).unwrap();
    let theirs = candle_core::quantized::QTensor::quantize(&tensor, GgmlDType::Q8_0).unwrap();
    assert_eq!(ours.as_bytes(), &*theirs.data().unwrap());
    let mut out = vec![0.0; values.len()];
    ours.expand(&mut out).unwrap();
    let expected = theirs.dequantize(&Device::Cpu).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(bits(&out), bits(&expected));
    assert_eq!(EightBit::from_bytes(ours.as_bytes(), values.len()).unwrap(), ours);
}

/// Numbers as each type of a GGUF file: its bytes, and what candle expands them to.
fn gguf_blocks(len: usize) -> Vec<(GgmlDType, Vec<u8>, Vec<f32>)> {
    use GgmlDType::{BF16, F16, F32, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
    let tensor = Tensor::from_slice(&weights(len), (len / 256, 256), &Device::Cpu).unwrap();
    let one = |kind| {
        let theirs = candle_core::quantized::QTensor::quantize(&tensor, kind).unwrap();
        let expected = theirs.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        (kind, theirs.data().unwrap().to_vec(), expected)
    };
    [F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2K, Q3K, Q4K, Q5K, Q6K].into_iter().map(one).collect()
}

#[test]
fn blocks_expand_as_candle_expands_them() {
    for (kind, bytes, expected) in gguf_blocks(4096) {
        for isa in Isa::ALL {
            let mut out = vec![f32::NAN; 4096];
            Blocks::gguf(kind, &bytes).unwrap().expand(isa, 0, &mut out).unwrap();
            assert_eq!(bits(&out), bits(&expected), "{kind:?}, {isa:?}");
        }
        assert!(Blocks::gguf(kind, &bytes[1..]).unwrap_err().to_string().contains("whole blocks"));
        assert!(Blocks::gguf(kind, &bytes).unwrap().expand(Isa::best(), 1, &mut [0.0; 4096]).is_err());
    }
    let told = Blocks::gguf(GgmlDType::Q8K, &vec![0; GgmlDType::Q8K.type_size()]).unwrap_err().to_string();
    assert!(told.contains("Q8K has no blocks"), "{told}");
}

/// Every byte that a file can hold stands for what candle says: scales, least numbers and codes of random bits.
#[test]
fn blocks_of_any_bytes_expand_as_candle_expands_them() {
    for (kind, bytes, _) in gguf_blocks(256) {
        let size = bytes.len();
        let random = |i: usize| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(size as u32) >> 13) as u8;
        // A byte whose seven lower bits are below 0x7c keeps an f16 that ends with it finite.
        let bytes: Vec<u8> = (0..40 * size).map(|i| if random(i) & 0x7f > 0x7b { 0x30 } else { random(i) }).collect();
        let theirs = candle_core::quantized::QStorage::from_data(bytes.clone().into(), &Device::Cpu, kind).unwrap();
        let theirs = candle_core::quantized::QTensor::new(theirs, (40, 256)).unwrap();
        let expected = theirs.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for isa in Isa::ALL {
            let mut out = vec![f32::NAN; expected.len()];
            Blocks::gguf(kind, &bytes).unwrap().expand(isa, 0, &mut out).unwrap();
            assert_eq!(bits(&out), bits(&expected), "{kind:?}, {isa:?}");
        }
    }
}

#[test]
fn rows_of_bytes_have_a_scale_each() {
    let codes = (0..12).map(|i| (i * 37 % 255 - 127) as i8 as u8).collect::<Vec<_>>();
    let scales = [0.5, 3.0, 0.0];
    let blocks = Blocks::Bytes { codes: &codes, scales: &scales, columns: 4 };
    for (row, scale) in scales.into_iter().enumerate() {
        let mut out = [f32::NAN; 4];
        blocks.expand(Isa::best(), 4 * row, &mut out).unwrap();
        for (x, code) in out.iter().zip(&codes[4 * row..]) {
            let exact = f64::from(*code as i8) * f64::from(scale) / 127.0;
            assert!((f64::from(*x) - exact).abs() <= 1e-6 * exact.abs(), "{row}: {x} {exact}");
        }
    }
}

proptest! {
    #[test]
    fn eight_bits_of_any_length_are_near(values in prop::collection::vec(-3.0f32..3.0, 0..200)) {
        let matrix = EightBit::quantise(&values);
        let mut out = vec![f32::NAN; values.len()];
        matrix.expand(&mut out).unwrap();
        for (i, (x, y)) in values.iter().zip(&out).enumerate() {
            let block = &values[i / 32 * 32..(i / 32 * 32 + 32).min(values.len())];
            let largest = block.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            // Half a step, and what the scale loses in 16 bits.
            prop_assert!((x - y).abs() <= largest * (0.5 / 127.0 + 1.0 / 1024.0), "{x} became {y}");
        }
    }

    #[test]
    fn four_bits_of_any_length_keep_the_largest(values in prop::collection::vec(-3.0f32..3.0, 1..200)) {
        let matrix = FourBit::quantise(&values, Kind::Nf4, false);
        let out = expanded(&matrix);
        for (block, back) in values.chunks(BLOCK).zip(out.chunks(BLOCK)) {
            let (i, x) = block.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs())).unwrap();
            prop_assert!((back[i] - x).abs() <= 1e-6 * x.abs(), "{x} became {}", back[i]);
        }
    }
}
