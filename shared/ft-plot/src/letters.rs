//! The letters, which come with the program.

use std::sync::OnceLock;

use plotters::style::{FontStyle, register_font};

use crate::error::Error;

/// Makes the letters known to the drawing library.
pub(crate) fn letters() -> Result<(), Error> {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    let known = *KNOWN
        .get_or_init(|| register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT).is_ok());
    if known { Ok(()) } else { Err(Error::Draw("its letters cannot be read".into())) }
}
