//! Signed statements and the audit log's proofs: made here, verified anywhere.
