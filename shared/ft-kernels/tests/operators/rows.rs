use candle_core::{Device, Tensor};
use ft_kernels::rows::{reference, sum_rows};

use crate::common::{assert_close, assert_same_bits, bits, cpu, matrix, own};

const STARTS: [usize; 6] = [0, 1, 1, 40, 104, 300];

#[test]
fn sums_are_those_of_the_reference() {
    for columns in [1, 7, 16, 576, 1100] {
        let dy = matrix(1, 300, columns);
        let found = sum_rows(cpu(), &dy, &STARTS).unwrap();
        let expected = reference::sum_rows(&dy, &STARTS).unwrap();
        assert_eq!(found.len(), 5);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.dims(), [columns]);
            assert_close(found, expected, 2e-6);
        }
    }
}

#[test]
fn they_are_the_gradient_of_a_bias() {
    let (x, dy) = (matrix(1, 40, 9), matrix(2, 40, 9));
    let bias = candle_core::Var::from_tensor(&matrix(3, 1, 9).squeeze(0).unwrap()).unwrap();
    let loss = (x.broadcast_add(&bias).unwrap() * &dy).unwrap().sum_all().unwrap();
    let gradients = loss.backward().unwrap();
    assert_close(&sum_rows(cpu(), &dy, &[0, 40]).unwrap()[0], gradients.get(&bias).unwrap(), 1e-6);
}

#[test]
fn a_sum_of_many_rows_is_as_exact_as_one_of_few() {
    let rows = 100_000;
    let dy = Tensor::full(0.1f32, (rows, 2), &Device::Cpu).unwrap();
    let sum = sum_rows(cpu(), &dy, &[0, rows]).unwrap()[0].to_vec1::<f32>().unwrap()[0];
    let exact = f64::from(0.1f32) * rows as f64;
    assert!((f64::from(sum) / exact - 1.0).abs() < 1e-6, "{sum}");
}

#[test]
fn a_sequence_does_not_know_its_neighbours() {
    let dy = matrix(1, 300, 1100);
    assert_same_bits(|c| sum_rows(c, &dy, &STARTS).unwrap());
    for (i, whole) in sum_rows(cpu(), &dy, &STARTS).unwrap().iter().enumerate() {
        let len = STARTS[i + 1] - STARTS[i];
        let alone = own(&dy.narrow(0, STARTS[i], len).unwrap());
        assert_eq!(bits(whole), bits(&sum_rows(cpu(), &alone, &[0, len]).unwrap()[0]));
    }
}

#[test]
fn starts_that_do_not_fit_are_refused() {
    let message = sum_rows(cpu(), &matrix(1, 4, 2), &[0, 3]).unwrap_err().to_string();
    assert_eq!(message, "sum_rows: starts is [0, 3], expected \"a rise from 0 to 4\"");
}
