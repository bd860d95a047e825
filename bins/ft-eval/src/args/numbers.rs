//! Numbers within bounds.

/// A finite number of at least 0.
pub fn not_negative(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("'{text}' is no number"))?;
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err("expected a number of at least 0".into()) }
}

/// A number above 0, and 1 at most.
pub fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("'{text}' is no number"))?;
    if value > 0.0 && value <= 1.0 { Ok(value) } else { Err("expected a number above 0, and 1 at most".into()) }
}
