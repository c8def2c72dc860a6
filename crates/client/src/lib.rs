//! The typed API client that the CLI uses.
