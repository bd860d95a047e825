//! Magnitudes: the norms they are divided by, and where they start.

use candle_core::{DType, Result, Tensor};
use ft_kernels::Compute;
use ft_kernels::linear::{dora_norm, reference};

use crate::case::{Case, bits, distance, random, wide};

#[test]
fn the_norm_is_that_of_the_adapted_rows() -> Result<()> {
    for (out, inner, r) in [(1, 1, 1), (5, 130, 3), (200, 48, 16)] {
        let (weight, a, b) = (random(out, inner, 50), random(r, inner, 51), random(out, r, 52));
        let found = dora_norm(Compute::cpu(), &weight, &a, &b, 0.75)?;
        assert_eq!(found.dims(), [out]);
        assert!(distance(&found, &reference::dora_norm(Compute::reference(), &weight, &a, &b, 0.75)?)? < 1e-6);
        let (w, a, b) = (wide(&weight), wide(&a), wide(&b));
        for (o, found) in wide(&found).into_iter().enumerate() {
            let delta = |i: usize| 0.75 * (0..r).map(|j| b[o * r + j] * a[j * inner + i]).sum::<f64>();
            let exact = (0..inner).map(|i| (w[o * inner + i] + delta(i)).powi(2)).sum::<f64>().sqrt();
            assert!((found - exact).abs() < 1e-6 * exact, "row {o}: {found} for {exact}");
        }
    }
    assert!(dora_norm(Compute::cpu(), random(4, 3, 1), &random(2, 3, 2), &random(5, 2, 3), 1.0).is_err());
    Ok(())
}

#[test]
fn a_rows_norm_does_not_know_its_neighbours_the_threads_or_the_type() -> Result<()> {
    let (weight, a, b) = (random(150, 72, 50), random(8, 72, 51), random(150, 8, 52));
    let all = dora_norm(Compute::cpu(), &weight, &a, &b, 2.0)?;
    for (first, rows) in [(0, 1), (149, 1), (60, 70)] {
        let part = dora_norm(Compute::cpu(), &weight.narrow(0, first, rows)?, &a, &b.narrow(0, first, rows)?, 2.0)?;
        assert_eq!(bits(&part), bits(&all.narrow(0, first, rows)?));
    }
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(bits(&pool.install(|| dora_norm(Compute::cpu(), &weight, &a, &b, 2.0))?), bits(&all));
    }
    for dtype in [DType::BF16, DType::F16] {
        let narrow = weight.to_dtype(dtype)?;
        let widened = narrow.to_dtype(DType::F32)?;
        assert_eq!(
            bits(&dora_norm(Compute::cpu(), &narrow, &a, &b, 2.0)?),
            bits(&dora_norm(Compute::cpu(), &widened, &a, &b, 2.0)?)
        );
    }
    Ok(())
}

/// A case whose adapters start as training starts them: `B` is zero and the magnitudes are the norms.
fn untrained(dropout: f64) -> Result<Case> {
    let mut case = Case::new(40, &[30, 20], 4, &[6, 9], dropout, true);
    for pair in &mut case.pairs {
        pair.b = pair.b.zeros_like()?;
        let weight = case.weight.narrow(0, pair.column, pair.b.dim(0)?)?;
        pair.magnitude = Some(dora_norm(Compute::cpu(), &weight, &pair.a, &pair.b, pair.scaling)?);
    }
    Ok(case)
}

#[test]
fn before_the_first_step_magnitudes_change_nothing() -> Result<()> {
    for dropout in [0.0, 0.2] {
        let case = untrained(dropout)?;
        let bare = Case { pairs: Vec::new(), ..case.clone() };
        let expected =
            reference::forward(Compute::reference(), &bare.linear(0), &case.x, &case.starts, Some(&case.residual))?;
        let found = case.linear(0).forward(Compute::cpu(), &case.x, &case.starts, Some(&case.residual))?;
        assert!(distance(&found, &expected)? < 1e-6);
    }
    Ok(())
}

#[test]
fn a_row_of_zeros_stays_a_row_of_zeros() -> Result<()> {
    let mut case = untrained(0.0)?;
    let rows: Vec<Tensor> = vec![case.weight.narrow(0, 0, 49)?, case.weight.narrow(0, 0, 1)?.zeros_like()?];
    case.weight = Tensor::cat(&rows, 0)?;
    case.bias = None;
    case.pairs[1].magnitude =
        Some(dora_norm(Compute::cpu(), &case.weight.narrow(0, 30, 20)?, &case.pairs[1].a, &case.pairs[1].b, 1.5)?);
    for fused in [true, false] {
        let layer = case.linear(0);
        let (y, gradients) = if fused {
            (
                layer.forward(Compute::cpu(), &case.x, &case.starts, None)?,
                layer.backward(Compute::cpu(), &case.dy, &case.x, &case.starts, true)?,
            )
        } else {
            let y = reference::forward(Compute::reference(), &layer, &case.x, &case.starts, None)?;
            (y, reference::backward(Compute::reference(), &layer, &case.dy, &case.x, &case.starts, true)?)
        };
        assert!(wide(&y.narrow(1, 49, 1)?).iter().all(|y| *y == 0.0));
        for g in gradients.lora {
            let all = [g.a, g.b, g.magnitude.unwrap()];
            assert!(all.iter().flat_map(wide).all(f64::is_finite));
        }
    }
    Ok(())
}
