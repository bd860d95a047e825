use half::{bf16, f16};

use super::*;
use crate::quant::testing::{Known, in_every_format};
use crate::simd::testing::same_on_every_isa;

fn values(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn product(x: &[f32], weights: Weights<'_>, k: usize) -> Vec<f32> {
    product_on(Isa::best(), x, weights, k)
}

fn product_on(isa: Isa, x: &[f32], weights: Weights<'_>, k: usize) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.len() / k * (weights.len() / k)];
    skinny(isa, x, weights, k, &mut y);
    y
}

#[test]
fn every_shape_has_the_references_bits() {
    for (rows, n, k) in [(1, 1, 1), (1, 7, 16), (2, 5, 33), (3, 64, 48), (7, 50, 100), (8, 700, 64), (19, 31, 576)] {
        let (x, w) = (values(rows * k, 1), values(n * k, 2));
        assert_eq!(product(&x, Weights::F32(&w), k), reference::skinny(&x, &w, k), "[{rows}, {k}] by [{n}, {k}]");
    }
}

#[test]
fn narrow_weights_are_widened_exactly() {
    let (rows, n, k) = (5, 40, 72);
    let (x, w) = (values(rows * k, 3), values(n * k, 4));
    let narrow: Vec<bf16> = w.iter().map(|&w| bf16::from_f32(w)).collect();
    let wide: Vec<f32> = narrow.iter().map(|w| w.to_f32()).collect();
    assert_eq!(product(&x, Weights::Bf16(&narrow), k), reference::skinny(&x, &wide, k));
    let narrow: Vec<f16> = w.iter().map(|&w| f16::from_f32(w)).collect();
    let wide: Vec<f32> = narrow.iter().map(|w| w.to_f32()).collect();
    assert_eq!(product(&x, Weights::F16(&narrow), k), reference::skinny(&x, &wide, k));
}

#[test]
fn a_row_does_not_know_its_neighbours_threads_or_instructions() {
    let (rows, n, k) = (13, 300, 200);
    let (x, w) = (values(rows * k, 5), values(n * k, 6));
    let all = product(&x, Weights::F32(&w), k);
    for (i, row) in x.chunks(k).enumerate() {
        assert_eq!(product(row, Weights::F32(&w), k), all[i * n..][..n], "row {i} alone");
    }
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| product(&x, Weights::F32(&w), k)), all);
    }
    assert!(same_on_every_isa(|isa| product_on(isa, &x, Weights::F32(&w), k)));
}

#[test]
fn nothing_times_anything() {
    assert!(product(&[], Weights::F32(&[1.0, 2.0]), 2).is_empty());
    assert!(product(&[1.0, 2.0], Weights::F32(&[]), 2).is_empty());
    let mut y = [1.0];
    skinny(Isa::best(), &[], Weights::F32(&[]), 0, &mut y);
    assert_eq!(y, [0.0]);
}

/// The product of rows of blocks, as `skinny_by_rows` has it of those of a matrix.
fn of_blocks(isa: Isa, x: &[f32], known: &Known, (first, count): (usize, usize)) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.len() / known.columns * count];
    let Ok(()) = in_pieces(isa, x, known.columns, count, 1, &mut y, |product, columns| {
        blocks::columns(product, known, first, columns);
        Ok::<_, Infallible>(())
    });
    y
}

#[test]
fn blocks_of_every_format_give_the_bits_of_their_floats() {
    // Rows of whole units and not, for a few rows of x and more than are decoded in registers.
    for (n, k) in [(70, 256), (33, 512), (41, 96), (37, 50), (5, 7), (40, 576)] {
        for known in in_every_format(n, k) {
            let floats = known.floats();
            for rows in [1, 2, 3, 4, 7, 9] {
                let x = values(rows * k, 7);
                let expected = reference::skinny(&x, &floats, k);
                for isa in Isa::ALL {
                    let found = of_blocks(isa, &x, &known, (0, n));
                    assert!(found == expected, "{rows} rows by [{n}, {k}], {}, {isa:?}", known.name);
                }
                let (first, count) = (n / 3, n / 2);
                let part = reference::skinny(&x, &floats[first * k..][..count * k], k);
                assert!(of_blocks(Isa::best(), &x, &known, (first, count)) == part, "{} in part", known.name);
            }
        }
    }
}

#[test]
fn blocks_know_neither_threads_nor_neighbours() {
    let (rows, n, k) = (3, 900, 256);
    let x = values(rows * k, 9);
    for known in in_every_format(n, k) {
        let all = of_blocks(Isa::best(), &x, &known, (0, n));
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert!(pool.install(|| of_blocks(Isa::best(), &x, &known, (0, n))) == all, "{}", known.name);
        }
        let alone = of_blocks(Isa::best(), &x[k..2 * k], &known, (0, n));
        assert!(alone == all[n..2 * n], "{}", known.name);
    }
}
