use half::{bf16, f16};

use super::micro::{Kernels, kernels};
use super::multiply::matmul_with;
use super::*;
use crate::philox::Stream;
use crate::quant::testing::in_every_format;
use crate::simd::Isa;

fn random(len: usize, what: u64) -> Vec<f32> {
    let mut values = vec![0.0; len];
    Stream::new(7, 99, what).fill_uniform(0, &mut values);
    values.iter_mut().for_each(|x| *x = *x * 2.0 - 1.0);
    values
}

/// `matmul` on one set of kernels and a number of threads.
fn multiply(
    kernels: &'static Kernels,
    threads: usize,
    a: Mat<'_, f32>,
    b: Rhs<'_>,
    c: &mut MatMut<'_>,
    accumulate: bool,
) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let step = block_length(a.cols);
    pool.install(|| matmul_with(kernels, threads, a, b, c, accumulate, step, &Tail::default()));
}

const SHAPES: [(usize, usize, usize); 10] = [
    (1, 1, 1),
    (3, 7, 5),
    (14, 32, 32),
    (15, 385, 33),
    (16, 100, 576),
    (100, 576, 16),
    (37, 1000, 50),
    (5, 9, 130),
    (29, 770, 300),
    (9, 3500, 70),
];

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn every_kernel_gives_the_bits_of_the_reference() {
    let sets = Isa::ALL.map(kernels);
    for (m, k, n) in SHAPES {
        for case in 0..8 {
            let (turned_a, turned_b, accumulate) = (case & 1 > 0, case & 2 > 0, case & 4 > 0);
            let (a, b, start) = (random(m * k, 1), random(k * n, 2), random(m * n, 3));
            let a = if turned_a { Mat::new(&a, k, m).t() } else { Mat::new(&a, m, k) };
            let b = if turned_b { Rhs::F32(Mat::new(&b, n, k)).t() } else { Rhs::F32(Mat::new(&b, k, n)) };
            let mut expected = start.clone();
            reference::matmul(a, b, &mut MatMut::new(&mut expected, m, n), accumulate);
            for kernels in sets {
                for threads in [1, 3] {
                    let mut c = start.clone();
                    multiply(kernels, threads, a, b, &mut MatMut::new(&mut c, m, n), accumulate);
                    assert_eq!(
                        bits(&c),
                        bits(&expected),
                        "[{m}, {k}]x[{k}, {n}], case {case}, {}, {threads} threads",
                        kernels.name
                    );
                }
            }
        }
    }
}

#[test]
fn a_row_does_not_know_its_neighbours() {
    for (k, n) in [(576, 16), (64, 300), (1536, 40), (16, 576)] {
        let (a, b) = (random(200 * k, 4), random(k * n, 5));
        let b = Rhs::F32(Mat::new(&b, n, k)).t();
        let mut whole = vec![0.0; 200 * n];
        matmul(Isa::best(), Mat::new(&a, 200, k), b, &mut MatMut::new(&mut whole, 200, n), false);
        for (first, rows) in [(0, 1), (17, 1), (3, 40), (150, 50)] {
            let mut part = vec![0.0; rows * n];
            matmul(
                Isa::best(),
                Mat::new(&a[first * k..][..rows * k], rows, k),
                b,
                &mut MatMut::new(&mut part, rows, n),
                false,
            );
            assert_eq!(
                bits(&part),
                bits(&whole[first * n..][..rows * n]),
                "rows {first}+{rows} of [200, {k}]x[{k}, {n}]"
            );
        }
    }
}

#[test]
fn narrow_types_are_widened_exactly() {
    let (m, k, n) = (20, 130, 70);
    let (a, b) = (random(m * k, 6), random(k * n, 7));
    let half: Vec<f16> = b.iter().map(|x| f16::from_f32(*x)).collect();
    let brain: Vec<bf16> = b.iter().map(|x| bf16::from_f32(*x)).collect();
    let wide = |values: Vec<f32>| {
        let mut c = vec![0.0; m * n];
        matmul(
            Isa::best(),
            Mat::new(&a, m, k),
            Rhs::F32(Mat::new(&values, n, k)).t(),
            &mut MatMut::new(&mut c, m, n),
            false,
        );
        bits(&c)
    };
    let mut c = vec![0.0; m * n];
    matmul(Isa::best(), Mat::new(&a, m, k), Rhs::F16(Mat::new(&half, n, k)).t(), &mut MatMut::new(&mut c, m, n), false);
    assert_eq!(bits(&c), wide(half.iter().map(|x| x.to_f32()).collect()));
    matmul(
        Isa::best(),
        Mat::new(&a, m, k),
        Rhs::Bf16(Mat::new(&brain, n, k)).t(),
        &mut MatMut::new(&mut c, m, n),
        false,
    );
    assert_eq!(bits(&c), wide(brain.iter().map(|x| x.to_f32()).collect()));
}

#[test]
fn a_product_can_go_to_some_columns_of_a_wider_matrix() {
    let (a, b) = (random(6 * 10, 8), random(10 * 4, 9));
    let mut wide = vec![7.0; 6 * 9];
    matmul(
        Isa::best(),
        Mat::new(&a, 6, 10),
        Rhs::F32(Mat::new(&b, 10, 4)),
        &mut MatMut::strided(&mut wide[3..], 6, 4, 9),
        false,
    );
    let mut alone = vec![0.0; 6 * 4];
    matmul(Isa::best(), Mat::new(&a, 6, 10), Rhs::F32(Mat::new(&b, 10, 4)), &mut MatMut::new(&mut alone, 6, 4), false);
    for (wide, alone) in wide.chunks(9).zip(alone.chunks(4)) {
        assert_eq!(wide[3..7], *alone);
        assert_eq!([&wide[..3], &wide[7..]].concat(), [7.0; 5]);
    }
}

#[test]
fn an_empty_inner_dimension_is_a_sum_of_nothing() {
    let mut c = vec![3.0; 4];
    matmul(Isa::best(), Mat::new(&[], 2, 0), Rhs::F32(Mat::new(&[], 0, 2)), &mut MatMut::new(&mut c, 2, 2), true);
    assert_eq!(c, [3.0; 4]);
    matmul(Isa::best(), Mat::new(&[], 2, 0), Rhs::F32(Mat::new(&[], 0, 2)), &mut MatMut::new(&mut c, 2, 2), false);
    assert_eq!(c, [0.0; 4]);
}

#[test]
fn the_blocks_of_the_inner_dimension_depend_on_it_alone() {
    assert_eq!([block_length(1), block_length(576), block_length(1536), block_length(49152)], [8, 288, 384, 384]);
}

/// The parts of a tail on a result `[m, n]`: two that share a panel, one over all columns, one masked, and one of several
/// blocks.
fn parts<'a>(m: usize, n: usize, values: &'a [f32], mask: &'a [f32]) -> Vec<Part<'a>> {
    let part = |r: usize, column: usize, columns: usize, masked: bool| Part {
        left: Mat::strided(values, m, r, r + 3),
        right: Mat::new(values, columns, r).t(),
        column,
        mask: masked.then(|| Mat::new(mask, m, columns)),
    };
    let (third, rest) = (n / 3, n - n / 3);
    vec![part(4, 0, third, false), part(7, third, rest, false), part(3, 0, n, false), part(5, third, rest, true)]
        .into_iter()
        .chain([part(800, 0, third, false), part(390, 0, n, true)])
        .collect()
}

#[test]
fn a_tail_has_the_bits_of_one_product_after_the_other() {
    let (factors, values, mask) = (random(600, 11), random(810 * 400, 12), random(40 * 400, 13));
    let before = |row: usize, column: usize, c: &mut [f32]| {
        c.iter_mut().zip(&factors[column..]).for_each(|(c, f)| *c = *c * f + row as f32);
    };
    let after = |row: usize, column: usize, c: &mut [f32]| {
        c.iter_mut().zip(&factors[column..]).for_each(|(c, f)| *c = (*c - row as f32) * f);
    };
    for (m, k, n) in SHAPES.into_iter().chain([(3, 0, 40)]) {
        let (a, b, start) = (random(m * k, 1), random(k * n, 2), random(m * n, 3));
        let (a, b) = (Mat::new(&a, m, k), Rhs::F32(Mat::new(&b, n, k)).t());
        let tail = Tail::new(Some(&before), parts(m, n, &values, &mask), Some(&after));
        let step = block_length(k);
        for isa in Isa::ALL {
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut expected = start.clone();
                let mut c = MatMut::new(&mut expected, m, n);
                matmul(isa, a, b, &mut c, true);
                tail.apply(isa, &mut c);
                let mut found = start.clone();
                let mut c = MatMut::new(&mut found, m, n);
                pool.install(|| match k {
                    0 => matmul_part(isa, a, b, &mut c, true, step, &tail),
                    _ => matmul_with(kernels(isa), threads, a, b, &mut c, true, step, &tail),
                });
                assert_eq!(bits(&found), bits(&expected), "[{m}, {k}]x[{k}, {n}], {isa:?}, {threads} threads");
                // Some columns at a time.
                let mut apart = start.clone();
                for columns in [0..n / 2, n / 2..n] {
                    let mut c = MatMut::new(&mut apart, m, n);
                    let mut c = c.cols_of(columns.start, columns.len());
                    let b = Rhs::F32(match b {
                        Rhs::F32(b) => b.cols_of(columns.start, columns.len()),
                        _ => unreachable!(),
                    });
                    matmul_part(isa, a, b, &mut c, true, step, &tail.of_columns(&columns));
                }
                assert_eq!(bits(&apart), bits(&expected), "[{m}, {k}]x[{k}, {n}] in two");
            }
        }
    }
}

#[test]
fn a_masked_part_is_rounded_before_it_is_added() {
    let (left, right, mask) = (random(6, 14), random(20, 15), random(15, 16));
    let part = Part { left: Mat::new(&left, 3, 2), right: Mat::new(&right[..10], 2, 5), column: 0, mask: None };
    let masked = Tail::new(None, vec![Part { mask: Some(Mat::new(&mask, 3, 5)), ..part }], None);
    let mut sums = vec![0.0; 15];
    Tail::new(None, vec![part], None).apply(Isa::best(), &mut MatMut::new(&mut sums, 3, 5));
    let start = random(15, 17);
    let mut found = start.clone();
    masked.apply(Isa::best(), &mut MatMut::new(&mut found, 3, 5));
    let expected: Vec<f32> = start.iter().zip(&sums).zip(&mask).map(|((c, sum), m)| c + m * sum).collect();
    assert_eq!(bits(&found), bits(&expected));
}

#[test]
fn blocks_of_every_format_give_the_bits_of_their_floats() {
    // Rows of whole blocks and not, sums of one block and of several, panels that are filled and not.
    for (m, rows, columns) in [(20, 70, 256), (37, 130, 768), (5, 400, 96), (16, 33, 50), (3, 9, 7), (40, 300, 416)] {
        let (x, dy) = (random(m * columns, 21), random(m * rows, 22));
        let (x, dy) = (Mat::new(&x, m, columns), Mat::new(&dy, m, rows));
        for known in in_every_format(rows, columns) {
            let floats = known.floats();
            // Some of the rows, so that runs are met in their middle.
            let (first, count) = if rows > 60 { (rows / 5, rows - rows / 5 - 3) } else { (0, rows) };
            let part = Rhs::F32(Mat::new(&floats[first * columns..][..count * columns], count, columns));
            let blocks = Rhs::Blocks(BlockMat::new(&known, first, count, columns));
            let dy = dy.cols_of(first, count);
            for (a, blocks, part, n) in [(x, blocks.t(), part.t(), count), (dy, blocks, part, columns)] {
                let mut expected = vec![0.0; m * n];
                reference::matmul(a, part, &mut MatMut::new(&mut expected, m, n), false);
                for isa in Isa::ALL {
                    for threads in [1, 3] {
                        let mut c = vec![f32::NAN; m * n];
                        multiply(kernels(isa), threads, a, blocks, &mut MatMut::new(&mut c, m, n), false);
                        let told = format!("{m} rows by [{count}, {columns}], {}, {isa:?}, {threads}", known.name);
                        assert!(bits(&c) == bits(&expected), "{told} threads");
                    }
                }
                if m < 6 {
                    let mut c = vec![f32::NAN; m * n];
                    reference::matmul(a, blocks, &mut MatMut::new(&mut c, m, n), false);
                    assert!(bits(&c) == bits(&expected), "the plain version, {}", known.name);
                }
            }
        }
    }
}
