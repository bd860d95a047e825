//! How the fused operators share their rows among threads.

use rayon::prelude::*;

/// Elements that make a piece of work worth handing to another thread.
const PIECE: usize = 32 * 1024;

/// Calls `f(first_row, rows)` for pieces of `out`, whose rows have `columns` elements. The pieces'
/// size never shows in the result, for `f` treats each row by itself.
pub fn for_row_blocks<T: Send>(
    out: &mut [T],
    columns: usize,
    f: impl Fn(usize, &mut [T]) + Send + Sync,
) {
    let columns = columns.max(1);
    let rows = (PIECE / columns).max(1);
    if out.len() <= 2 * PIECE {
        f(0, out);
    } else {
        out.par_chunks_mut(rows * columns)
            .enumerate()
            .for_each(|(block, part)| f(block * rows, part));
    }
}

/// A pointer that threads share; each writes only what belongs to it.
#[derive(Clone, Copy)]
pub struct Shared(*mut f32);

// SAFETY: whoever uses the pointer keeps the threads' places apart.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The start of a buffer.
    pub fn new(buffer: &mut [f32]) -> Self {
        Self(buffer.as_mut_ptr())
    }

    /// A part of the buffer.
    ///
    /// # Safety
    /// It must lie inside the buffer, which must still be alive, and no other thread may use it.
    pub unsafe fn part<'a>(self, start: usize, len: usize) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }

    /// The place of one element.
    ///
    /// # Safety
    /// It must lie inside the buffer.
    pub unsafe fn at(self, index: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(index) }
    }
}
