//! The program from outside: what `resmlp deploy` and people's scripts rely on.

mod boards;
mod cli;
mod page;
mod place;
#[path = "../boards/unpack.rs"]
mod unpack;
mod watch;
