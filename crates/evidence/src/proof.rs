//! Making the proofs that [`crate::merkle`] checks, from stored nodes, in logarithmic time.
//!
//! A log keeps every *complete* node of its tree, as [`crate::Frontier::append`] hands them out:
//! once complete, a node never changes. A proof then reads a few of them per level, however many
//! leaves there are. [`MemoryTree`] keeps them in memory, for logs that fit and for tests.

use crate::{frontier::Frontier, merkle::TreeHash};

/// The place of a complete node: it covers the leaves from `index << level`, `1 << level` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    /// Height above the leaves, which are at 0.
    pub level: u32,
    /// Position among the nodes of this level, from 0.
    pub index: u64,
}

/// Where complete nodes are read from.
pub trait Nodes {
    /// The hash of a node, or nothing if the log does not hold it.
    fn node(&self, id: NodeId) -> Option<TreeHash>;
}

impl<F: Fn(NodeId) -> Option<TreeHash>> Nodes for F {
    fn node(&self, id: NodeId) -> Option<TreeHash> {
        self(id)
    }
}

/// Why a proof could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MakeProofError {
    /// The leaf asked for is not in the tree.
    #[error("proving inclusion: leaf {index} is not in a tree of {size}")]
    OutsideTree {
        /// The leaf's position, from 0.
        index: u64,
        /// The number of leaves.
        size: u64,
    },
    /// The earlier tree is larger than the later one.
    #[error("proving consistency: {old_size} leaves cannot have become {new_size}")]
    Shrunk {
        /// Leaves of the earlier tree.
        old_size: u64,
        /// Leaves of the later tree.
        new_size: u64,
    },
    /// The log lacks a node that it should hold.
    #[error("making a proof: the log lacks node {index} of level {level}", level = .0.level, index = .0.index)]
    MissingNode(NodeId),
}

/// The root over the first `size` leaves.
///
/// # Errors
/// When the log lacks a node.
pub fn root(nodes: &impl Nodes, size: u64) -> Result<TreeHash, MakeProofError> {
    if size == 0 {
        return Ok(TreeHash::empty());
    }
    range_hash(nodes, 0, size)
}

/// The proof that leaf `index` (from 0) is in the tree of the first `size` leaves.
///
/// # Errors
/// When there is no such leaf, or the log lacks a node.
pub fn inclusion_proof(
    nodes: &impl Nodes,
    index: u64,
    size: u64,
) -> Result<Vec<TreeHash>, MakeProofError> {
    if index >= size {
        return Err(MakeProofError::OutsideTree { index, size });
    }
    let mut proof = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(range_hash(nodes, middle, end)?);
            end = middle;
        } else {
            proof.push(range_hash(nodes, start, middle)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of the first `new_size` leaves begins with the first `old_size`.
///
/// # Errors
/// When `old_size` is the larger, or the log lacks a node.
pub fn consistency_proof(
    nodes: &impl Nodes,
    old_size: u64,
    new_size: u64,
) -> Result<Vec<TreeHash>, MakeProofError> {
    if old_size > new_size {
        return Err(MakeProofError::Shrunk { old_size, new_size });
    }
    let mut proof = Vec::new();
    if old_size == 0 || old_size == new_size {
        return Ok(proof);
    }
    let (mut start, mut end) = (0, new_size);
    while end != old_size {
        let middle = start + split(end - start);
        if old_size <= middle {
            proof.push(range_hash(nodes, middle, end)?);
            end = middle;
        } else {
            proof.push(range_hash(nodes, start, middle)?);
            start = middle;
        }
    }
    // Whoever checks knows this hash already where it is the whole earlier tree.
    if start != 0 {
        proof.push(range_hash(nodes, start, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The hash over the leaves from `start` to before `end`, where `start` is a multiple of the
/// smallest power of two that covers the range, as it is for every part of a tree.
fn range_hash(nodes: &impl Nodes, start: u64, end: u64) -> Result<TreeHash, MakeProofError> {
    let size = end - start;
    if size.is_power_of_two() {
        let level = size.ilog2();
        let id = NodeId {
            level,
            index: start >> level,
        };
        return nodes.node(id).ok_or(MakeProofError::MissingNode(id));
    }
    let middle = start + split(size);
    let left = range_hash(nodes, start, middle)?;
    let right = range_hash(nodes, middle, end)?;
    Ok(TreeHash::node(&left, &right))
}

/// A whole tree in memory, twice 32 bytes for each leaf.
#[derive(Debug, Clone, Default)]
pub struct MemoryTree {
    frontier: Frontier,
    levels: Vec<Vec<TreeHash>>,
}

impl MemoryTree {
    /// Appends a leaf by its hash.
    pub fn append(&mut self, leaf: TreeHash) {
        for (id, hash) in self.frontier.append(leaf) {
            let level = id.level as usize;
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            self.levels[level].push(hash);
        }
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The root over all leaves.
    pub fn root(&self) -> TreeHash {
        self.frontier.root()
    }
}

impl FromIterator<TreeHash> for MemoryTree {
    fn from_iter<I: IntoIterator<Item = TreeHash>>(leaves: I) -> Self {
        let mut tree = Self::default();
        for leaf in leaves {
            tree.append(leaf);
        }
        tree
    }
}

impl Nodes for MemoryTree {
    fn node(&self, id: NodeId) -> Option<TreeHash> {
        let index = usize::try_from(id.index).ok()?;
        self.levels.get(id.level as usize)?.get(index).copied()
    }
}
