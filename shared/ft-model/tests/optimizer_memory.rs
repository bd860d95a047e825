//! What an optimizer keeps in memory, measured: a process of its own, for the peak is the process's.

use candle_core::{DType, Device, Tensor};
use ft_kernels::memory::peak_rss_bytes;
use ft_model::lora::{Adapter, LoraConfig, LoraPair};
use ft_model::optimizer::{Optimizer, OptimizerConfig, OptimizerKind};

/// Elements of `A`; the two moments of AdamW have twice their bytes.
const ELEMENTS: usize = 12 << 20;
const MOMENTS: u64 = 8 * ELEMENTS as u64;

fn filled(value: f32, shape: (usize, usize)) -> Tensor {
    Tensor::full(value, shape, &Device::Cpu).unwrap()
}

#[test]
fn paged_moments_take_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let pair = LoraPair {
        key: "model.layers.0.self_attn.q_proj".into(),
        module: "model.layers.0.self_attn.q_proj".into(),
        a: filled(0.5, (8, ELEMENTS / 8)),
        b: Tensor::zeros((8, 8), DType::F32, &Device::Cpu).unwrap(),
        scaling: 1.0,
        magnitude: None,
    };
    let config = LoraConfig::new(8, 8.0, "q_proj");
    let mut adapter = Adapter::new(config, vec![pair], Vec::new(), Vec::new());
    let gradients = [filled(0.01, (8, ELEMENTS / 8)), filled(0.01, (8, 8))];
    let peak = || peak_rss_bytes().expect("Linux tells the peak");
    let mut growth = |kind| {
        let before = peak();
        let config = OptimizerConfig { kind, page_folder: folder.path().to_path_buf(), ..OptimizerConfig::default() };
        let mut optimizer = Optimizer::new(&adapter, config).unwrap();
        for _ in 0..2 {
            optimizer.update(&mut adapter, &gradients, 1e-3, 0.0, &ft_dist::Solo).unwrap();
        }
        optimizer.save(Some(&folder.path().join("state.safetensors")), &ft_dist::Solo).unwrap();
        peak() - before
    };
    let paged = growth(OptimizerKind::PagedAdamw32bit);
    let paged_8bit = growth(OptimizerKind::PagedAdamw8bit);
    let unpaged = growth(OptimizerKind::AdamwTorch);
    println!(
        "moments of {MOMENTS} bytes: the peak grows by {paged} paged, {paged_8bit} paged of 8 bits, {unpaged} unpaged"
    );
    assert!(paged < MOMENTS / 8 && paged_8bit < MOMENTS / 8, "{paged} {paged_8bit}");
    assert!(unpaged > MOMENTS * 9 / 10, "{unpaged}");
}
