//! What agent and control plane say to each other.
