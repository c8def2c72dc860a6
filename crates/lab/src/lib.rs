//! An emulated datacentre to build, test and demonstrate against.
