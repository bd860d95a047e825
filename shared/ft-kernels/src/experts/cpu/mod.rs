//! Routing over slices, on the CPU.

mod route;
mod rows;

pub use route::{route, route_backward};
pub use rows::{gather_rows, row_dots, scatter_add};
