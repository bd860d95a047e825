use candle_core::{DType, Tensor};
use ft_kernels::Compute;
use ft_kernels::linear::{Dropout, Linear, Lora, Weight};
use ft_kernels::philox::Stream;

use crate::common::{assert_close, device, exact, in_every_order, kernels, matrix};

/// A layer whose adapter drops its input: the kernel draws what the CPU draws.
#[test]
fn dropped_inputs_are_those_of_the_cpu() {
    let starts = [0, 5, 5, 9, 40];
    let (weight, a, b) = (matrix(1, 12, 37, DType::F32), matrix(2, 4, 37, DType::F32), matrix(3, 12, 4, DType::F32));
    let (x, dy) = (matrix(4, 40, 37, DType::F32), matrix(5, 40, 12, DType::F32));
    let run = |compute: Compute, on: &dyn Fn(&Tensor) -> Tensor| {
        let (weight, a, b, x, dy) = (on(&weight), on(&a), on(&b), on(&x), on(&dy));
        let streams = (0..4).map(|i| Stream::new(7, 1, i)).collect();
        let dropout = Some(Dropout { p: 0.4, streams });
        let lora = Lora { a: &a, b: &b, scaling: 2.0, column: 0, dropout, magnitude: None };
        let layer = Linear { weight: Weight::Float(weight), bias: None, lora: vec![lora] };
        let y = layer.forward(compute, &x, &starts, None).unwrap();
        let back = layer.backward(compute, &dy, &x, &starts, true).unwrap();
        let lora = back.lora.iter().flat_map(|one| [one.a.clone(), one.b.clone()]);
        [y, back.x.unwrap()].into_iter().chain(lora).collect::<Vec<_>>()
    };
    let found = in_every_order(|| run(kernels(), &|t| t.to_device(&device()).unwrap()));
    let expected = run(Compute::reference(), &|t| t.to_device(&candle_core::Device::Cpu).unwrap());
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_close(found, &exact(expected), 2e-6);
    }
}
