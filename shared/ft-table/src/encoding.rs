//! Encodings of text other than UTF-8.

use std::io::{self, Read};
use std::str::FromStr;

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// An encoding by one of its names, as browsers know them (the Encoding Standard of the WHATWG): `windows-1252`,
/// `latin1` (the same there), `utf-16le`, `shift_jis`, `gb18030` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextEncoding(&'static Encoding);

impl TextEncoding {
    /// Its name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Whether nothing has to be done.
    pub(crate) fn is_utf8(self) -> bool {
        self.0 == UTF_8
    }
}

impl FromStr for TextEncoding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let label = match text.to_ascii_lowercase().as_str() {
            // Python's names for what is known under others.
            "latin-1" | "latin_1" => "latin1".into(),
            "utf16" => "utf-16".into(),
            "utf-16-le" | "utf_16_le" => "utf-16le".into(),
            "utf-16-be" | "utf_16_be" => "utf-16be".into(),
            "utf8" | "utf_8" | "utf-8-sig" => "utf-8".into(),
            cp if cp.starts_with("cp") && cp[2..].parse::<u16>().is_ok() => {
                if cp[2..].starts_with("125") {
                    cp.replace("cp", "windows-")
                } else {
                    cp.replace("cp", "ibm")
                }
            }
            other => other.replace('_', "-"),
        };
        Encoding::for_label(label.as_bytes())
            .or_else(|| Encoding::for_label(text.as_bytes()))
            .map(Self)
            .ok_or_else(|| "expected a name such as utf-8, utf-16le, windows-1252, latin1, shift_jis or gb18030".into())
    }
}

/// UTF-16 by its byte order mark, or by the zero bytes of its first characters.
pub(crate) fn utf16(head: &[u8]) -> Option<TextEncoding> {
    let found = if head.starts_with(&[0xff, 0xfe]) && !head.starts_with(&[0xff, 0xfe, 0, 0]) {
        UTF_16LE
    } else if head.starts_with(&[0xfe, 0xff]) {
        UTF_16BE
    } else {
        // Most characters of a header and of JSON are ASCII, and no text in UTF-8 has a zero.
        let head = &head[..head.len().min(64) & !1];
        let zeroes = |odd: usize| head.iter().skip(odd).step_by(2).filter(|&&byte| byte == 0).count();
        match (zeroes(0), zeroes(1)) {
            _ if head.len() < 4 => return None,
            (low, high) if 4 * high > head.len() && 8 * low < high => UTF_16LE,
            (high, low) if 4 * high > head.len() && 8 * low < high => UTF_16BE,
            _ => return None,
        }
    };
    Some(TextEncoding(found))
}

/// Reads UTF-8 where the bytes have another encoding.
pub(crate) struct Decoded<R> {
    inner: R,
    encoding: TextEncoding,
    decoder: Decoder,
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes before `input[start]`.
    before: u64,
    is_last: bool,
    is_done: bool,
}

const INPUT: usize = 64 << 10;

impl<R: Read> Decoded<R> {
    pub fn new(inner: R, encoding: TextEncoding) -> Self {
        let decoder = encoding.0.new_decoder_with_bom_removal();
        let input = vec![0; INPUT];
        Self { inner, encoding, decoder, input, start: 0, end: 0, before: 0, is_last: false, is_done: false }
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end && !self.is_last {
            self.start = 0;
            self.end = self.inner.read(&mut self.input)?;
            self.is_last = self.end == 0;
        }
        Ok(())
    }

    fn broken(&self) -> io::Error {
        let told = format!("it is not {} at byte {}", self.encoding.name(), self.before);
        io::Error::new(io::ErrorKind::InvalidData, told)
    }
}

/// The longest character: less room gives none.
const CHARACTER: usize = 4;

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while !self.is_done && buffer.len() - filled >= CHARACTER {
            self.fill()?;
            let (input, output) = (&self.input[self.start..self.end], &mut buffer[filled..]);
            let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(input, output, self.is_last);
            self.start += read;
            self.before += read as u64;
            filled += written;
            match result {
                DecoderResult::Malformed(..) => return Err(self.broken()),
                DecoderResult::OutputFull => break,
                DecoderResult::InputEmpty => self.is_done = self.is_last,
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8], encoding: TextEncoding) -> Result<String, String> {
        let mut text = String::new();
        // Through a narrow pipe, so that characters are cut.
        let narrow =
            bytes.chunks(3).fold(Box::new(io::empty()) as Box<dyn Read>, |all, chunk| Box::new(all.chain(chunk)));
        Decoded::new(narrow, encoding).read_to_string(&mut text).map_err(|error| error.to_string())?;
        Ok(text)
    }

    #[test]
    fn names_as_browsers_and_python_have_them() {
        for (name, known) in [
            ("latin1", "windows-1252"),
            ("latin-1", "windows-1252"),
            ("cp1252", "windows-1252"),
            ("Windows-1250", "windows-1250"),
            ("utf-16", "UTF-16LE"),
            ("UTF_16_LE", "UTF-16LE"),
            ("utf8", "UTF-8"),
            ("shift_jis", "Shift_JIS"),
            ("cp866", "IBM866"),
        ] {
            assert_eq!(name.parse::<TextEncoding>().map(TextEncoding::name), Ok(known), "{name}");
        }
        assert!("ebcdic".parse::<TextEncoding>().is_err());
    }

    #[test]
    fn characters_are_whole_wherever_the_bytes_are_cut() {
        let text = "it’s 5 € 😀\nß";
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(decoded(&little, TextEncoding(UTF_16LE)).unwrap(), text);
        assert_eq!(decoded(&big, TextEncoding(UTF_16BE)).unwrap(), text);
        let with_mark = [&[0xff, 0xfe][..], &little].concat();
        assert_eq!(decoded(&with_mark, TextEncoding(UTF_16LE)).unwrap(), text);
        let told = decoded(&little[..little.len() - 1], TextEncoding(UTF_16LE)).unwrap_err();
        assert!(told.starts_with("it is not UTF-16LE at byte"), "{told}");
        assert_eq!(decoded(b"it\x92s 5 \x80", "cp1252".parse().unwrap()).unwrap(), "it’s 5 €");
    }

    #[test]
    fn utf16_is_told_by_its_mark_or_its_zeroes() {
        let name = |head: &[u8]| utf16(head).map(TextEncoding::name);
        assert_eq!(name(&[0xff, 0xfe, b'a', 0]), Some("UTF-16LE"));
        assert_eq!(name(&[0xfe, 0xff, 0, b'a']), Some("UTF-16BE"));
        assert_eq!(name(b"a\0,\0b\0"), Some("UTF-16LE"));
        assert_eq!(name(b"\0a\0,\0b"), Some("UTF-16BE"));
        assert_eq!((name(b"a,b\n1,2"), name(b"PAR1\0\0\0\0"), name(b"ARROW1\0\0")), (None, None, None));
        assert_eq!(name(&[0xff, 0xff, 0xff, 0xff, 0, 0]), None);
    }
}
