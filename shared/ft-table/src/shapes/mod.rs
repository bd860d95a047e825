//! The shapes of training data: rows of any common form become conversations (or texts), with nothing lost on the way.
//!
//! ```no_run
//! use ft_io::Source;
//! use ft_table::shapes::{Fault, Reading, Shape};
//! use ft_table::TableReader;
//!
//! # fn main() -> Result<(), ft_table::Error> {
//! let mut reader = TableReader::open(&Source::parse("chats.jsonl"), None)?;
//! let reading = Reading::default();
//! // None where the columns tell no shape; `reading.preference` decides between `chosen` and `rejected`.
//! let shape = Shape::detect(reader.columns(), &reading).expect("a known shape");
//! // Only what the shape reads, and only where the input has it. Leave it out to keep all columns.
//! reader.select(&shape.columns_of(reader.columns()))?;
//! while let Some(rows) = reader.next_rows()? {
//!     for row in 0..rows.len() {
//!         match shape.example(&rows, row, &reading) {
//!             Ok(example) => println!("{} messages", example.messages.len()),
//!             Err(Fault::Drop(reason)) => println!("{}: left out, {reason}", rows.place(row)),
//!             Err(Fault::Broken(told)) => return Err(rows.error(row, told)),
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Shape::gather`] gives the example without asking for a question and an answer, for prompts that are to be answered.
//! The fields of [`ChatMessage`] and [`Example`] are those of the columns in [`crate::schema`].

mod content;
mod conversation;
mod detect;
mod example;
mod flags;
mod message;
mod reading;
mod reason;
mod roles;
mod tools;

pub use detect::{Shape, shape_names};
pub use example::Example;
pub use flags::{is_flag, train};
pub use message::ChatMessage;
pub use reading::{Preference, Reading};
pub use reason::{Fault, Part, Reason};
pub use roles::Roles;
pub use tools::is_message_list;
