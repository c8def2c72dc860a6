//! The control loop in a simulated world.

mod mutants;
mod seeds;
