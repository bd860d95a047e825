//! `ft-prep` as its users meet it: the built program, files and pipes.

mod copies;
mod faults;
mod formats;
mod inputs;
mod messages;
mod reading;
mod shapes;
mod split;
mod support;
mod tables;
