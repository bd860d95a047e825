//! `ft-prep` as its users meet it: the built program, files and pipes.

mod faults;
mod formats;
mod messages;
mod shapes;
mod split;
mod support;
