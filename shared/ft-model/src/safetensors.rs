//! The safetensors format: a header in JSON that tells where each tensor lies, then the tensors' bytes.
//!
//! Reading checks what the format promises, tensor by tensor and by name: no byte outside the file, no
//! overlap, no hole. Writing gives the same bytes for the same input.

use std::collections::BTreeMap;

use ::safetensors::Dtype;
use ::safetensors::tensor::TensorInfo;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, json};

/// The longest header that is accepted, as in the reference implementation.
const MAX_HEADER: u64 = 100_000_000;
/// The length of the header's length.
pub const PREFIX: u64 = 8;
const METADATA: &str = "__metadata__";

/// A tensor in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Where its bytes begin, counted from the start of the file.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u64,
}

/// What a header tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// The tensors by their place in the file.
    pub entries: Vec<Entry>,
    /// `__metadata__`
    pub metadata: BTreeMap<String, String>,
}

/// The length of the header, from the file's first 8 bytes and its length.
///
/// # Errors
/// What is wrong, in words.
pub fn header_len(prefix: [u8; 8], file_len: u64) -> Result<usize, String> {
    let len = u64::from_le_bytes(prefix);
    if len > MAX_HEADER {
        return Err(format!("its header claims {len} bytes, more than the {MAX_HEADER} that the format allows"));
    }
    if len > file_len.saturating_sub(PREFIX) {
        return Err(format!("its header claims {len} bytes, but the file has {file_len}; it is cut short"));
    }
    Ok(len as usize)
}

impl Header {
    /// Reads the header of a file of `file_len` bytes.
    ///
    /// # Errors
    /// What is wrong, in words that name the tensor.
    pub fn parse(json: &[u8], file_len: u64) -> Result<Self, String> {
        let raw: Raw = serde_json::from_slice(json).map_err(|e| format!("its header cannot be read: {e}"))?;
        let start = PREFIX + json.len() as u64;
        let mut entries = Vec::with_capacity(raw.tensors.len());
        for (name, info) in raw.tensors {
            let (begin, end) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
            let bits = info.shape.iter().try_fold(info.dtype.bitsize(), |n, d| n.checked_mul(*d));
            let len = bits.filter(|bits| bits % 8 == 0).map(|bits| (bits / 8) as u64);
            if begin.checked_add(len.unwrap_or(u64::MAX)) != Some(end) {
                let found = end.wrapping_sub(begin) as i64;
                let (dtype, shape) = (info.dtype, info.shape);
                let told =
                    format!("the tensor '{name}' of type {dtype} and shape {shape:?} has {found} bytes in the header");
                return Err(told);
            }
            let offset =
                start.checked_add(begin).ok_or_else(|| format!("the tensor '{name}' begins outside the file"))?;
            entries.push(Entry { name, dtype: info.dtype, shape: info.shape, offset, len: end - begin });
        }
        entries.sort_by(|a, b| (a.offset, a.len, &a.name).cmp(&(b.offset, b.len, &b.name)));
        check_places(&entries, start, file_len)?;
        Ok(Self { entries, metadata: raw.metadata })
    }

    /// Reads a file that is in memory.
    ///
    /// # Errors
    /// As [`Header::parse`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let prefix = bytes.first_chunk::<8>().ok_or_else(|| too_short(bytes.len() as u64))?;
        let len = header_len(*prefix, bytes.len() as u64)?;
        Self::parse(&bytes[8..8 + len], bytes.len() as u64)
    }

    /// The header of a new file with these tensors (name, type, shape) in this order, and its bytes,
    /// the 8 of its length included.
    pub fn build(tensors: &[(String, Dtype, Vec<usize>)], metadata: &BTreeMap<String, String>) -> (Self, Vec<u8>) {
        let mut map = Map::new();
        if !metadata.is_empty() {
            map.insert(METADATA.into(), json!(metadata));
        }
        let mut end = 0;
        let mut entries = Vec::with_capacity(tensors.len());
        for (name, dtype, shape) in tensors {
            let len = (shape.iter().product::<usize>() * dtype.bitsize() / 8) as u64;
            map.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [end, end + len]}));
            entries.push(Entry { name: name.clone(), dtype: *dtype, shape: shape.clone(), offset: end, len });
            end += len;
        }
        let mut text = Value::Object(map).to_string().into_bytes();
        // The data begin at a multiple of 8, as the reference implementation has it.
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text);
        for entry in &mut entries {
            entry.offset += bytes.len() as u64;
        }
        (Self { entries, metadata: metadata.clone() }, bytes)
    }
}

/// A file too short to have a header.
pub fn too_short(len: u64) -> String {
    format!("it has {len} bytes, too few for a safetensors file; it is cut short")
}

/// Fails unless the tensors lie one after the other from `start` to the file's end.
fn check_places(entries: &[Entry], start: u64, file_len: u64) -> Result<(), String> {
    let mut end = start;
    for entry in entries {
        if entry.offset < end {
            return Err(format!("the tensor '{}' overlaps the one before it", entry.name));
        }
        if entry.offset > end {
            return Err(format!("there is a hole of {} bytes before the tensor '{}'", entry.offset - end, entry.name));
        }
        end = entry
            .offset
            .checked_add(entry.len)
            .ok_or_else(|| format!("the tensor '{}' ends outside the file", entry.name))?;
        if end > file_len {
            return Err(format!(
                "the tensor '{}' ends at byte {end}, but the file has {file_len}; it is cut short",
                entry.name
            ));
        }
    }
    if end < file_len {
        return Err(format!("{} bytes after the last tensor belong to none", file_len - end));
    }
    Ok(())
}

/// The header's JSON. A name that occurs twice is an error.
struct Raw {
    tensors: BTreeMap<String, TensorInfo>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Raw;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut raw = Raw { tensors: BTreeMap::new(), metadata: BTreeMap::new() };
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA {
                        raw.metadata = map.next_value::<Option<_>>()?.unwrap_or_default();
                    } else {
                        let told = format!("the tensor '{name}' occurs twice");
                        if raw.tensors.insert(name, map.next_value()?).is_some() {
                            return Err(serde::de::Error::custom(told));
                        }
                    }
                }
                Ok(raw)
            }
        }
        from.deserialize_map(Names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str, data: usize) -> Result<Header, String> {
        Header::parse(json.as_bytes(), PREFIX + json.len() as u64 + data as u64)
    }

    fn refused(json: &str, data: usize) -> String {
        parse(json, data).unwrap_err()
    }

    const A: &str = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;

    #[test]
    fn what_is_built_reads_back() {
        let tensors = vec![("b".to_owned(), Dtype::BF16, vec![3, 2]), ("a".to_owned(), Dtype::F32, vec![2])];
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned()), ("x".to_owned(), "\"y\"".to_owned())]);
        let (built, mut bytes) = Header::build(&tensors, &metadata);
        assert_eq!(bytes.len() % 8, 0);
        bytes.resize(bytes.len() + 20, 0);
        assert_eq!(Header::from_bytes(&bytes).unwrap(), built);
        // The reference implementation agrees.
        let theirs = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(theirs.tensor("b").unwrap().shape(), [3, 2]);
        assert_eq!(theirs.tensor("a").unwrap().data().len(), 8);
    }

    #[test]
    fn holes_overlaps_and_short_files_are_named() {
        let after = |begin, end| format!(r#"{{{A},"b":{{"dtype":"F32","shape":[1],"data_offsets":[{begin},{end}]}}}}"#);
        parse(&after(8, 12), 12).unwrap();
        assert_eq!(refused(&after(12, 16), 16), "there is a hole of 4 bytes before the tensor 'b'");
        assert_eq!(refused(&after(4, 8), 8), "the tensor 'b' overlaps the one before it");
        assert!(refused(&after(8, 12), 11).contains("'b' ends at byte"));
        assert_eq!(refused(&after(8, 12), 13), "1 bytes after the last tensor belong to none");
        assert!(refused(&after(8, 16), 16).contains("'b' of type F32 and shape [1] has 8 bytes"));
        assert!(refused(&after(8, 4), 12).contains("'b'"));
        assert!(refused(&format!("{{{A},{A}}}"), 8).contains("the tensor 'a' occurs twice"));
        let huge = r#"{"a":{"dtype":"F32","shape":[9223372036854775807,9],"data_offsets":[0,8]}}"#;
        assert!(refused(huge, 8).contains("'a'"));
        assert!(refused("{]", 0).contains("cannot be read"));
    }

    #[test]
    fn headers_longer_than_their_file_are_refused() {
        assert!(header_len(1000u64.to_le_bytes(), 100).unwrap_err().contains("cut short"));
        assert!(header_len(u64::MAX.to_le_bytes(), 100).unwrap_err().contains("more than"));
        assert!(Header::from_bytes(b"1234").unwrap_err().contains("too few"));
    }
}
