//! The program billet.
fn main() {}
