//! Drawings of what was measured: bars in SVG, curves in SVG and PNG.
//!
//! Nothing of the machine goes into a drawing: the letters come with the program, so that the same figures give the
//! same file everywhere.

mod bars;
mod chart;
mod error;
mod letters;
mod scatter;
mod training;

pub use bars::{Bar, Panel, bars, figure};
pub use chart::{Chart, Curve, Curves};
pub use error::Error;
pub use scatter::{Dot, Scatter};
pub use training::training;
