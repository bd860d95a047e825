//! Packed matrices against bitsandbytes' own (`scripts/make_quant_reference.py`).

mod ggml;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use ft_kernels::optim::DynamicMap;
use ft_kernels::quant::{Absmax, FourBit, Kind, Nested, Second};

const LENGTHS: [usize; 5] = [1, 63, 64, 1001, 16_500];

struct Reference(HashMap<String, Tensor>);

impl Reference {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/quant/blocks.safetensors");
        Self(candle_core::safetensors::load(path, &Device::Cpu).unwrap())
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.0[name].to_dtype(DType::F32).unwrap().to_vec1().unwrap()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        self.0[name].to_vec1().unwrap()
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// The elements that the reference kept.
fn expanded(matrix: &FourBit) -> Vec<f32> {
    let mut out = vec![f32::NAN; matrix.len()];
    matrix.expand(&mut out).unwrap();
    let step = if matrix.len() > 10_000 { 20 } else { 1 };
    out.into_iter().step_by(step).collect()
}

#[test]
fn tables_are_those_of_bitsandbytes() {
    let reference = Reference::read();
    for kind in [Kind::Nf4, Kind::Fp4] {
        // bitsandbytes' FP4 has a zero without a sign where the sign's bit is set.
        assert_eq!(kind.table().to_vec(), reference.floats(kind.name()));
        assert_eq!(Kind::from_name(kind.name()), Some(kind));
    }
    assert_eq!(DynamicMap::signed().values().to_vec(), reference.floats("dynamic"));
}

#[test]
fn four_bits_are_those_of_bitsandbytes() {
    let reference = Reference::read();
    for len in LENGTHS {
        let values = reference.floats(&format!("{len}.values"));
        for kind in [Kind::Nf4, Kind::Fp4] {
            let matrix = FourBit::quantise(&values, kind, false);
            let name = format!("{len}.{kind}");
            if !reference.0.contains_key(&format!("{name}.packed")) {
                assert!(kind == Kind::Fp4 && len > 10_000, "{name}");
                continue;
            }
            assert_eq!(matrix.packed(), reference.bytes(&format!("{name}.packed")), "{name}");
            let Absmax::Plain(absmax) = matrix.absmax() else { panic!("plain scales were asked for") };
            assert_eq!(bits(absmax), bits(&reference.floats(&format!("{len}.absmax"))), "{name}");
            assert_eq!(expanded(&matrix), reference.floats(&format!("{name}.expanded")), "{name}");
        }
    }
}

#[test]
fn nested_scales_are_those_of_bitsandbytes() {
    let reference = Reference::read();
    for len in LENGTHS {
        let floats = |name: &str| reference.floats(&format!("{len}.nested.{name}"));
        let bytes = |name: &str| reference.bytes(&format!("{len}.nested.{name}"));
        let matrix = FourBit::quantise(&reference.floats(&format!("{len}.values")), Kind::Nf4, true);
        let Absmax::Nested(nested) = matrix.absmax() else { panic!("nested scales were asked for") };
        // The mean is a sum in another order than torch's; all else follows from it.
        let (ours, theirs) = (nested.second().offset, floats("offset")[0]);
        assert!((ours - theirs).abs() <= theirs * 2e-7, "{len}: {ours} {theirs}");
        for (x, y) in nested.second().scales.iter().zip(floats("scales")) {
            assert!((x - y).abs() <= theirs * 4e-7, "{len}: {x} {y}");
        }
        assert_eq!(nested.codes(), bytes("absmax"), "{len}");
        // The CPU backend's rounding is coarser: now and then the next code.
        let other = nested.codes().iter().zip(bytes("absmax_cpu")).filter(|(x, y)| **x != *y).collect::<Vec<_>>();
        assert!(other.len() <= 1 && other.iter().all(|(x, y)| x.abs_diff(*y) == 1), "{len}: {other:?}");

        // Their constants give their numbers to the last bit.
        let second = Second::new(floats("scales"), theirs, DynamicMap::signed().values());
        let absmax = Absmax::Nested(Nested::from_parts(bytes("absmax"), second).unwrap());
        let packed = reference.bytes(&format!("{len}.nf4.packed"));
        let matrix = FourBit::from_parts(Kind::Nf4, 64, packed, absmax, len).unwrap();
        assert_eq!(bits(&expanded(&matrix)), bits(&floats("expanded")), "{len}");
    }
}
