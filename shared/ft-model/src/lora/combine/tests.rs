use candle_core::Device;

use super::*;

fn tensor(values: &[f32], shape: (usize, usize)) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
}

fn adapter(a: &[f32], b: &[f32], scaling: f64) -> Adapter {
    let module = "model.layers.0.self_attn.q_proj".to_owned();
    let rank = a.len() / 3;
    let pair = LoraPair {
        key: module.clone(),
        module,
        a: tensor(a, (rank, 3)),
        b: tensor(b, (b.len() / rank, rank)),
        scaling,
        magnitude: None,
    };
    let config = LoraConfig { r: rank, lora_alpha: scaling * rank as f64, ..LoraConfig::default() };
    Adapter::new(config, vec![pair], Vec::new(), Vec::new())
}

fn by(how: Combination) -> Combine {
    Combine { how, density: 1.0, majority: Majority::Total, rank: None, seed: 1 }
}

/// `scaling · B·A` of the only module.
fn delta(adapter: &Adapter) -> Vec<f32> {
    let pair = &adapter.modules()[0];
    let product = (pair.b.matmul(&pair.a).unwrap() * pair.scaling).unwrap();
    product.flatten_all().unwrap().to_vec1().unwrap()
}

fn two() -> [(Adapter, f64); 2] {
    let one = adapter(&[1.0, -2.0, 3.0, 0.5, 0.25, -1.0], &[1.0, 2.0, -1.0, 0.5, 0.0, 1.0], 2.0);
    let other = adapter(&[0.5, 1.0, -4.0], &[2.0, -1.0, 1.0], 0.5);
    [(one, 0.7), (other, -0.3)]
}

#[test]
fn cat_and_svd_add_up_the_products() {
    let all = two();
    let sum = |i: usize| (all[0].1 as f32) * delta(&all[0].0)[i] + (all[1].1 as f32) * delta(&all[1].0)[i];
    let cat = by(Combination::Cat).adapters(&all).unwrap();
    let svd = Combine { rank: Some(3), ..by(Combination::Svd) }.adapters(&all).unwrap();
    assert_eq!((cat.config.r, svd.config.r), (3, 3));
    for (i, (a, b)) in delta(&cat).into_iter().zip(delta(&svd)).enumerate() {
        assert!((a - sum(i)).abs() < 1e-5 && (b - sum(i)).abs() < 1e-4, "{i}: {a} {b} {}", sum(i));
    }
}

#[test]
fn dare_drops_its_share_and_repeats() {
    let values: Vec<f32> = (0..3000).map(|i| 1.0 + i as f32 * 1e-3).collect();
    let all = [(adapter(&values, &vec![1.0; 2 * 1000], 1.0), 1.0)];
    let dare = Combine { density: 0.3, ..by(Combination::DareLinear) };
    let [once, again] =
        [0, 1].map(|_| dare.adapters(&all).unwrap().modules()[0].a.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    assert_eq!(once, again);
    let kept = once.iter().filter(|x| **x != 0.0).count();
    assert!((800..1000).contains(&kept), "{kept}");
    assert!(once.iter().zip(&values).all(|(x, from)| *x == 0.0 || (x / from - 1.0 / 0.3).abs() < 1e-5));
}

#[test]
fn ranks_that_differ_are_told() {
    let error = by(Combination::Linear).adapters(&two()).unwrap_err().to_string();
    assert!(error.contains("the ranks 2 and 1") && error.contains("--combine svd or cat"), "{error}");
}
