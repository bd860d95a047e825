//! Values of options that are more than a number or a name.

/// A share of common shingles.
pub fn similarity(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("expected a share above 0, up to 1, such as 0.8".into()),
    }
}

/// One byte, by itself or by its name.
pub fn delimiter(text: &str) -> Result<u8, String> {
    let byte = match text.to_ascii_lowercase().as_str() {
        "tab" | "\\t" => b'\t',
        "comma" => b',',
        "semicolon" => b';',
        "pipe" | "bar" => b'|',
        "space" => b' ',
        _ => match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => *byte,
            _ => return Err("expected one character such as ; or | or tab".into()),
        },
    };
    Ok(byte)
}
