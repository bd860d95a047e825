//! The largest eigenvalues' eigenvectors of a symmetric matrix (Golub and Van Loan, "Matrix Computations", 4th
//! edition): reflections to three diagonals (8.3.1), the eigenvalues by halving intervals (8.4.1), their vectors by
//! inverse iteration (8.2.2), made orthogonal to those before them.

use ft_kernels::philox::Stream;

use crate::lora::dense::{axpy, dot, norm};

/// The orthonormal eigenvectors of the `count` largest eigenvalues, the largest first, as rows.
pub fn largest(mut matrix: Vec<f64>, n: usize, count: usize) -> Vec<f64> {
    let reflections = tridiagonal(&mut matrix, n);
    let diagonal: Vec<f64> = (0..n).map(|i| matrix[i * n + i]).collect();
    let beside: Vec<f64> = (1..n).map(|i| matrix[i * n + i - 1]).collect();
    let t = Tridiagonal { diagonal, beside };
    let mut vectors = vec![0.0; count * n];
    for i in 0..count {
        let (before, rest) = vectors.split_at_mut(i * n);
        t.vector(t.eigenvalue(n - 1 - i), before, &mut rest[..n], i);
    }
    for vector in vectors.chunks_mut(n) {
        for (k, reflection) in reflections.iter().enumerate().rev() {
            reflect(reflection, &mut vector[k + 1..]);
        }
    }
    vectors
}

/// `x - 2 v (v·x)` for a unit vector `v` (or none, where it is zero).
fn reflect(v: &[f64], x: &mut [f64]) {
    let share = dot(v, x);
    axpy(-2.0 * share, v, x);
}

/// Reflects a symmetric matrix until only the diagonal and its neighbours are left; these are then in the matrix'
/// diagonal and below it. Returns the reflections' unit vectors; number `k` touches the rows and columns from
/// `k + 1` on.
fn tridiagonal(matrix: &mut [f64], n: usize) -> Vec<Vec<f64>> {
    let mut reflections = Vec::with_capacity(n.saturating_sub(2));
    for k in 0..n.saturating_sub(2) {
        let first = k + 1;
        // The matrix is symmetric: the column below the diagonal is the row beside it.
        let mut v = matrix[k * n + first..(k + 1) * n].to_vec();
        let length = norm(&v);
        let target = if v[0] > 0.0 { -length } else { length };
        v[0] -= target;
        let size = norm(&v);
        if size > 0.0 {
            v.iter_mut().for_each(|x| *x /= size);
        }
        matrix[first * n + k] = target;
        // A - 2vpᵀ - 2pvᵀ + 4(v·p)vvᵀ with p = A·v, in two rank-one changes.
        let rows = first..n;
        let mut p: Vec<f64> = rows.clone().map(|i| dot(&matrix[i * n + first..(i + 1) * n], &v)).collect();
        let share = dot(&v, &p);
        axpy(-share, &v, &mut p);
        for (i, row) in rows.zip(matrix[first * n..].chunks_mut(n)) {
            let (vi, pi) = (-2.0 * v[i - first], -2.0 * p[i - first]);
            for ((x, v), p) in row[first..].iter_mut().zip(&v).zip(&p) {
                *x += vi * p + pi * v;
            }
        }
        reflections.push(v);
    }
    reflections
}

/// A symmetric matrix of three diagonals.
struct Tridiagonal {
    diagonal: Vec<f64>,
    /// The diagonal beside it, one shorter.
    beside: Vec<f64>,
}

impl Tridiagonal {
    /// The largest sum of a row's magnitudes: no eigenvalue is larger. Never so small that its fractions vanish.
    fn bound(&self) -> f64 {
        let beside = |i: usize| self.beside.get(i).map_or(0.0, |x| x.abs());
        let row = |i: usize| self.diagonal[i].abs() + beside(i) + if i > 0 { beside(i - 1) } else { 0.0 };
        (0..self.diagonal.len()).map(row).fold(1e-100, f64::max)
    }

    /// How many eigenvalues are below `x`: the signs of the pivots (Sylvester's law of inertia).
    fn below(&self, x: f64, tiny: f64) -> usize {
        let mut pivot = 1.0f64;
        let mut count = 0;
        for (i, d) in self.diagonal.iter().enumerate() {
            let beside = if i > 0 { self.beside[i - 1] } else { 0.0 };
            pivot = d - x - beside * beside / pivot;
            if pivot.abs() < tiny {
                pivot = -tiny;
            }
            count += usize::from(pivot < 0.0);
        }
        count
    }

    /// Eigenvalue number `index`, from the smallest on.
    fn eigenvalue(&self, index: usize) -> f64 {
        let bound = self.bound();
        let (mut low, mut high) = (-bound, bound);
        let tiny = f64::EPSILON * f64::EPSILON * bound;
        loop {
            let middle = f64::midpoint(low, high);
            if middle <= low || middle >= high || high - low < f64::EPSILON * bound {
                return middle;
            }
            if self.below(middle, tiny) > index {
                high = middle;
            } else {
                low = middle;
            }
        }
    }

    /// The eigenvector of an eigenvalue, orthogonal to those of the rows before it.
    fn vector(&self, eigenvalue: f64, before: &[f64], out: &mut [f64], number: usize) {
        let n = out.len();
        let factors = Factors::new(self, eigenvalue, f64::EPSILON * self.bound());
        let start = Stream::new(number as u64, START, n as u64);
        for (i, x) in out.iter_mut().enumerate() {
            *x = f64::from(start.uniform_f32(i as u64)) - 0.5;
        }
        for _ in 0..ROUNDS {
            factors.solve(out);
            // Before the subtraction too, since a solution may be huge.
            for _ in 0..2 {
                let length = norm(out);
                out.iter_mut().for_each(|x| *x /= length);
                for other in before.chunks(n) {
                    let share = dot(other, out);
                    axpy(-share, other, out);
                }
            }
            let length = norm(out);
            out.iter_mut().for_each(|x| *x /= length);
        }
    }
}

/// The random stream of the first guesses.
const START: u32 = 0x5049_5353;

/// Rounds of inverse iteration: the eigenvalue is exact to the last bits, so that one is nearly enough.
const ROUNDS: usize = 4;

/// `T - xI` as rows exchanged, a lower and an upper triangle (with partial pivoting).
struct Factors {
    /// The upper triangle's three diagonals, by row.
    upper: Vec<[f64; 3]>,
    /// For each row but the last: whether it was exchanged with the next one, and its share in that.
    lower: Vec<(bool, f64)>,
}

impl Factors {
    fn new(t: &Tridiagonal, x: f64, tiny: f64) -> Self {
        let n = t.diagonal.len();
        let beside = |i: usize| t.beside.get(i).copied().unwrap_or(0.0);
        let mut upper = Vec::with_capacity(n);
        let mut lower = Vec::with_capacity(n.saturating_sub(1));
        let mut row = [t.diagonal[0] - x, beside(0), 0.0];
        for i in 1..n {
            let next = [beside(i - 1), t.diagonal[i] - x, beside(i)];
            let exchanged = next[0].abs() > row[0].abs();
            let (mut pivot, other) = if exchanged { (next, row) } else { (row, next) };
            if pivot[0].abs() < tiny {
                pivot[0] = tiny;
            }
            let share = other[0] / pivot[0];
            lower.push((exchanged, share));
            upper.push(pivot);
            row = [other[1] - share * pivot[1], other[2] - share * pivot[2], 0.0];
        }
        if row[0].abs() < tiny {
            row[0] = tiny;
        }
        upper.push(row);
        Self { upper, lower }
    }

    /// Solves for one right side, in place.
    fn solve(&self, b: &mut [f64]) {
        for (i, &(exchanged, share)) in self.lower.iter().enumerate() {
            if exchanged {
                b.swap(i, i + 1);
            }
            b[i + 1] -= share * b[i];
        }
        for i in (0..b.len()).rev() {
            let at = |j: usize| b.get(j).copied().unwrap_or(0.0);
            b[i] = (b[i] - self.upper[i][1] * at(i + 1) - self.upper[i][2] * at(i + 2)) / self.upper[i][0];
        }
    }
}
