//! What can go wrong with a drawing.

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
