//! A rank's own bytes of some matrices, in memory or on disk.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::pages::PageFile;

/// The bytes.
#[derive(Debug)]
pub(super) enum Own {
    Memory(Arc<[u8]>),
    /// Read anew each time they are sent.
    Disk {
        pages: Arc<PageFile>,
        offset: u64,
        len: usize,
    },
}

impl Own {
    /// To be sent.
    pub fn bytes(&self) -> Result<Arc<[u8]>> {
        match self {
            Self::Memory(bytes) => Ok(Arc::clone(bytes)),
            Self::Disk { pages, offset, len } => {
                let mut bytes = vec![0; *len];
                pages.read(*offset, &mut bytes)?;
                Ok(bytes.into())
            }
        }
    }

    /// How many there are, wherever they lie.
    pub fn len(&self) -> usize {
        self.in_memory() + self.on_disk()
    }

    /// How many lie in memory.
    pub fn in_memory(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::Disk { .. } => 0,
        }
    }

    /// How many lie on disk.
    pub fn on_disk(&self) -> usize {
        match self {
            Self::Memory(_) => 0,
            Self::Disk { len, .. } => *len,
        }
    }
}

/// Where the bytes of all matrices go, one after the other.
pub(super) struct Store {
    pages: Option<Arc<PageFile>>,
    end: u64,
}

impl Store {
    /// A file without a name in the folder, or memory.
    pub fn new(folder: Option<&Path>) -> Result<Self> {
        let create = |folder| PageFile::create(folder, "this rank's frozen weights", 0).map(Arc::new);
        Ok(Self { pages: folder.map(create).transpose()?, end: 0 })
    }

    /// The shard, with its bytes where they belong.
    pub fn keep(&mut self, shard: Shard) -> Result<Shard> {
        let Some(pages) = &self.pages else { return Ok(shard) };
        let bytes = shard.own.bytes()?;
        let (offset, len) = (self.end, bytes.len());
        pages.write(offset, &bytes)?;
        self.end += len as u64;
        Ok(Shard { own: Own::Disk { pages: Arc::clone(pages), offset, len }, counts: shard.counts })
    }
}

/// A rank's own run of bytes of some matrices, and how many each rank has.
#[derive(Debug)]
pub(super) struct Shard {
    pub own: Own,
    pub counts: Vec<usize>,
}

impl Shard {
    /// Of all ranks together.
    pub fn bytes(&self) -> u64 {
        self.counts.iter().sum::<usize>() as u64
    }
}

/// Shares start at multiples of so many bytes.
const UNIT: usize = 64;

/// How `bytes` bytes that lie together are cut among ranks. Shares start at multiples of 64: no number and no block's
/// scale is cut.
pub(crate) fn shares(bytes: usize, world: usize) -> Vec<Range<usize>> {
    ft_dist::shares_of_units(bytes, world, UNIT)
}

/// The share of one rank among [`shares`].
pub(crate) fn share(bytes: usize, world: usize, rank: usize) -> Range<usize> {
    ft_dist::share_of_units(bytes, world, UNIT, rank)
}
