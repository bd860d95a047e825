//! Writing the header of a GGUF file, version 3 (`ggml/docs/gguf.md` of llama.cpp).
//!
//! The header says where every tensor begins, so all sizes are known before the first byte of data is written, and the
//! data may be written in any order. Values carry the type that llama.cpp looks for under their key: a count of 64 bits
//! where it reads one of 32 is refused by it.

use super::marks::{ALIGNMENT, MAGIC};
use super::values::{Array, Kind, Value};

/// The version of the format.
const VERSION: u32 = 3;

/// A value to be written, of the type of its variant.
#[derive(Debug, Clone, PartialEq)]
pub enum Typed {
    /// 32 bits without a sign: counts, and ids of tokens.
    U32(u32),
    /// 64 bits without a sign.
    U64(u64),
    /// 32 bits with a sign.
    I32(i32),
    /// A number of 32 bits.
    F32(f32),
    /// A number of 64 bits.
    F64(f64),
    /// True or false.
    Bool(bool),
    /// A text.
    Text(String),
    /// Texts.
    Texts(Vec<String>),
    /// Numbers of 32 bits with a sign: the kinds of tokens.
    I32s(Vec<i32>),
    /// Numbers of 32 bits.
    F32s(Vec<f32>),
    /// True or false, several times.
    Bools(Vec<bool>),
    /// A list as it was read.
    List(Array),
}

/// What goes into a file under each key, in the order in which it is written.
pub type Metadata = Vec<(String, Typed)>;

impl From<&Value> for Typed {
    /// The value again; whole numbers get 32 bits where that is enough, as all of llama.cpp's keys have them.
    fn from(value: &Value) -> Self {
        match value {
            Value::Unsigned(n) => u32::try_from(*n).map_or(Typed::U64(*n), Typed::U32),
            Value::Signed(n) => i32::try_from(*n).map_or(Typed::U64(n.cast_unsigned()), Typed::I32),
            Value::F32(x) => Typed::F32(*x),
            Value::F64(x) => Typed::F64(*x),
            Value::Bool(flag) => Typed::Bool(*flag),
            Value::String(text) => Typed::Text(text.clone()),
            Value::Array(array) => Typed::List(array.clone()),
        }
    }
}

impl Typed {
    fn kind(&self) -> Kind {
        match self {
            Typed::U32(_) => Kind::Unsigned(4),
            Typed::U64(_) => Kind::Unsigned(8),
            Typed::I32(_) => Kind::Signed(4),
            Typed::F32(_) => Kind::F32,
            Typed::F64(_) => Kind::F64,
            Typed::Bool(_) => Kind::Bool,
            Typed::Text(_) => Kind::String,
            Typed::Texts(_) | Typed::I32s(_) | Typed::F32s(_) | Typed::Bools(_) | Typed::List(_) => Kind::Array,
        }
    }

    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Typed::U32(n) => to.extend(n.to_le_bytes()),
            Typed::U64(n) => to.extend(n.to_le_bytes()),
            Typed::I32(n) => to.extend(n.to_le_bytes()),
            Typed::F32(x) => to.extend(x.to_le_bytes()),
            Typed::F64(x) => to.extend(x.to_le_bytes()),
            Typed::Bool(flag) => to.push(u8::from(*flag)),
            Typed::Text(text) => string(text, to),
            Typed::Texts(list) => {
                list_head(Kind::String, list.len() as u64, to);
                list.iter().for_each(|text| string(text, to));
            }
            Typed::I32s(list) => {
                list_head(Kind::Signed(4), list.len() as u64, to);
                list.iter().for_each(|n| to.extend(n.to_le_bytes()));
            }
            Typed::F32s(list) => {
                list_head(Kind::F32, list.len() as u64, to);
                list.iter().for_each(|x| to.extend(x.to_le_bytes()));
            }
            Typed::Bools(list) => {
                list_head(Kind::Bool, list.len() as u64, to);
                to.extend(list.iter().map(|flag| u8::from(*flag)));
            }
            Typed::List(array) => {
                list_head(array.kind, array.len, to);
                to.extend(&array.bytes);
            }
        }
    }
}

fn string(text: &str, to: &mut Vec<u8>) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}

fn list_head(kind: Kind, len: u64, to: &mut Vec<u8>) {
    to.extend(kind.number().to_le_bytes());
    to.extend(len.to_le_bytes());
}

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTensor {
    /// Its name in the file.
    pub name: String,
    /// Its shape, the last dimension the one whose elements lie beside each other; the file has it reversed.
    pub shape: Vec<usize>,
    /// Its type, a number of ggml's `ggml_type`.
    pub kind: u32,
    /// How many bytes it takes.
    pub bytes: u64,
}

/// Where each tensor begins, counted from the header's end, and where the last one's filling ends.
pub fn places(tensors: &[NewTensor]) -> (Vec<u64>, u64) {
    let mut end = 0u64;
    let mut place = |tensor: &NewTensor| {
        let start = end;
        end = (start + tensor.bytes).next_multiple_of(ALIGNMENT);
        start
    };
    let starts = tensors.iter().map(&mut place).collect();
    (starts, end)
}

/// The header: its length, which is where the data begin, is a multiple of the format's alignment, and depends on no
/// value but the lengths of texts and lists.
pub fn header(metadata: &[(String, Typed)], tensors: &[NewTensor]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        string(key, &mut bytes);
        bytes.extend(value.kind().number().to_le_bytes());
        value.write(&mut bytes);
    }
    for (tensor, place) in tensors.iter().zip(places(tensors).0) {
        string(&tensor.name, &mut bytes);
        bytes.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().rev().for_each(|size| bytes.extend((*size as u64).to_le_bytes()));
        bytes.extend(tensor.kind.to_le_bytes());
        bytes.extend(place.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::Content;
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let metadata = vec![
            ("general.architecture".to_owned(), Typed::Text("llama".into())),
            ("a.count".to_owned(), Typed::U32(7)),
            ("a.large".to_owned(), Typed::U64(1 << 40)),
            ("a.signed".to_owned(), Typed::I32(-3)),
            ("a.eps".to_owned(), Typed::F32(1e-5)),
            ("a.wide".to_owned(), Typed::F64(0.1)),
            ("a.flag".to_owned(), Typed::Bool(true)),
            ("t.texts".to_owned(), Typed::Texts(vec!["a b".into(), String::new(), "\u{2581}é".into()])),
            ("t.kinds".to_owned(), Typed::I32s(vec![1, 3])),
            ("t.scores".to_owned(), Typed::F32s(vec![-1.5, 0.0])),
            ("t.flags".to_owned(), Typed::Bools(vec![true, false])),
        ];
        let tensor =
            |name: &str, shape: &[usize], bytes| NewTensor { name: name.into(), shape: shape.into(), kind: 0, bytes };
        let tensors = [tensor("x", &[3, 5], 60), tensor("y", &[2], 8)];
        let bytes = header(&metadata, &tensors);
        let (starts, end) = places(&tensors);
        assert_eq!((starts.as_slice(), end), ([0, 64].as_slice(), 96));
        let read = Content::read(bytes.as_slice(), bytes.len() as u64 + end).unwrap();
        assert_eq!(read.data_offset, bytes.len() as u64);
        assert_eq!((read.number("a.count"), read.flag("a.flag")), (Some(7), Some(true)));
        assert_eq!(read.strings("t.texts").unwrap(), ["a b", "", "\u{2581}é"]);
        assert_eq!(read.floats("t.scores").unwrap(), [-1.5, 0.0]);
        assert_eq!((read.tensors["x"].shape.as_slice(), read.tensors["y"].offset), ([3, 5].as_slice(), 64));
        // What was read and is written again has the same bytes, but for the order of the keys.
        let again: Metadata = read.metadata.iter().map(|(key, value)| (key.clone(), Typed::from(value))).collect();
        let mut sorted = metadata;
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(header(&again, &tensors), header(&sorted, &tensors));
    }
}
