//! Kernels with faults (`kernels/host/wrong.cu`) are found, and right ones are not accused.

use candle_core::{DType, Device, Tensor};
use ft_kernels::cuda::host::shuffle;
use ft_kernels::cuda::probe;

/// The seeds that tests of kernels go through: a fault that shows in a third of all orders shows in one of these.
const SEEDS: u64 = 32;

fn floats(len: usize) -> Tensor {
    Tensor::arange(0f32, len as f32, &Device::Cpu).unwrap()
}

/// What the kernel says or makes under each seed; `elements` are those of its result that count.
fn outcomes(
    name: &str,
    x: Option<&Tensor>,
    shared: usize,
    threads: usize,
    elements: usize,
) -> Vec<Result<Vec<f32>, String>> {
    let run = |seed| {
        shuffle(seed);
        let y = Tensor::full(f32::NAN, 256, &Device::Cpu).unwrap();
        let reads: Vec<&Tensor> = x.into_iter().collect();
        let done = probe(name, &reads, &y, threads, shared);
        shuffle(0);
        done.map_err(|error| error.to_string())?;
        Ok(y.narrow(0, 0, elements).unwrap().to_vec1().unwrap())
    };
    (0..SEEDS).map(run).collect()
}

#[track_caller]
fn assert_found(outcomes: &[Result<Vec<f32>, String>], right: &[f32], least: usize) {
    let wrong = outcomes.iter().filter(|one| one.as_ref().map_or(true, |values| values != right)).count();
    assert!(wrong >= least, "only {wrong} of {} orders show the fault", outcomes.len());
}

#[track_caller]
fn assert_refused(outcomes: &[Result<Vec<f32>, String>], word: &str) {
    for outcome in outcomes {
        let error = outcome.as_ref().unwrap_err();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn a_missing_barrier_is_found_and_a_barrier_is_right() {
    let right: Vec<f32> = (0..64).map(|i| ((i + 1) % 64) as f32).collect();
    assert_found(&outcomes("ft_wrong_race", None, 0, 64, 64), &right, 30);
    for outcome in outcomes("ft_right_race", None, 0, 64, 64) {
        assert_eq!(outcome.unwrap(), right);
    }
}

#[test]
fn a_copy_that_is_read_before_it_is_waited_for_is_found() {
    let right: Vec<f32> = (0..32).map(|i| i as f32).collect();
    assert_found(&outcomes("ft_wrong_wait", Some(&floats(256)), 512, 32, 32), &right, 8);
}

#[test]
fn a_buffer_that_is_refilled_too_early_is_found() {
    let of_turn = |turn: usize| (0..32).map(move |i| (turn * 128 + 127 - i) as f32);
    let right: Vec<f32> = of_turn(0).chain(of_turn(1)).collect();
    assert_found(&outcomes("ft_wrong_refill", Some(&floats(256)), 512, 32, 64), &right, 8);
}

#[test]
fn accesses_outside_and_beside_an_element_are_refused() {
    assert_refused(&outcomes("ft_wrong_bounds", Some(&floats(32)), 0, 32, 32), "outside the buffers");
    assert_refused(&outcomes("ft_wrong_alignment", Some(&floats(256)), 0, 32, 32), "not aligned");
    assert_refused(&outcomes("ft_wrong_shared", None, 0, 32, 32), "behind an array's end");
}

#[test]
fn lanes_that_stay_away_are_missed() {
    assert_refused(&outcomes("ft_wrong_divergence", None, 0, 32, 32), "waits for ever");
}

#[test]
fn arguments_that_are_not_the_kernels_are_refused() {
    assert_refused(&outcomes("ft_right_race", Some(&floats(4)), 0, 64, 1), "arguments' number or sizes");
    assert_refused(&outcomes("ft_nothing", None, 0, 64, 1), "no such kernel");
    assert_refused(&outcomes("ft_right_race", None, 0, 2048, 1), "no GPU takes");
    let columns = floats(64).reshape((8, 8)).unwrap().t().unwrap();
    let error = probe("ft_right_race", &[&columns], &floats(64), 64, 0).unwrap_err().to_string();
    assert!(error.contains("not contiguous"), "{error}");
    let wide = floats(64).to_dtype(DType::F64).unwrap();
    let error = probe("ft_right_race", &[], &wide, 64, 0).unwrap_err().to_string();
    assert!(error.contains("f32, bf16, f16, u32 and u8, found F64"), "{error}");
}

/// The matrix instructions and `ldmatrix` against a plain product.
#[test]
fn the_matrix_instructions_multiply() {
    for (name, dtype, k) in [
        ("ft_right_mma_bf16", DType::BF16, 16),
        ("ft_right_mma_f16", DType::F16, 16),
        ("ft_right_mma_tf32", DType::F32, 8),
    ] {
        let numbers = |rows: usize, columns: usize, step: f64| {
            let values: Vec<f32> = (0..rows * columns).map(|i| (i as f64 * step).sin() as f32).collect();
            Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
        };
        let (a, b) = (numbers(16, k, 1.3), numbers(k, 8, 0.7));
        let y = Tensor::full(f32::NAN, (16, 8), &Device::Cpu).unwrap();
        probe(name, &[&a, &b], &y, 32, 4096).unwrap();
        let [a, b, y] = [a, b, y].map(|t| t.to_dtype(DType::F64).unwrap());
        let difference = (a.matmul(&b).unwrap() - y).unwrap().abs().unwrap().max_all().unwrap();
        let difference: f64 = difference.to_scalar().unwrap();
        // TF32 rounds what it is given to 10 bits behind the point.
        assert!(difference < if k == 8 { 4e-3 } else { 2e-6 }, "{name}: {difference}");
    }
}
