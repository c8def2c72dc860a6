//! The loop: facts from the store, a decision from plan, carried out.
