//! Drawings of what was measured: bars in SVG, curves in SVG and PNG.
//!
//! Nothing of the machine goes into a drawing: the letters come with the program, so that the same figures give the
//! same file everywhere.

mod bars;
mod chart;
mod scatter;
mod training;

pub use bars::{Bar, Panel, bars, figure};
pub use chart::{Chart, Curve, Curves};
pub use scatter::{Dot, Scatter};
pub use training::training;

use std::sync::OnceLock;

use plotters::style::{FontStyle, register_font};

/// Why a drawing could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The drawing library's words.
    #[error("cannot draw the figures: {0}")]
    Draw(String),
    /// The PNG encoder's words.
    #[error("cannot write the drawing as PNG")]
    Png(#[from] png::EncodingError),
    /// There is nothing to draw.
    #[error(
        "no line has a 'loss' or an 'eval_loss', so there is no curve to draw; expected the metrics.jsonl of a run"
    )]
    NoLoss,
}

/// Makes the letters known to the drawing library.
fn letters() -> Result<(), Error> {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    let known = *KNOWN
        .get_or_init(|| register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT).is_ok());
    if known { Ok(()) } else { Err(Error::Draw("its letters cannot be read".into())) }
}
