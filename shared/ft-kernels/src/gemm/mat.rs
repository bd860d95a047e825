//! The operands of a product and its result: matrices over slices.

use half::{bf16, f16};

use super::blocks::BlockMat;

/// A read-only matrix over a slice, with any strides (in elements).
#[derive(Clone, Copy)]
pub struct Mat<'a, T> {
    pub(super) data: &'a [T],
    pub rows: usize,
    pub cols: usize,
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
}

impl<'a, T> Mat<'a, T> {
    /// A row-major matrix `[rows, cols]` over the whole of `data`.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// A row-major matrix whose rows start `stride` elements apart (columns of a wider one).
    pub fn strided(data: &'a [T], rows: usize, cols: usize, stride: usize) -> Self {
        let needed = if rows == 0 || cols == 0 { 0 } else { (rows - 1) * stride + cols };
        assert!(
            needed <= data.len(),
            "matrix [{rows}, {cols}] by {stride} needs {needed} elements, the slice has {}",
            data.len()
        );
        Self { data, rows, cols, row_stride: stride, col_stride: 1 }
    }

    /// The rows `first .. first + rows`.
    ///
    /// # Panics
    /// Where the matrix has no such rows.
    #[must_use]
    pub fn rows_of(self, first: usize, rows: usize) -> Self {
        assert!(first + rows <= self.rows, "rows {first}+{rows} of {}", self.rows);
        let start = (first * self.row_stride).min(self.data.len());
        Self { data: &self.data[start..], rows, ..self }
    }

    /// The columns `first .. first + cols`.
    ///
    /// # Panics
    /// Where the matrix has no such columns.
    #[must_use]
    pub fn cols_of(self, first: usize, cols: usize) -> Self {
        self.t().rows_of(first, cols).t()
    }

    /// The transposed view; nothing is moved.
    #[must_use]
    pub fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

/// The right side of a product: the only one that may be narrower than f32.
#[derive(Clone, Copy)]
pub enum Rhs<'a> {
    F32(Mat<'a, f32>),
    Bf16(Mat<'a, bf16>),
    F16(Mat<'a, f16>),
    Blocks(BlockMat<'a>),
}

impl Rhs<'_> {
    /// `(rows, columns)`, that is `(k, n)` of the product.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Rhs::F32(m) => (m.rows, m.cols),
            Rhs::Bf16(m) => (m.rows, m.cols),
            Rhs::F16(m) => (m.rows, m.cols),
            Rhs::Blocks(m) => m.shape(),
        }
    }

    /// The transposed view; nothing is moved.
    #[must_use]
    pub fn t(self) -> Self {
        match self {
            Rhs::F32(m) => Rhs::F32(m.t()),
            Rhs::Bf16(m) => Rhs::Bf16(m.t()),
            Rhs::F16(m) => Rhs::F16(m.t()),
            Rhs::Blocks(m) => Rhs::Blocks(m.t()),
        }
    }
}

/// The result: row-major, its rows `stride` elements apart.
pub struct MatMut<'a> {
    pub(super) data: &'a mut [f32],
    pub rows: usize,
    pub cols: usize,
    pub(super) stride: usize,
}

impl<'a> MatMut<'a> {
    /// A row-major matrix `[rows, cols]` over the whole of `data`.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// A row-major matrix whose rows start `stride` elements apart.
    pub fn strided(data: &'a mut [f32], rows: usize, cols: usize, stride: usize) -> Self {
        let needed = if rows == 0 || cols == 0 { 0 } else { (rows - 1) * stride + cols };
        assert!(
            needed <= data.len(),
            "matrix [{rows}, {cols}] by {stride} needs {needed} elements, the slice has {}",
            data.len()
        );
        assert!(rows < 2 || stride >= cols, "rows of {cols} elements, {stride} apart, would overlap");
        Self { data, rows, cols, stride }
    }

    /// Its rows, one after the other.
    pub(super) fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let cols = self.cols;
        self.data.chunks_mut(self.stride.max(1)).take(self.rows).map(move |row| &mut row[..cols])
    }

    /// The columns `first .. first + cols`.
    pub(crate) fn cols_of(&mut self, first: usize, cols: usize) -> MatMut<'_> {
        assert!(first + cols <= self.cols, "columns {first}+{cols} of {}", self.cols);
        let start = first.min(self.data.len());
        MatMut { data: &mut self.data[start..], rows: self.rows, cols, stride: self.stride }
    }
}
