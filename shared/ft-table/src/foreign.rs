//! What is no table, told by its first bytes.

use crate::error::Error;

/// First bytes, what they mean, and what to do.
const KNOWN: [(&[u8], &str, &str); 14] = [
    (b"BZh", "compressed with bzip2", "bzip2 -dc FILE"),
    (b"\xfd7zXZ\0", "compressed with xz", "xz -dc FILE"),
    (b"\x04\x22\x4d\x18", "compressed with lz4", "lz4 -dc FILE"),
    (b"\x1f\x9d", "compressed with compress", "gzip -dc FILE"),
    (b"LZIP", "compressed with lzip", "lzip -dc FILE"),
    (b"PK\x03\x04", "a zip archive", "unzip -p FILE"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z x -so FILE"),
    (b"Rar!\x1a\x07", "a RAR archive", "unrar p -inul FILE"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file", ""),
    (b"SQLite format 3\0", "an SQLite database", ""),
    (b"\x89HDF\r\n\x1a\n", "HDF5", ""),
    (b"\x93NUMPY", "a NumPy array", ""),
    (b"Obj\x01", "Avro", ""),
    (b"%PDF", "a PDF", ""),
];

/// Whether the first bytes are those of no text, whose encoding has no meaning.
pub(crate) fn is_binary(head: &[u8]) -> bool {
    let tables = [&b"PAR1"[..], b"ARROW1", &[0xff; 4]];
    tables.into_iter().chain(KNOWN.iter().map(|(magic, ..)| *magic)).any(|magic| head.starts_with(magic))
}

/// Fails if the first bytes are those of something that is not read.
pub(crate) fn refuse_foreign(name: &str, head: &[u8]) -> Result<(), Error> {
    let Some((_, what, command)) = KNOWN.iter().find(|(magic, ..)| head.starts_with(magic)) else {
        return Ok(());
    };
    // The parts of a workbook are named in its first bytes.
    let holds = |word: &[u8]| memchr::memmem::find(&head[..head.len().min(4096)], word).is_some();
    let is_workbook = head.starts_with(b"PK") && (holds(b"[Content_Types].xml") || holds(b"mimetypeapplication/vnd."));
    let advice = if is_workbook {
        return Err(Error::format(name, "is a spreadsheet's own format; save it as CSV (UTF-8) first"));
    } else if command.is_empty() {
        "expected CSV, TSV, JSON, Parquet or Arrow; export it as one of them".to_owned()
    } else {
        format!("which is not read here (gzip and zstd are); unpack it first: {command} | ft-prep - …")
    };
    Err(Error::format(name, format!("is {what}, {advice}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_table_is_told_with_what_to_do() {
        let told = |head: &[u8]| refuse_foreign("a.csv", head).err().map(|error| error.to_string());
        for (head, what) in [
            (
                &b"BZh91AY"[..],
                "compressed with bzip2, which is not read here (gzip and zstd are); unpack it first: bzip2 -dc",
            ),
            (b"PK\x03\x04 [Content_Types].xml", "save it as CSV"),
            (b"PK\x03\x04 a.csv", "a zip archive"),
            (b"%PDF-1.7", "a PDF, expected CSV"),
        ] {
            let told = told(head).unwrap();
            assert!(told.contains(what), "{told}");
        }
        assert_eq!((told(b"a,b\n"), told(b"PAR1")), (None, None));
    }
}
