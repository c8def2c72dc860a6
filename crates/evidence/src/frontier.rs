//! The right edge of a tree: all that is needed to append to it and to know its root.
//!
//! A log of millions of rows is carried from one sealing to the next as at most 64 hashes, one for
//! each set bit of its size. Persist the frontier and the nodes that [`Frontier::append`] returns
//! in the transaction that seals the row, and proofs can be made later by [`crate::proof`].

use serde::{Deserialize, Serialize};

use crate::{merkle::TreeHash, proof::NodeId};

/// The complete subtrees of a tree, largest first. Its JSON is `{"size": n, "hashes": [hex, …]}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Frontier {
    size: u64,
    hashes: Vec<TreeHash>,
}

/// What [`Frontier`] looks like before it was checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    size: u64,
    hashes: Vec<TreeHash>,
}

/// A stored frontier whose number of hashes does not fit its size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reading a tree's frontier: a tree of {size} leaves has {expected} hashes, not {found}")]
pub struct FrontierError {
    /// The size that is stored.
    pub size: u64,
    /// The number of hashes that a tree of this size has.
    pub expected: u32,
    /// The number of hashes that are stored.
    pub found: usize,
}

impl TryFrom<Stored> for Frontier {
    type Error = FrontierError;

    fn try_from(stored: Stored) -> Result<Self, FrontierError> {
        Self::from_parts(stored.size, stored.hashes)
    }
}

impl Frontier {
    /// The frontier of no leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts together what [`Frontier::size`] and [`Frontier::hashes`] gave.
    ///
    /// # Errors
    /// When the number of hashes does not fit the size.
    pub fn from_parts(size: u64, hashes: Vec<TreeHash>) -> Result<Self, FrontierError> {
        let expected = size.count_ones();
        if hashes.len() != expected as usize {
            let found = hashes.len();
            return Err(FrontierError {
                size,
                expected,
                found,
            });
        }
        Ok(Self { size, hashes })
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the complete subtrees, largest first.
    pub fn hashes(&self) -> &[TreeHash] {
        &self.hashes
    }

    /// Appends a leaf by its hash and returns the nodes that this completed, the leaf first.
    pub fn append(&mut self, leaf: TreeHash) -> Vec<(NodeId, TreeHash)> {
        let mut id = NodeId {
            level: 0,
            index: self.size,
        };
        let mut hash = leaf;
        let mut completed = vec![(id, hash)];
        // Like adding one to a binary number: each subtree of this height carries into the next.
        while id.index & 1 == 1 {
            let Some(left) = self.hashes.pop() else { break };
            hash = TreeHash::node(&left, &hash);
            id = NodeId {
                level: id.level + 1,
                index: id.index >> 1,
            };
            completed.push((id, hash));
        }
        self.hashes.push(hash);
        self.size += 1;
        completed
    }

    /// The root of the tree.
    pub fn root(&self) -> TreeHash {
        let mut hashes = self.hashes.iter().rev();
        let Some(last) = hashes.next() else {
            return TreeHash::empty();
        };
        hashes.fold(*last, |right, left| TreeHash::node(left, &right))
    }
}
