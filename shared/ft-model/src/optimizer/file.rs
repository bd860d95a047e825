//! The optimizer's state as a safetensors file, written and read in pieces.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ::safetensors::Dtype;
use ft_dist::Communicator;

use super::slots::Slot;
use super::{Optimizer, OptimizerKind, Trained};
use crate::error::{Error, Result};
use crate::safetensors::{Header, PREFIX, header_len, too_short};

/// The keys of the file's metadata.
const KIND: &str = "optimizer";
const STEP: &str = "step";

/// Bytes that are moved at once.
const PIECE: u64 = 1 << 20;

impl Optimizer {
    /// Writes the state: for each tensor what its kind remembers, as `NAME.exp_avg`, and the number of steps taken.
    /// Where the elements are shared among ranks all of them call this together; the one with a path, which is rank
    /// 0, writes one whole file.
    ///
    /// # Errors
    /// If the file cannot be written, or another rank fails.
    pub fn save(&self, path: Option<&Path>, ranks: &dyn Communicator) -> Result<()> {
        let places: Vec<_> = self.places().collect();
        let tensors: Vec<_> =
            places.iter().map(|place| (place.name.clone(), place.dtype, place.shape.clone())).collect();
        let metadata = [(KIND, self.config.kind.to_string()), (STEP, self.step.to_string())];
        let metadata: BTreeMap<_, _> = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let (header, bytes) = Header::build(&tensors, &metadata);
        let mut file = path.map(|path| Output::create(path, &bytes)).transpose()?;
        for (place, entry) in places.iter().zip(&header.entries) {
            for at in (0..entry.len).step_by(PIECE as usize) {
                let piece = self.piece(place, at..(at + PIECE).min(entry.len), ranks)?;
                if let Some(file) = &mut file {
                    file.write(&piece)?;
                }
            }
        }
        Ok(())
    }

    /// Some bytes of a slot, on rank 0; on other ranks what they have of them.
    fn piece(&self, place: &FileSlot, bytes: Range<u64>, ranks: &dyn Communicator) -> Result<Vec<u8>> {
        let of = |rank: usize| {
            let part = self.cut.part(place.tensor, rank);
            let own = place.slot.bytes(part.start) as u64..place.slot.bytes(part.end) as u64;
            let inside = |at: u64| at.clamp(own.start, own.end);
            inside(bytes.start) - own.start..inside(bytes.end) - own.start
        };
        let own = of(self.place);
        let mut piece = vec![0; (own.end - own.start) as usize];
        self.tensors[place.tensor].state.read(place.index, own.start, &mut piece)?;
        let world = self.cut.world();
        if world == 1 {
            return Ok(piece);
        }
        let (mut send, mut receive) = (vec![0; world], vec![0; world]);
        send[0] = piece.len();
        if self.place == 0 {
            receive = (0..world).map(|rank| (of(rank).end - of(rank).start) as usize).collect();
        }
        let mut all = vec![0; receive.iter().sum()];
        ranks.all_to_all(&piece, &send, &receive, &mut all)?;
        Ok(all)
    }

    /// Takes over a state that [`Optimizer::save`] wrote, for the same tensors, on any number of ranks; a paged kind
    /// goes on where its unpaged one stopped, and the other way round.
    ///
    /// # Errors
    /// If the file cannot be read, is not whole, or is of another optimizer or other tensors.
    pub fn load(&mut self, path: &Path) -> Result<()> {
        let failed = |source| Error::read(path, source);
        let file = File::open(path).map_err(failed)?;
        let header = read_header(&file, path)?;
        let step = self.check(&header).map_err(|reason| Error::malformed(path, reason))?;
        let mut piece = Vec::new();
        for place in self.places().collect::<Vec<_>>() {
            let entry = header.entries.iter().find(|entry| entry.name == place.name);
            let entry = entry.filter(|entry| entry.dtype == place.dtype && entry.shape == place.shape);
            let entry = entry.ok_or_else(|| {
                let (name, dtype, shape) = (&place.name, place.dtype, &place.shape);
                Error::malformed(path, format!("it has no tensor '{name}' of type {dtype} and shape {shape:?}"))
            })?;
            let own = &mut self.tensors[place.tensor];
            let (start, end) = (place.slot.bytes(own.part.start) as u64, place.slot.bytes(own.part.end) as u64);
            for at in (start..end).step_by(PIECE as usize) {
                piece.resize(PIECE.min(end - at) as usize, 0);
                file.read_exact_at(&mut piece, entry.offset + at).map_err(failed)?;
                own.state.write(place.index, at - start, &piece)?;
            }
        }
        self.step = step;
        Ok(())
    }

    /// The steps taken, if the file is of this kind of optimizer.
    fn check(&self, header: &Header) -> std::result::Result<u64, String> {
        let told = |key: &str| header.metadata.get(key).map_or("", String::as_str);
        let (found, own) = (told(KIND), self.config.kind);
        if !found.parse::<OptimizerKind>().is_ok_and(|kind| kind.remembers_as(own)) {
            return Err(format!(
                "it holds the state of the optimizer '{found}', expected that of '{own}'; go on with the same"
            ));
        }
        told(STEP).parse().map_err(|_| format!("it has the step '{}' in its metadata, expected a number", told(STEP)))
    }

    /// All slots of all tensors, floats first, so that they lie at multiples of their size.
    fn places(&self) -> impl Iterator<Item = FileSlot> {
        let of = |dtype| self.tensors.iter().enumerate().flat_map(move |(i, trained)| trained.places(i, dtype));
        of(Dtype::F32).chain(of(Dtype::U8))
    }
}

/// A slot of a tensor as it stands in the file.
struct FileSlot {
    tensor: usize,
    slot: Slot,
    /// The slot's number among its tensor's.
    index: usize,
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
}

impl Trained {
    /// The slots of one type.
    fn places(&self, tensor: usize, dtype: Dtype) -> impl Iterator<Item = FileSlot> {
        let slots = self.state.slots().enumerate().filter(move |(_, (slot, ..))| slot.dtype == dtype);
        slots.map(move |(index, (slot, ..))| {
            // What has an element for each of the tensor's has its shape too.
            let all = self.shape.iter().product();
            let shape = if slot.every == 1 { self.shape.clone() } else { vec![slot.len(all)] };
            FileSlot { tensor, slot, index, name: format!("{}.{}", self.name, slot.name), dtype, shape }
        })
    }
}

/// A file that is being written.
struct Output<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> Output<'a> {
    fn create(path: &'a Path, header: &[u8]) -> Result<Self> {
        let mut output = Self { path, file: File::create(path).map_err(|source| Error::write(path, source))? };
        output.write(header)?;
        Ok(output)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|source| Error::write(self.path, source))
    }
}

fn read_header(file: &File, path: &Path) -> Result<Header> {
    let failed = |source| Error::read(path, source);
    let damaged = |reason| Error::malformed(path, format!("it is damaged: {reason}"));
    let len = file.metadata().map_err(failed)?.len();
    if len < PREFIX {
        return Err(damaged(too_short(len)));
    }
    let mut prefix = [0; PREFIX as usize];
    file.read_exact_at(&mut prefix, 0).map_err(failed)?;
    let mut json = vec![0; header_len(prefix, len).map_err(damaged)?];
    file.read_exact_at(&mut json, PREFIX).map_err(failed)?;
    Header::parse(&json, len).map_err(damaged)
}
