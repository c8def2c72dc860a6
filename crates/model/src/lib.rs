//! The nouns of Billet: data only.
