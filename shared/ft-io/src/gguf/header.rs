//! Reading the header.

use std::collections::BTreeMap;
use std::io::Read;

use super::marks::{ALIGNMENT, MAGIC};
use super::values::{Array, Kind, Value, without_zeros};
use super::{Content, TensorInfo};

/// The most dimensions of a tensor.
const DIMENSIONS: u32 = 4;

impl Content {
    /// Reads the header of a file of `len` bytes from its start.
    ///
    /// # Errors
    /// What is wrong, in words that name the key or the tensor.
    pub fn read(from: impl Read, len: u64) -> Result<Self, String> {
        let mut header = Header { from, left: len, len, version: 0 };
        if header.bytes(4)? != MAGIC {
            return Err("it does not begin as a GGUF file does".into());
        }
        header.version = header.u32()?;
        if !(1..=3).contains(&header.version) {
            let swapped = (1..=3).contains(&header.version.swap_bytes());
            let order = if swapped { ", which is in the byte order of other machines" } else { "" };
            return Err(format!("it is a GGUF file of version {}{order}; expected 1, 2 or 3", header.version));
        }
        let (tensors, keys) = (header.length()?, header.length()?);
        let metadata = header.metadata(keys)?;
        let tensors = header.tensors(tensors)?;
        let alignment = alignment(&metadata)?;
        let data_offset = (len - header.left).checked_next_multiple_of(alignment);
        let data_offset =
            data_offset.ok_or_else(|| format!("'general.alignment' is {alignment}, more than the file has bytes"))?;
        Ok(Self { metadata, tensors, data_offset })
    }
}

/// What tensors' places are a multiple of.
fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, String> {
    let Some(value) = metadata.get("general.alignment") else { return Ok(ALIGNMENT) };
    let power = value.whole().filter(|n| n.is_power_of_two());
    power.ok_or_else(|| format!("'general.alignment' is {}, expected a power of two", value.told()))
}

/// A header that is being read.
struct Header<R> {
    from: R,
    /// Bytes of the file that have not been read.
    left: u64,
    len: u64,
    version: u32,
}

impl<R: Read> Header<R> {
    fn metadata(&mut self, count: u64) -> Result<BTreeMap<String, Value>, String> {
        let mut metadata = BTreeMap::new();
        for _ in 0..count {
            let key = self.string()?;
            let value = self.value().map_err(|reason| format!("the metadata '{key}': {reason}"))?;
            if metadata.contains_key(&key) {
                return Err(format!("the metadata '{key}' occurs twice"));
            }
            metadata.insert(key, value);
        }
        Ok(metadata)
    }

    fn tensors(&mut self, count: u64) -> Result<BTreeMap<String, TensorInfo>, String> {
        let mut tensors = BTreeMap::new();
        for _ in 0..count {
            let name = self.string()?;
            let info = self.tensor().map_err(|reason| format!("the tensor '{name}': {reason}"))?;
            if tensors.contains_key(&name) {
                return Err(format!("the tensor '{name}' occurs twice"));
            }
            tensors.insert(name, info);
        }
        Ok(tensors)
    }

    fn tensor(&mut self) -> Result<TensorInfo, String> {
        let dimensions = self.u32()?;
        if dimensions > DIMENSIONS {
            return Err(format!("it has {dimensions} dimensions, expected at most {DIMENSIONS}"));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let size = self.length()?;
            shape.push(usize::try_from(size).map_err(|_| format!("it has a dimension of {size}"))?);
        }
        // The file begins with the one whose elements lie beside each other.
        shape.reverse();
        Ok(TensorInfo { shape, kind: self.u32()?, offset: self.u64()? })
    }

    fn value(&mut self) -> Result<Value, String> {
        match self.kind()? {
            Kind::String => Ok(Value::String(self.string()?)),
            Kind::Array => Ok(Value::Array(self.array()?)),
            kind => {
                let bytes = self.bytes(kind.bytes().unwrap_or(0) as u64)?;
                kind.value(&bytes).ok_or_else(|| self.short())
            }
        }
    }

    fn array(&mut self) -> Result<Array, String> {
        let (kind, len) = (self.kind()?, self.length()?);
        let bytes = match kind {
            Kind::Array => return Err("a list of lists, which cannot be read".into()),
            Kind::String => self.texts(len)?,
            _ => {
                let bytes = len.checked_mul(kind.bytes().unwrap_or(0) as u64);
                self.bytes(bytes.ok_or_else(|| self.short())?)?
            }
        };
        Ok(Array { kind, len, bytes })
    }

    /// The bytes of texts, each with its length in 8 bytes before it.
    fn texts(&mut self, count: u64) -> Result<Vec<u8>, String> {
        let mut all = Vec::new();
        for _ in 0..count {
            let length = self.length()?;
            all.extend(length.to_le_bytes());
            self.append(length, &mut all)?;
        }
        Ok(all)
    }

    fn kind(&mut self) -> Result<Kind, String> {
        let number = self.u32()?;
        Kind::from_number(number).ok_or_else(|| format!("a value of kind {number}, expected 0 to 12"))
    }

    fn string(&mut self) -> Result<String, String> {
        let length = self.length()?;
        let bytes = self.bytes(length)?;
        Ok(String::from_utf8_lossy(without_zeros(&bytes)).into_owned())
    }

    /// A count or a length: 64 bits, in the first version 32.
    fn length(&mut self) -> Result<u64, String> {
        if self.version == 1 { self.u32().map(u64::from) } else { self.u64() }
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.fixed().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.fixed().map(u64::from_le_bytes)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N as u64)?;
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(|e| format!("it cannot be read: {e}"))?;
        Ok(bytes)
    }

    fn bytes(&mut self, len: u64) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        self.append(len, &mut bytes)?;
        Ok(bytes)
    }

    fn append(&mut self, len: u64, to: &mut Vec<u8>) -> Result<(), String> {
        self.take(len)?;
        let start = to.len();
        to.resize(start + len as usize, 0);
        self.from.read_exact(&mut to[start..]).map_err(|e| format!("it cannot be read: {e}"))
    }

    /// Counts `len` bytes as read, if the file has them.
    fn take(&mut self, len: u64) -> Result<(), String> {
        self.left = self.left.checked_sub(len).ok_or_else(|| self.short())?;
        Ok(())
    }

    fn short(&self) -> String {
        format!("it is not a whole GGUF file: its header goes on after its {} bytes", self.len)
    }
}
