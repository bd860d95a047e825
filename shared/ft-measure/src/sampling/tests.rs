use candle_core::Device;

use super::*;

fn hot(temperature: f64) -> Sampling {
    Sampling { temperature, ..Sampling::GREEDY }
}

/// Logits of these probabilities.
fn logits(probabilities: &[f32]) -> Tensor {
    let logits: Vec<f32> = probabilities.iter().map(|p| p.ln()).collect();
    Tensor::new(logits, &Device::Cpu).unwrap()
}

/// How often each token is drawn, of 20,000 times.
fn shares(sampling: Sampling, probabilities: &[f32]) -> Vec<f64> {
    const DRAWS: usize = 20_000;
    let logits = logits(probabilities);
    let mut sampler = Sampler::new(sampling, 1, &vec![Vec::new(); 2], 1);
    let mut counts = vec![0.0; probabilities.len()];
    for i in 0..DRAWS {
        counts[sampler.choose(i % 2, &logits).unwrap() as usize] += 1.0 / DRAWS as f64;
    }
    counts
}

#[track_caller]
fn assert_near(found: &[f64], expected: &[f64]) {
    let near = |(f, e): (&f64, &f64)| if *e == 0.0 { *f == 0.0 } else { (f - e).abs() < 0.015 };
    assert!(found.iter().zip(expected).all(near), "{found:?}, expected {expected:?}");
}

const FIVE_OF_TEN: [f32; 10] = [0.04, 0.16, 0.04, 0.15, 0.14, 0.13, 0.12, 0.04, 0.09, 0.09];

#[test]
fn top_p_sees_what_top_k_left_as_a_whole() {
    // The five likeliest have 0.7 together, so their shares are 0.229, 0.214, 0.2, 0.186 and 0.171: from below,
    // three of them are 0.557, and with the fourth 0.771, which is more than 0.7. Two are left.
    let sampling = Sampling { top_k: Some(5), top_p: Some(0.3), ..hot(1.0) };
    let mut expected = [0.0; 10];
    (expected[1], expected[3]) = (16.0 / 31.0, 15.0 / 31.0);
    assert_near(&shares(sampling, &FIVE_OF_TEN), &expected);
}

#[test]
fn each_of_the_three_alone() {
    let four = [0.1, 0.4, 0.2, 0.3];
    assert_near(&shares(hot(1.0), &four), &[0.1, 0.4, 0.2, 0.3]);
    // A temperature of a half squares the probabilities: 1, 16, 4 and 9 of 30.
    let cold = shares(hot(0.5), &four);
    assert_near(&cold, &[1.0 / 30.0, 16.0 / 30.0, 4.0 / 30.0, 9.0 / 30.0]);
    let two = shares(Sampling { top_k: Some(2), ..hot(1.0) }, &four);
    assert_near(&two, &[0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]);
    // 0.1 alone may go, 0.1 and 0.2 are more than 1 - 0.75.
    let most = shares(Sampling { top_p: Some(0.75), ..hot(1.0) }, &four);
    assert_near(&most, &[0.0, 4.0 / 9.0, 2.0 / 9.0, 3.0 / 9.0]);
    // What top-p leaves is found after the temperature: 1 and 4 of 30 go.
    let cold = shares(Sampling { top_p: Some(0.75), ..hot(0.5) }, &four);
    assert_near(&cold, &[0.0, 16.0 / 25.0, 0.0, 9.0 / 25.0]);
}

#[test]
fn the_likeliest_is_always_left_and_equals_stay_together() {
    let four = [0.1, 0.4, 0.2, 0.3];
    assert_near(&shares(Sampling { top_p: Some(1e-9), ..hot(1.0) }, &four), &[0.0, 1.0, 0.0, 0.0]);
    assert_near(&shares(Sampling { top_p: Some(1.0), ..hot(1.0) }, &four), &[0.1, 0.4, 0.2, 0.3]);
    assert_near(&shares(Sampling { top_k: Some(99), ..hot(1.0) }, &four), &[0.1, 0.4, 0.2, 0.3]);
    // transformers keeps every token that is as likely as the k-th.
    let tied = shares(Sampling { top_k: Some(2), ..hot(1.0) }, &[0.25, 0.5, 0.25]);
    assert_near(&tied, &[0.25, 0.5, 0.25]);
}

#[test]
fn temperatures_of_all_sizes_give_a_token() {
    let wide = Tensor::new(&[-1e30f32, 5.0, 4.0, 1e3], &Device::Cpu).unwrap();
    for temperature in [1e-320, 1e-30, 1.0, 1e300] {
        let mut sampler = Sampler::new(hot(temperature), 3, &[Vec::new()], 1);
        assert!(sampler.choose(0, &wide).unwrap() < 4);
    }
    let mut cold = Sampler::new(hot(1e-320), 3, &[Vec::new()], 1);
    assert_eq!(cold.choose(0, &wide).unwrap(), 3);
}

#[test]
fn a_draw_is_a_function_of_seed_row_and_number() {
    let flat = Tensor::zeros(1000, candle_core::DType::F32, &Device::Cpu).unwrap();
    let drawn = |seed: u64, rows: &[usize]| -> Vec<u32> {
        let mut sampler = Sampler::new(hot(1.0), seed, &vec![Vec::new(); 3], 1);
        rows.iter().map(|&row| sampler.choose(row, &flat).unwrap()).collect()
    };
    // Philox's own numbers: they stay, whatever is updated.
    assert_eq!(drawn(42, &[0, 0, 0]), FIRST_OF_42);
    let [a, b, c] = FIRST_OF_42;
    let mixed = drawn(42, &[0, 1, 0, 2, 0]);
    assert_eq!([mixed[0], mixed[2], mixed[4]], [a, b, c]);
    assert!(mixed[1] != a && mixed[3] != a && drawn(43, &[0, 0, 0]) != [a, b, c]);
}

const FIRST_OF_42: [u32; 3] = [597, 560, 230];

#[test]
fn logits_that_are_no_numbers_give_no_token() {
    for wrong in [f32::NAN, f32::INFINITY] {
        let logits = Tensor::new(&[0.0, wrong, 1.0], &Device::Cpu).unwrap();
        for sampling in [Sampling::GREEDY, hot(1.0)] {
            let told = Sampler::new(sampling, 0, &[Vec::new()], 1).choose(0, &logits).unwrap_err().to_string();
            assert!(told.starts_with("a logit of the next token is "), "{told}");
        }
    }
    // A token that cannot be is none to take, and no error.
    let never = Tensor::new(&[f32::NEG_INFINITY, 0.5, f32::NEG_INFINITY], &Device::Cpu).unwrap();
    assert_eq!(Sampler::new(Sampling::GREEDY, 0, &[Vec::new()], 1).choose(0, &never).unwrap(), 1);
    assert_eq!(Sampler::new(hot(1.0), 0, &[Vec::new()], 1).choose(0, &never).unwrap(), 1);
}

#[test]
fn samples_of_one_prompt_differ_and_the_first_is_the_only_one() {
    let flat = Tensor::zeros(1000, candle_core::DType::F32, &Device::Cpu).unwrap();
    let drawn = |prompts: usize, samples: usize| -> Vec<u32> {
        let mut sampler = Sampler::new(hot(1.0), 42, &vec![Vec::new(); prompts * samples], samples);
        (0..prompts * samples).map(|row| sampler.choose(row, &flat).unwrap()).collect()
    };
    let (one, three) = (drawn(2, 1), drawn(2, 3));
    assert_eq!([three[0], three[3]], [one[0], one[1]]);
    assert!(three[0] != three[1] && three[1] != three[2] && three[4] != three[1], "{three:?}");
}

#[test]
fn a_token_that_was_drawn_is_punished_from_then_on() {
    let logits = Tensor::new(&[2.0f32, 1.9, 1.0, -1.0], &Device::Cpu).unwrap();
    let sampling = Sampling { repetition_penalty: 2.5, ..Sampling::GREEDY };
    let mut sampler = Sampler::new(sampling, 0, &[vec![], vec![1]], 1);
    let drawn: Vec<u32> = (0..3).map(|_| sampler.choose(0, &logits).unwrap()).collect();
    assert_eq!(drawn, [0, 1, 2]);
    // The prompt counts as well: 1.9 is 0.76 then, and 2.0 is 0.8 after its turn.
    assert_eq!([0; 3].map(|_| sampler.choose(1, &logits).unwrap()), [0, 2, 0]);
}
