//! Reads the machine it runs on into an inventory.
