//! The linear layer with adapters: fused against reference, its backward against candle's autograd and
//! against finite differences in f64, and its rows against their neighbours.

mod case;
mod differences;
mod dora;

use candle_core::{DType, Result, Tensor, Var};
use ft_kernels::Compute;
use ft_kernels::linear::{Linear, product, reference, weight_gradient};

use case::{Case, bits, by_rows, cases, distance, random, summed, wide};

#[test]
fn fused_is_the_reference() -> Result<()> {
    for case in cases() {
        let layer = case.linear(0);
        let found = layer.forward(Compute::cpu(), &case.x, &case.starts, Some(&case.residual))?;
        let expected = reference::forward(Compute::reference(), &layer, &case.x, &case.starts, Some(&case.residual))?;
        assert!(distance(&found, &expected)? < 1e-5);
        let found = layer.backward(Compute::cpu(), &case.dy, &case.x, &case.starts, true)?;
        let expected = reference::backward(Compute::reference(), &layer, &case.dy, &case.x, &case.starts, true)?;
        assert!(distance(&found.x.unwrap(), &expected.x.unwrap())? < 1e-5);
        assert_eq!(found.lora.len(), layer.lora.len() * (case.starts.len() - 1));
        for (found, expected) in found.lora.iter().zip(&expected.lora) {
            assert_eq!((found.adapter, found.sequence), (expected.adapter, expected.sequence));
            assert!(distance(&found.a, &expected.a)? < 1e-5 && distance(&found.b, &expected.b)? < 1e-5);
            assert_eq!(found.magnitude.is_some(), layer.lora[found.adapter].magnitude.is_some());
            if let (Some(found), Some(expected)) = (&found.magnitude, &expected.magnitude) {
                assert!(distance(found, expected)? < 1e-5);
            }
        }
        assert!(layer.backward(Compute::cpu(), &case.dy, &case.x, &case.starts, false)?.x.is_none());
    }
    Ok(())
}

#[test]
fn backward_is_candles_autograd_of_the_reference() -> Result<()> {
    for case in cases() {
        let x = Var::from_tensor(&case.x)?;
        let var = |t: &Tensor| Var::from_tensor(t).unwrap();
        let trained = |pair: &case::Pair| [Some(&pair.a), Some(&pair.b), pair.magnitude.as_ref()].map(|t| t.map(var));
        let vars: Vec<_> = case.pairs.iter().map(trained).collect();
        let mut layer = case.linear(0);
        for (lora, vars) in layer.lora.iter_mut().zip(&vars) {
            (lora.a, lora.b) = (vars[0].as_ref().unwrap(), vars[1].as_ref().unwrap());
            lora.magnitude = vars[2].as_ref().map(Var::as_tensor);
        }
        let y = reference::forward(Compute::reference(), &layer, &x, &case.starts, None)?;
        let gradients = (y * &case.dy)?.sum_all()?.backward()?;
        let found = case.linear(0).backward(Compute::cpu(), &case.dy, &case.x, &case.starts, true)?;
        assert!(distance(found.x.as_ref().unwrap(), gradients.get(&x).unwrap())? < 1e-5);
        for (i, vars) in vars.iter().enumerate() {
            let vars: Vec<&Var> = vars.iter().flatten().collect();
            let found = summed(&found, i)?;
            assert_eq!(found.len(), vars.len());
            for (found, var) in found.iter().zip(vars) {
                assert!(distance(found, gradients.get(var).unwrap())? < 1e-5);
            }
        }
    }
    Ok(())
}

#[test]
fn a_sequence_does_not_know_its_neighbours_nor_the_threads() -> Result<()> {
    for case in cases() {
        let whole = case.linear(0).forward(Compute::cpu(), &case.x, &case.starts, Some(&case.residual))?;
        let gradients = case.linear(0).backward(Compute::cpu(), &case.dy, &case.x, &case.starts, true)?;
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for (s, span) in case.starts.windows(2).enumerate() {
                let (from, length) = (span[0], span[1] - span[0]);
                let rows = |t: &Tensor| t.narrow(0, from, length).unwrap().contiguous().unwrap();
                let alone = Case {
                    starts: vec![0, length],
                    x: rows(&case.x),
                    residual: rows(&case.residual),
                    dy: rows(&case.dy),
                    ..case.clone()
                };
                let layer = alone.linear(s);
                let y =
                    pool.install(|| layer.forward(Compute::cpu(), &alone.x, &alone.starts, Some(&alone.residual)))?;
                assert_eq!(bits(&y), bits(&rows(&whole)), "sequence {s}, {threads} threads");
                let found =
                    pool.install(|| layer.backward(Compute::cpu(), &alone.dy, &alone.x, &alone.starts, true))?;
                assert_eq!(bits(found.x.as_ref().unwrap()), bits(&rows(gradients.x.as_ref().unwrap())));
                for found in &found.lora {
                    let expected =
                        gradients.lora.iter().find(|g| g.adapter == found.adapter && g.sequence == s).unwrap();
                    assert_eq!((bits(&found.a), bits(&found.b)), (bits(&expected.a), bits(&expected.b)));
                    assert_eq!(found.magnitude.as_ref().map(bits), expected.magnitude.as_ref().map(bits));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_few_rows_are_the_forward_without_dropout_and_do_not_know_each_other() -> Result<()> {
    for case in cases() {
        let found = case.linear(0).forward_few(Compute::cpu(), &case.x, Some(&case.residual))?;
        let still = Case { dropout: 0.0, ..case.clone() };
        let expected =
            reference::forward(Compute::reference(), &still.linear(0), &case.x, &case.starts, Some(&case.residual))?;
        assert!(distance(&found, &expected)? < 1e-5);
        for row in 0..case.x.dim(0)? {
            let one = |t: &Tensor| t.narrow(0, row, 1).unwrap();
            let alone = case.linear(0).forward_few(Compute::cpu(), &one(&case.x), Some(&one(&case.residual)))?;
            assert_eq!(bits(&alone), bits(&one(&found)), "row {row}");
        }
    }
    Ok(())
}

#[test]
fn the_gradient_of_a_matrix_is_its_formula() -> Result<()> {
    for (rows, out, inner) in [(1, 3, 2), (37, 20, 24), (500, 33, 70)] {
        let (dy, x) = (random(rows, out, 40), random(rows, inner, 41));
        let found = weight_gradient(Compute::cpu(), &dy, &x)?;
        assert!(distance(&found, &reference::weight_gradient(Compute::reference(), &dy, &x)?)? < 1e-5);
        let (dy_wide, x_wide) = (wide(&dy), wide(&x));
        let exact = |o: usize, i: usize| (0..rows).map(|t| dy_wide[t * out + o] * x_wide[t * inner + i]).sum::<f64>();
        for (at, found) in wide(&found).into_iter().enumerate() {
            assert!((found - exact(at / inner, at % inner)).abs() < 1e-5 * rows as f64);
        }
        // It is the gradient of the product, says candle.
        let weight = Var::from_tensor(&random(out, inner, 42))?;
        let gradients = (reference::product(Compute::reference(), &x, &weight, false)? * &dy)?.sum_all()?.backward()?;
        assert!(distance(&found, gradients.get(&weight).unwrap())? < 1e-5);
        // A row of it knows neither the other rows nor the threads.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        assert_eq!(bits(&pool.install(|| weight_gradient(Compute::cpu(), &dy, &x))?), bits(&found));
        let one = weight_gradient(Compute::cpu(), &dy.narrow(1, out - 1, 1)?.contiguous()?, &x)?;
        assert_eq!(bits(&one), bits(&found.narrow(0, out - 1, 1)?));
    }
    assert!(weight_gradient(Compute::cpu(), &random(3, 2, 1), &random(4, 2, 2)).is_err());
    Ok(())
}

#[test]
fn matrices_of_narrow_types_give_the_bits_of_the_widened_ones() -> Result<()> {
    for dtype in [DType::BF16, DType::F16] {
        let case = Case::new(64, &[48, 70], 4, &[20, 3], 0.3, true).with_magnitudes(1);
        let narrow = Case { weight: case.weight.to_dtype(dtype)?, ..case.clone() };
        let widened = Case { weight: narrow.weight.to_dtype(DType::F32)?, ..case.clone() };
        let forward = |case: &Case| case.linear(0).forward(Compute::cpu(), &case.x, &case.starts, None);
        assert_eq!(bits(&forward(&narrow)?), bits(&forward(&widened)?));
        let backward = |case: &Case| case.linear(0).backward(Compute::cpu(), &case.dy, &case.x, &case.starts, true);
        let (found, expected) = (backward(&narrow)?, backward(&widened)?);
        assert_eq!(bits(&found.x.unwrap()), bits(&expected.x.unwrap()));
        for (found, expected) in found.lora.iter().zip(&expected.lora) {
            let all =
                |g: &ft_kernels::linear::LoraGradient| [bits(&g.a), bits(&g.b), bits(g.magnitude.as_ref().unwrap())];
            assert_eq!(all(found), all(expected));
        }
        assert_eq!(
            bits(&product(Compute::cpu(), &case.x, &narrow.weight, false)?),
            bits(&product(Compute::cpu(), &case.x, &widened.weight, false)?)
        );
    }
    Ok(())
}

#[test]
fn matrices_that_are_expanded_by_rows_give_the_bits_of_the_expanded_ones() -> Result<()> {
    let compute = Compute::cpu();
    for case in cases() {
        let whole = case.linear(0);
        let by_rows = Linear { weight: by_rows(&case.weight), ..whole.clone() };
        let forward = |layer: &Linear<'_>| layer.forward(compute, &case.x, &case.starts, Some(&case.residual));
        assert_eq!(bits(&forward(&by_rows)?), bits(&forward(&whole)?));
        let few = |layer: &Linear<'_>| layer.forward_few(compute, &case.x, Some(&case.residual));
        assert_eq!(bits(&few(&by_rows)?), bits(&few(&whole)?));
        let backward = |layer: &Linear<'_>| layer.backward(compute, &case.dy, &case.x, &case.starts, true);
        let (found, expected) = (backward(&by_rows)?, backward(&whole)?);
        assert_eq!(bits(&found.x.unwrap()), bits(&expected.x.unwrap()));
        for (found, expected) in found.lora.iter().zip(&expected.lora) {
            assert_eq!((bits(&found.a), bits(&found.b)), (bits(&expected.a), bits(&expected.b)));
            assert_eq!(found.magnitude.as_ref().map(bits), expected.magnitude.as_ref().map(bits));
        }
        let reference =
            |layer: &Linear<'_>| reference::forward(Compute::reference(), layer, &case.x, &case.starts, None);
        assert_eq!(bits(&reference(&by_rows)?), bits(&reference(&whole)?));
    }
    Ok(())
}

#[test]
fn a_sequence_without_a_stream_of_dropout_is_refused() {
    let case = Case::new(24, &[17], 4, &[5, 3], 0.3, true);
    let mut layer = case.linear(0);
    layer.lora.iter_mut().filter_map(|lora| lora.dropout.as_mut()).for_each(|dropout| dropout.streams.truncate(1));
    for compute in [Compute::cpu(), Compute::reference()] {
        let forward = layer.forward(compute, &case.x, &case.starts, None).map(drop);
        let backward = layer.backward(compute, &case.dy, &case.x, &case.starts, true).map(drop);
        for error in [forward, backward] {
            let told = error.unwrap_err().to_string();
            assert!(told.contains("1 streams for 2 sequences"), "{told}");
        }
    }
}

#[test]
fn a_residual_of_fewer_rows_than_the_output_is_refused() -> Result<()> {
    let case = Case::new(24, &[17], 4, &[5, 3], 0.0, true);
    let (layer, short) = (case.linear(0), case.residual.narrow(0, 0, 7)?);
    for compute in [Compute::cpu(), Compute::reference()] {
        assert!(layer.forward(compute, &case.x, &case.starts, Some(&short)).is_err());
        assert!(layer.forward_few(compute, &case.x, Some(&short)).is_err());
    }
    Ok(())
}
