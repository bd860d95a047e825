//! The values of a GGUF file's metadata.

use std::borrow::Cow;

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole number without a sign, of 8, 16, 32 or 64 bits.
    Unsigned(u64),
    /// A whole number with a sign, of 8, 16, 32 or 64 bits.
    Signed(i64),
    /// A number of 32 bits.
    F32(f32),
    /// A number of 64 bits.
    F64(f64),
    /// True or false.
    Bool(bool),
    /// A text.
    String(String),
    /// Several values of one kind.
    Array(Array),
}

/// The kinds of values that stand alone or in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Without a sign, with so many bytes.
    Unsigned(u8),
    /// With a sign, with so many bytes.
    Signed(u8),
    F32,
    F64,
    Bool,
    String,
    Array,
}

impl Kind {
    /// The kinds by their numbers, `gguf_metadata_value_type`.
    const BY_NUMBER: [Kind; 13] = [
        Kind::Unsigned(1),
        Kind::Signed(1),
        Kind::Unsigned(2),
        Kind::Signed(2),
        Kind::Unsigned(4),
        Kind::Signed(4),
        Kind::F32,
        Kind::Bool,
        Kind::String,
        Kind::Array,
        Kind::Unsigned(8),
        Kind::Signed(8),
        Kind::F64,
    ];

    /// The kind with this number.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        Self::BY_NUMBER.get(usize::try_from(number).ok()?).copied()
    }

    /// Its number.
    pub(super) fn number(self) -> u32 {
        // Every kind that is made here is in the table.
        Self::BY_NUMBER.iter().position(|kind| *kind == self).unwrap_or_default() as u32
    }

    /// The bytes of a value; none for texts and lists, which have their lengths before them.
    pub(super) fn bytes(self) -> Option<usize> {
        match self {
            Kind::Unsigned(bytes) | Kind::Signed(bytes) => Some(bytes.into()),
            Kind::F32 => Some(4),
            Kind::F64 => Some(8),
            Kind::Bool => Some(1),
            Kind::String | Kind::Array => None,
        }
    }

    /// The value that these bytes are, as many as [`Kind::bytes`] says.
    pub(super) fn value(self, bytes: &[u8]) -> Option<Value> {
        let mut wide = [0; 8];
        wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        Some(match self {
            Kind::Unsigned(_) => Value::Unsigned(bits),
            Kind::Signed(bytes) => {
                let unused = 64 - 8 * u32::from(bytes);
                Value::Signed((bits << unused).cast_signed() >> unused)
            }
            Kind::F32 => Value::F32(f32::from_bits(bits as u32)),
            Kind::F64 => Value::F64(f64::from_bits(bits)),
            Kind::Bool => Value::Bool(bits != 0),
            Kind::String | Kind::Array => return None,
        })
    }
}

impl Value {
    /// A whole number that is not negative.
    pub fn whole(&self) -> Option<u64> {
        match self {
            Value::Unsigned(n) => Some(*n),
            Value::Signed(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    /// A scalar as text; none for lists.
    pub fn text(&self) -> Option<String> {
        Some(match self {
            Value::Unsigned(n) => n.to_string(),
            Value::Signed(n) => n.to_string(),
            Value::F32(x) => x.to_string(),
            Value::F64(x) => x.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::String(text) => text.clone(),
            Value::Array(_) => return None,
        })
    }

    /// What it is, for messages.
    pub fn told(&self) -> String {
        match self {
            Value::String(text) => format!("{text:?}"),
            Value::Array(array) => format!("a list of {}", array.len()),
            other => other.text().unwrap_or_default(),
        }
    }
}

/// A list in the metadata: its bytes as they are in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    pub(super) kind: Kind,
    pub(super) len: u64,
    /// Of a text its length in 8 bytes, then its bytes.
    pub(super) bytes: Vec<u8>,
}

impl Array {
    /// How many elements it has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its elements, one after the other, unless they are texts.
    pub fn values(&self) -> Option<impl Iterator<Item = Value>> {
        let size = self.kind.bytes().or(self.is_empty().then_some(1))?;
        Some(self.bytes.chunks_exact(size).filter_map(|bytes| self.kind.value(bytes)))
    }

    /// Its elements, if they are texts: without zeros at their ends, and with a mark where bytes are no UTF-8.
    pub fn strings(&self) -> Option<Vec<Cow<'_, str>>> {
        if self.kind != Kind::String {
            return None;
        }
        let (mut rest, mut all) = (self.bytes.as_slice(), Vec::new());
        while let Some((length, after)) = rest.split_first_chunk() {
            let (text, after) = after.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
            all.push(String::from_utf8_lossy(without_zeros(text)));
            rest = after;
        }
        Some(all)
    }
}

/// Texts should not end in zeros, but some do.
pub(super) fn without_zeros(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., 0] = text {
        text = rest;
    }
    text
}
