//! What the tests of whole models share.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use ft_model::batch::{Batch, Sequence};
use serde_json::Value;

/// A folder of `testdata/reference`: what transformers and peft computed with a model.
pub struct Reference {
    pub dir: PathBuf,
    pub name: String,
    pub data: HashMap<String, Tensor>,
    pub meta: Value,
}

/// `testdata`
pub fn testdata() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata")
}

/// Every folder of `testdata/reference`, by name.
pub fn every_reference() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(testdata().join("reference")).unwrap();
    let mut all: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.join("meta.json").is_file()).collect();
    all.sort();
    assert!(all.len() >= 70, "{} folders", all.len());
    all
}

impl Reference {
    pub fn open(dir: PathBuf) -> Self {
        let data = candle_core::safetensors::load(dir.join("data.safetensors"), &Device::Cpu).unwrap();
        let meta = serde_json::from_slice(&std::fs::read(dir.join("meta.json")).unwrap()).unwrap();
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        Self { dir, name, data, meta }
    }

    /// The rows without their padding, which stands on the right.
    pub fn sequences(&self) -> Vec<Sequence> {
        let rows = |name: &str| self.data[name].to_dtype(DType::I64).unwrap().to_vec2::<i64>().unwrap();
        let (ids, labels, mask) = (rows("input_ids"), rows("labels"), rows("attention_mask"));
        let cut = |i: usize| {
            let length = mask[i].iter().filter(|&&m| m == 1).count();
            Sequence {
                input_ids: ids[i][..length].iter().map(|&id| id as u32).collect(),
                labels: labels[i][..length].iter().map(|&l| l as i32).collect(),
            }
        };
        (0..ids.len()).map(cut).collect()
    }

    /// The largest difference to an expected `[rows, length, width]`, over the largest expected value;
    /// `found` is `[tokens, width]`.
    pub fn error(&self, expected: &str, found: &Tensor, batch: &Batch) -> f64 {
        let expected = self.data[expected].to_dtype(DType::F32).unwrap();
        let (mut difference, mut largest) = (0.0f32, 0.0f32);
        for (i, span) in batch.starts.windows(2).enumerate() {
            let length = span[1] - span[0];
            let expected = expected.get(i).unwrap().narrow(0, 0, length).unwrap();
            let found = found.narrow(0, span[0], length).unwrap();
            difference = worse(difference, max_abs(&(&expected - found).unwrap()));
            largest = largest.max(max_abs(&expected));
        }
        f64::from(difference / largest)
    }
}

/// The larger one; not a number as soon as one of them is not, which `max` would hide.
pub fn worse<T: PartialOrd>(x: T, y: T) -> T {
    if x.partial_cmp(&x).is_some() && (y.partial_cmp(&y).is_none() || y > x) { y } else { x }
}

/// The largest magnitude; not a number where one element is not.
pub fn max_abs(t: &Tensor) -> f32 {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::abs).fold(0.0, worse)
}
