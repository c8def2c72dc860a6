//! The program on a machine.
fn main() {}
