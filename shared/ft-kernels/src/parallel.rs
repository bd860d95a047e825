//! How the fused operators share their rows among threads.

use rayon::prelude::*;

/// Elements that make a piece of work worth handing to another thread.
const PIECE: usize = 32 * 1024;

/// Calls `f(first_row, rows)` for pieces of `out`, whose rows have `columns` elements. The pieces'
/// size never shows in the result, for `f` treats each row by itself.
pub fn for_row_blocks<T: Send>(out: &mut [T], columns: usize, f: impl Fn(usize, &mut [T]) + Send + Sync) {
    let columns = columns.max(1);
    let rows = (PIECE / columns).max(1);
    if out.len() <= 2 * PIECE {
        f(0, out);
    } else {
        out.par_chunks_mut(rows * columns).enumerate().for_each(|(block, part)| f(block * rows, part));
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

thread_local! {
    static SCRATCH: std::cell::Cell<Vec<f32>> = const { std::cell::Cell::new(Vec::new()) };
}

/// Calls `f` with buffers of the given sizes, which hold whatever they held before. Their memory
/// stays with the thread for the next call.
#[inline(always)]
pub fn with_scratch<const N: usize, R>(sizes: [usize; N], f: impl FnOnce([&mut [f32]; N]) -> R) -> R {
    // Whole cache lines, so that the buffers do not share any.
    let sizes = sizes.map(|size| (size, size.next_multiple_of(LINE)));
    let total: usize = sizes.iter().map(|(_, room)| room).sum();
    let mut memory = SCRATCH.take();
    if memory.len() < total + LINE {
        memory = vec![0.0; total + LINE];
    }
    let skip = memory.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
    let mut rest = &mut memory[skip..];
    let buffers = sizes.map(|(size, room)| {
        let (buffer, after) = std::mem::take(&mut rest).split_at_mut(room);
        rest = after;
        &mut buffer[..size]
    });
    let result = f(buffers);
    SCRATCH.set(memory);
    result
}

/// Elements of a cache line.
const LINE: usize = 16;
