//! A seeded simulator of the control loop, with checkers and planted bugs.
