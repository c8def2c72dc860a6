//! The hash tree of RFC 6962: its hashes, and the checks of its two proofs.
//!
//! An *inclusion proof* shows that a leaf is in the tree that a root stands for; a *consistency
//! proof* shows that a later tree only appended to an earlier one. Checking either needs nothing
//! but what is in this module's arguments. Proofs are made in [`crate::proof`], and a tree that
//! grows is kept as a [`crate::Frontier`].

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

/// A hash of the tree: SHA-256, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TreeHash(pub [u8; 32]);

impl TreeHash {
    /// The hash of a leaf with this content. Differs from every inner node's by its first byte.
    pub fn leaf(content: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([0x00]);
        hasher.update(content);
        Self(hasher.finalize().into())
    }

    /// The hash of an inner node above `left` and `right`.
    pub fn node(left: &Self, right: &Self) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([0x01]);
        hasher.update(left.0);
        hasher.update(right.0);
        Self(hasher.finalize().into())
    }

    /// The root of the tree without leaves.
    pub fn empty() -> Self {
        Self(Sha256::digest([]).into())
    }

    /// Reads the 64 lower-case hexadecimal digits that `Display` writes.
    pub fn from_hex(text: &str) -> Option<Self> {
        crate::hex::decode(text).map(Self)
    }
}

impl fmt::Display for TreeHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&crate::hex::encode(&self.0))
    }
}

impl fmt::Debug for TreeHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TreeHash({self})")
    }
}

impl Serialize for TreeHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TreeHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text)
            .ok_or_else(|| de::Error::custom("a tree hash is 64 lower-case hexadecimal digits"))
    }
}

/// Why a proof shows nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The leaf is said to lie outside the tree.
    #[error("checking an inclusion proof: leaf {index} is not in a tree of {size}")]
    OutsideTree {
        /// The leaf's position, from 0.
        index: u64,
        /// The number of leaves.
        size: u64,
    },
    /// The earlier tree is said to be larger than the later one.
    #[error("checking a consistency proof: {old_size} leaves cannot have become {new_size}")]
    Shrunk {
        /// Leaves of the earlier tree.
        old_size: u64,
        /// Leaves of the later tree.
        new_size: u64,
    },
    /// The proof has too many hashes or too few for trees of these sizes.
    #[error("checking a proof: it has the wrong number of hashes")]
    WrongLength,
    /// The proof leads to another root.
    #[error("checking a proof: it leads to another root")]
    WrongRoot,
}

/// Checks that the leaf with hash `leaf` is at `index` (from 0) in the tree of `size` leaves under
/// `root`. The algorithm of RFC 9162, section 2.1.3.2.
///
/// # Errors
/// When the proof does not show that.
pub fn verify_inclusion(
    leaf: &TreeHash,
    index: u64,
    size: u64,
    proof: &[TreeHash],
    root: &TreeHash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutsideTree { index, size });
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::WrongLength);
        }
        if node & 1 == 1 || node == last {
            hash = TreeHash::node(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = TreeHash::node(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::WrongLength);
    }
    if hash == *root {
        Ok(())
    } else {
        Err(ProofError::WrongRoot)
    }
}

/// Checks that the tree of `new_size` leaves under `new_root` begins with the `old_size` leaves
/// under `old_root`. The algorithm of RFC 9162, section 2.1.4.2; from the empty tree, and between
/// equal sizes, the proof is empty.
///
/// # Errors
/// When the proof does not show that.
pub fn verify_consistency(
    old_size: u64,
    new_size: u64,
    old_root: &TreeHash,
    new_root: &TreeHash,
    proof: &[TreeHash],
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::Shrunk { old_size, new_size });
    }
    if old_size == new_size || old_size == 0 {
        let expected = if old_size == 0 {
            TreeHash::empty()
        } else {
            *new_root
        };
        let empty_new = new_size == 0 && *new_root != TreeHash::empty();
        return match proof {
            [] if *old_root == expected && !empty_new => Ok(()),
            [] => Err(ProofError::WrongRoot),
            _ => Err(ProofError::WrongLength),
        };
    }

    let (mut node, mut last) = (old_size - 1, new_size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    // An earlier tree that is a perfect subtree of the later one is its own first hash.
    let mut hashes = proof.iter();
    let first = if old_size.is_power_of_two() {
        old_root
    } else {
        hashes.next().ok_or(ProofError::WrongLength)?
    };
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in hashes {
        if last == 0 {
            return Err(ProofError::WrongLength);
        }
        if node & 1 == 1 || node == last {
            old_hash = TreeHash::node(sibling, &old_hash);
            new_hash = TreeHash::node(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = TreeHash::node(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::WrongLength);
    }
    if old_hash == *old_root && new_hash == *new_root {
        Ok(())
    } else {
        Err(ProofError::WrongRoot)
    }
}
