//! The decisions of Billet: pure.
