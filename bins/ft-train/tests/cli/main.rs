//! Drives the built program as a user does: files, pipes, signals, and what it says on stderr.

mod accelerate;
mod adapters;
mod device;
mod examine;
mod faults;
#[cfg(unix)]
mod hub;
#[cfg(unix)]
mod killed;
mod memory;
mod mixtures;
mod options;
mod packed;
mod precision;
#[cfg(unix)]
mod processes;
mod random;
mod ranks;
mod recipe;
mod resume;
mod run;
mod same_bits;
mod support;
mod verify;
mod watch;
