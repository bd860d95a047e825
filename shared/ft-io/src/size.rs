//! Arguments of memory and files: how many bytes.

/// `1000000`, `512MB` or `2GiB` in bytes: `5GB` is 5·10⁹, as in Hugging Face's libraries, `5GiB` 5·2³⁰.
///
/// # Errors
/// What was expected, where the text is no number of bytes.
pub fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("b", 1),
    ];
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit) =
        UNITS.iter().find_map(|(name, unit)| Some((lower.strip_suffix(name)?, *unit))).unwrap_or((lower.as_str(), 1));
    let wrong = || "expected a number of bytes, or one with KB, MB, GB, TB, KiB, MiB, GiB or TiB".to_owned();
    let size = number.trim().parse::<f64>().map_err(|_| wrong())? * unit as f64;
    if (0.0..u64::MAX as f64).contains(&size) { Ok(size as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_read_as_hugging_face_reads_them() {
        assert_eq!(bytes("5GB"), Ok(5_000_000_000));
        assert_eq!(bytes("1.5 GiB"), Ok(3 << 29));
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("0"), Ok(0));
        assert_eq!(bytes("10kb"), Ok(10_000));
        for wrong in ["", "GB", "-1", "5XB", "nan", "3 apples"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
