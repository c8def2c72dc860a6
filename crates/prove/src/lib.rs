//! Measures and tests the machine it runs on.
