//! What is added to a product while the last block of its inner dimension is at hand.
//!
//! `C = A·B + Σ maskₚ ⊙ (leftₚ·rightₚ)`, each part on its own range of columns: the adapters of a frozen layer. It goes
//! on in the product's own loop, tile by tile, so that the result is written once and not fetched again.
//!
//! **The same bits.** Each element gets the parts one after the other, and each part in blocks of
//! [`block_length`] of its own inner dimension: what [`Tail::apply`] gives, which is one product after the other.

use std::ops::Range;

use super::micro::{Block, Kernels};
use super::pack::pack_panel;
use super::{Mat, block_length};

/// Changes some elements of a row: its number, the first one's column, and the elements.
pub(crate) type Touch<'a> = &'a (dyn Fn(usize, usize, &mut [f32]) + Sync);

/// A product that is added to some columns.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    /// `[m, r]`
    pub left: Mat<'a, f32>,
    /// `[r, columns]`
    pub right: Mat<'a, f32>,
    /// The first of its columns in the result.
    pub column: usize,
    /// `[m, columns]`, rows adjacent in memory: what its elements are multiplied by before they are added.
    pub mask: Option<Mat<'a, f32>>,
}

/// What follows a product.
#[derive(Clone, Default)]
pub(crate) struct Tail<'a> {
    /// Before the parts are added.
    pub before: Option<Touch<'a>>,
    pub parts: Vec<Part<'a>>,
    /// After them.
    pub after: Option<Touch<'a>>,
    /// The number of the result's first column, as `before` and `after` count.
    pub(super) first: usize,
}

/// The most elements of a tile of any kernel.
const MOST: usize = 14 * 32;

impl<'a> Tail<'a> {
    pub fn new(before: Option<Touch<'a>>, parts: Vec<Part<'a>>, after: Option<Touch<'a>>) -> Self {
        Self { before, parts, after, first: 0 }
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.before.is_none() && self.parts.is_empty() && self.after.is_none()
    }

    /// The tail of the columns `columns` alone, as the columns of a result of their own.
    pub fn of_columns(&self, columns: &Range<usize>) -> Self {
        let one = |part: &Part<'a>| {
            let own = overlap(part, columns);
            let skip = own.start - part.column;
            (!own.is_empty()).then(|| Part {
                left: part.left,
                right: part.right.cols_of(skip, own.len()),
                column: own.start - columns.start,
                mask: part.mask.map(|mask| mask.cols_of(skip, own.len())),
            })
        };
        let parts = self.parts.iter().filter_map(one).collect();
        Self { parts, first: self.first + columns.start, ..*self }
    }

    /// # Panics
    /// Where a part does not fit a result `[rows, cols]`.
    pub(super) fn check(&self, rows: usize, cols: usize) {
        for Part { left, right, column, mask } in &self.parts {
            let fits = left.rows == rows && left.cols == right.rows && column + right.cols <= cols;
            let masked = mask.is_none_or(|m| m.rows == rows && m.cols == right.cols && m.col_stride == 1);
            assert!(
                fits && masked,
                "[{}, {}] by [{}, {}] from column {column} on of a result [{rows}, {cols}]",
                left.rows,
                left.cols,
                right.rows,
                right.cols
            );
        }
    }

    /// What is to be multiplied on some panels of columns.
    pub(super) fn pieces(&self, panels: impl Iterator<Item = Range<usize>>, lanes: usize) -> Pieces<'_> {
        let mut pieces = Pieces { tail: self, all: Vec::new(), ends: Vec::new(), room: 0 };
        for panel in panels {
            for part in &self.parts {
                let columns = overlap(part, &panel);
                let step = block_length(part.left.cols);
                for from in (0..part.left.cols).step_by(step).filter(|_| !columns.is_empty()) {
                    let length = step.min(part.left.cols - from);
                    let ends = from + length == part.left.cols;
                    let start = pieces.room;
                    pieces.room += length * columns.len().next_multiple_of(lanes);
                    pieces.all.push(Piece { part, from, length, columns: columns.clone(), start, ends });
                }
            }
            pieces.ends.push(pieces.all.len());
        }
        pieces
    }
}

/// Those of `columns` that are the part's.
fn overlap(part: &Part<'_>, columns: &Range<usize>) -> Range<usize> {
    let start = columns.start.max(part.column);
    start..columns.end.min(part.column + part.right.cols).max(start)
}

/// `row += mask ⊙ sums`, with two roundings.
pub(super) fn add_masked(row: &mut [f32], mask: &[f32], sums: &[f32]) {
    row.iter_mut().zip(mask).zip(sums).for_each(|((x, m), sum)| *x += m * sum);
}

/// The parts of a tail on some panels of columns.
pub(super) struct Pieces<'a> {
    tail: &'a Tail<'a>,
    all: Vec<Piece<'a>>,
    /// Of each panel the end of its own.
    ends: Vec<usize>,
    room: usize,
}

/// A block of a part's inner dimension on some of a panel's columns.
struct Piece<'a> {
    part: &'a Part<'a>,
    from: usize,
    length: usize,
    /// Of the result.
    columns: Range<usize>,
    /// Where it is packed.
    start: usize,
    /// Whether it is the part's last one.
    ends: bool,
}

/// A tile of the result.
pub(super) struct Place {
    pub rows: Range<usize>,
    pub cols: Range<usize>,
    pub c: *mut f32,
    pub stride: usize,
}

impl Pieces<'_> {
    /// The elements that they take, packed.
    pub fn room(&self) -> usize {
        self.room
    }

    pub fn pack(&self, lanes: usize, into: &mut [f32]) {
        for piece in &self.all {
            let column = piece.columns.start - piece.part.column;
            let columns = column..column + piece.columns.len();
            pack_panel(&piece.part.right, piece.from, piece.length, &columns, lanes, &mut into[piece.start..], |x| x);
        }
    }

    /// Does to a tile of panel number `panel` what follows its last block.
    ///
    /// # Safety
    /// `place.c` points to the tile's elements, its rows `place.stride` apart, which nobody else touches.
    pub unsafe fn finish(&self, panel: usize, kernels: &Kernels, place: &Place, packed: &[f32]) {
        let first = if panel == 0 { 0 } else { self.ends[panel - 1] };
        // SAFETY: the columns are the tile's.
        let at = |i: usize, column: usize| unsafe { place.c.add(i * place.stride + column - place.cols.start) };
        // SAFETY: the caller's promise; one row at a time is borrowed.
        let row = |i: usize, columns: &Range<usize>| unsafe {
            std::slice::from_raw_parts_mut(at(i, columns.start), columns.len())
        };
        let touch = |touch: Option<Touch<'_>>| {
            if let Some(touch) = touch {
                let column = self.tail.first + place.cols.start;
                (0..place.rows.len()).for_each(|i| touch(place.rows.start + i, column, row(i, &place.cols)));
            }
        };
        touch(self.tail.before);
        let mut sums = [0.0; MOST];
        for piece in &self.all[first..self.ends[panel]] {
            let Part { left, mask, column, .. } = piece.part;
            let (c, stride) = match mask {
                Some(_) => (sums.as_mut_ptr(), piece.columns.len()),
                None => (at(0, piece.columns.start), place.stride),
            };
            let block = Block {
                rows: place.rows.len(),
                cols: piece.columns.len(),
                length: piece.length,
                lhs: &left.data[place.rows.start * left.row_stride + piece.from * left.col_stride..],
                lhs_strides: (left.row_stride, left.col_stride),
                rhs: &packed[piece.start..],
                c,
                stride,
                accumulate: mask.is_none() || piece.from > 0,
            };
            assert!(block.rows * block.cols <= MOST);
            // SAFETY: the columns are the tile's, or `sums` has room for them.
            unsafe { kernels.run(&block) };
            if let Some(mask) = mask.filter(|_| piece.ends) {
                for (i, sums) in sums.chunks(piece.columns.len()).take(place.rows.len()).enumerate() {
                    let at = (place.rows.start + i) * mask.row_stride + piece.columns.start - column;
                    add_masked(row(i, &piece.columns), &mask.data[at..], sums);
                }
            }
        }
        touch(self.tail.after);
    }
}
