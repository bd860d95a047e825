//! The pieces of a `tokenizer.model`: SentencePiece's `ModelProto`, of which field 1 is read (`sentencepiece_model.proto`).

/// A piece with its score and kind; SentencePiece's numbers of kinds are llama.cpp's.
pub(super) struct Piece {
    pub score: f32,
    pub kind: i32,
}

/// A field of a message: its number, and its value.
enum Field<'a> {
    Number(u64),
    Fixed32([u8; 4]),
    Bytes(&'a [u8]),
}

/// All pieces in the order of their ids; none if the bytes are no such message.
pub(super) fn pieces(bytes: &[u8]) -> Option<Vec<Piece>> {
    let mut all = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        if let (1, Field::Bytes(message)) = field(&mut rest)? {
            all.push(piece(message)?);
        }
    }
    (!all.is_empty()).then_some(all)
}

fn piece(mut message: &[u8]) -> Option<Piece> {
    let mut piece = Piece { score: 0.0, kind: super::pieces::NORMAL };
    while !message.is_empty() {
        match field(&mut message)? {
            (2, Field::Fixed32(bytes)) => piece.score = f32::from_le_bytes(bytes),
            (3, Field::Number(kind)) => piece.kind = i32::try_from(kind).ok().filter(|kind| (1..=6).contains(kind))?,
            _ => {}
        }
    }
    Some(piece)
}

/// Takes a field off the front.
fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = varint(rest)?;
    let value = match key & 7 {
        0 => Field::Number(varint(rest)?),
        1 => Field::Bytes(take(rest, 8)?),
        2 => {
            let len = usize::try_from(varint(rest)?).ok()?;
            Field::Bytes(take(rest, len)?)
        }
        5 => Field::Fixed32(take(rest, 4)?.try_into().ok()?),
        _ => return None,
    };
    Some((key >> 3, value))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (front, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(front)
}
