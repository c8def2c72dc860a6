//! The tree against the vectors of Certificate Transparency, and against RFC 6962's own recursive
//! definitions, which are written out here as naively as they stand there.

use billet_evidence::{
    Frontier, TreeHash,
    merkle::{ProofError, verify_consistency, verify_inclusion},
    proof::{MakeProofError, MemoryTree, NodeId, Nodes, consistency_proof, inclusion_proof, root},
};
use proptest::prelude::*;

/// The leaves that Certificate Transparency's implementations are tested with.
const LEAVES: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];

/// The roots over the first 0 to 8 of them.
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn hash(hex: &str) -> TreeHash {
    TreeHash::from_hex(hex).expect("a hash")
}

fn leaves(count: usize) -> Vec<TreeHash> {
    (0..count)
        .map(|n| TreeHash::leaf(n.to_string().as_bytes()))
        .collect()
}

fn largest_power_below(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// RFC 6962, section 2.1.
fn naive_root(leaves: &[TreeHash]) -> TreeHash {
    match leaves {
        [] => TreeHash::empty(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(largest_power_below(leaves.len()));
            TreeHash::node(&naive_root(left), &naive_root(right))
        }
    }
}

/// RFC 6962, section 2.1.1.
fn naive_path(index: usize, leaves: &[TreeHash]) -> Vec<TreeHash> {
    if leaves.len() == 1 {
        return vec![];
    }
    let k = largest_power_below(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut path, other) = if index < k {
        (naive_path(index, left), right)
    } else {
        (naive_path(index - k, right), left)
    };
    path.push(naive_root(other));
    path
}

/// RFC 6962, section 2.1.2.
fn naive_subproof(size: usize, leaves: &[TreeHash], whole: bool) -> Vec<TreeHash> {
    if size == leaves.len() {
        return if whole {
            vec![]
        } else {
            vec![naive_root(leaves)]
        };
    }
    let k = largest_power_below(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut proof, other) = if size <= k {
        (naive_subproof(size, left, whole), right)
    } else {
        (naive_subproof(size - k, right, false), left)
    };
    proof.push(naive_root(other));
    proof
}

#[test]
fn roots_of_certificate_transparency() {
    let mut frontier = Frontier::new();
    assert_eq!(frontier.root(), hash(ROOTS[0]));
    for (leaf, root) in LEAVES.iter().zip(&ROOTS[1..]) {
        frontier.append(TreeHash::leaf(leaf));
        assert_eq!(frontier.root(), hash(root), "of {} leaves", frontier.size());
    }
}

#[test]
fn proofs_of_certificate_transparency() {
    let tree: MemoryTree = LEAVES.iter().map(|leaf| TreeHash::leaf(leaf)).collect();
    let expected = [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ];
    assert_eq!(
        inclusion_proof(&tree, 0, 8),
        Ok(expected.map(hash).to_vec())
    );
    let expected = [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(
        consistency_proof(&tree, 6, 8),
        Ok(expected.map(hash).to_vec())
    );
}

/// Every pair of sizes and every leaf of small trees: made as the RFC defines, and verified.
#[test]
fn small_trees_in_full() {
    const MOST: usize = 40;
    let all = leaves(MOST);
    let tree: MemoryTree = all.iter().copied().collect();
    for size in 0..=MOST {
        let now = &all[..size];
        let new_root = naive_root(now);
        assert_eq!(root(&tree, size as u64), Ok(new_root));
        for (index, leaf) in now.iter().enumerate() {
            let proof = inclusion_proof(&tree, index as u64, size as u64).expect("a proof");
            assert_eq!(proof, naive_path(index, now));
            verify_inclusion(leaf, index as u64, size as u64, &proof, &new_root).expect("included");
        }
        for old_size in 0..=size {
            let proof = consistency_proof(&tree, old_size as u64, size as u64).expect("a proof");
            let expected = if old_size == 0 {
                vec![]
            } else {
                naive_subproof(old_size, now, true)
            };
            assert_eq!(proof, expected, "{old_size} to {size}");
            let old_root = naive_root(&all[..old_size]);
            verify_consistency(old_size as u64, size as u64, &old_root, &new_root, &proof)
                .unwrap_or_else(|error| panic!("{old_size} to {size}: {error}"));
        }
    }
}

/// Each lie about a small tree that keeps to the proof's form is found.
#[test]
fn no_proof_shows_what_is_not_so() {
    const SIZE: u64 = 13;
    let all = leaves(SIZE as usize);
    let tree: MemoryTree = all.iter().copied().collect();
    let other = TreeHash::leaf(b"never logged");
    for index in 0..SIZE {
        let proof = inclusion_proof(&tree, index, SIZE).expect("a proof");
        for (claimed, leaf) in all.iter().enumerate() {
            let holds = verify_inclusion(leaf, claimed as u64, SIZE, &proof, &tree.root()).is_ok();
            assert_eq!(
                holds,
                claimed as u64 == index,
                "the proof of {index} for {claimed}"
            );
        }
        let leaf = &all[index as usize];
        assert!(verify_inclusion(&other, index, SIZE, &proof, &tree.root()).is_err());
        assert!(verify_inclusion(leaf, index, SIZE, &proof[1..], &tree.root()).is_err());
        let longer = [proof.as_slice(), &[other]].concat();
        assert!(verify_inclusion(leaf, index, SIZE, &longer, &tree.root()).is_err());
    }
    for old_size in 0..=SIZE {
        let old_root = root(&tree, old_size).expect("a root");
        let proof = consistency_proof(&tree, old_size, SIZE).expect("a proof");
        let check = |old: &TreeHash, new: &TreeHash, proof: &[TreeHash]| {
            verify_consistency(old_size, SIZE, old, new, proof)
        };
        assert!(
            check(&other, &tree.root(), &proof).is_err(),
            "another past of {old_size}"
        );
        if old_size > 0 {
            assert!(
                check(&old_root, &other, &proof).is_err(),
                "another future of {old_size}"
            );
        }
        let longer = [proof.as_slice(), &[other]].concat();
        assert!(check(&old_root, &tree.root(), &longer).is_err());
        for position in 0..proof.len() {
            let mut changed = proof.clone();
            changed[position] = other;
            assert!(check(&old_root, &tree.root(), &changed).is_err());
        }
    }
}

#[test]
fn questions_outside_the_tree_are_errors() {
    let tree: MemoryTree = leaves(3).into_iter().collect();
    let none = |_: NodeId| None;
    let missing = MakeProofError::MissingNode(NodeId { level: 1, index: 0 });
    assert_eq!(
        inclusion_proof(&tree, 3, 3),
        Err(MakeProofError::OutsideTree { index: 3, size: 3 })
    );
    assert_eq!(
        consistency_proof(&tree, 3, 2),
        Err(MakeProofError::Shrunk {
            old_size: 3,
            new_size: 2
        })
    );
    assert_eq!(inclusion_proof(&none, 2, 3), Err(missing));
    let top = tree.root();
    assert_eq!(
        verify_inclusion(&top, 1, 1, &[], &top),
        Err(ProofError::OutsideTree { index: 1, size: 1 })
    );
    assert_eq!(
        verify_consistency(2, 1, &top, &top, &[]),
        Err(ProofError::Shrunk {
            old_size: 2,
            new_size: 1
        })
    );
    assert_eq!(
        verify_consistency(3, 3, &top, &TreeHash::empty(), &[]),
        Err(ProofError::WrongRoot)
    );
    assert_eq!(
        verify_consistency(0, 0, &top, &top, &[]),
        Err(ProofError::WrongRoot)
    );
}

#[test]
fn a_frontier_is_stored_and_taken_up_again() {
    let mut frontier = Frontier::new();
    for leaf in leaves(11) {
        frontier.append(leaf);
    }
    assert_eq!(frontier.hashes().len(), 3);
    let json = serde_json::to_string(&frontier).expect("JSON");
    assert_eq!(
        serde_json::from_str::<Frontier>(&json).expect("a frontier"),
        frontier
    );
    let short = json.replace("\"size\":11", "\"size\":12");
    let error = serde_json::from_str::<Frontier>(&short).expect_err("12 has two bits");
    assert!(error.to_string().contains("has 2 hashes, not 3"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn large_trees_agree_with_the_definition(
        size in 1usize..3000, index in any::<prop::sample::Index>(), old in any::<prop::sample::Index>(),
    ) {
        let all = leaves(size);
        let tree: MemoryTree = all.iter().copied().collect();
        let (index, old_size) = (index.index(size), old.index(size) + 1);
        prop_assert_eq!(tree.root(), naive_root(&all));

        let proof = inclusion_proof(&tree, index as u64, size as u64).expect("a proof");
        prop_assert_eq!(&proof, &naive_path(index, &all));
        prop_assert!(
            verify_inclusion(&all[index], index as u64, size as u64, &proof, &tree.root()).is_ok()
        );

        let proof = consistency_proof(&tree, old_size as u64, size as u64).expect("a proof");
        prop_assert_eq!(&proof, &naive_subproof(old_size, &all, true));
        let old_root = naive_root(&all[..old_size]);
        prop_assert!(
            verify_consistency(old_size as u64, size as u64, &old_root, &tree.root(), &proof).is_ok()
        );
    }

    /// Proofs of arbitrary hashes at arbitrary places never panic, and never hold.
    #[test]
    fn rubbish_proves_nothing(
        index in any::<u64>(), size in any::<u64>(), hashes in prop::collection::vec(any::<[u8; 32]>(), 0..70),
    ) {
        let proof: Vec<TreeHash> = hashes.into_iter().map(TreeHash).collect();
        let (leaf, top) = (TreeHash::leaf(b"leaf"), TreeHash::leaf(b"root"));
        prop_assert!(verify_inclusion(&leaf, index, size, &proof, &top).is_err());
        if index > 0 {
            prop_assert!(verify_consistency(index, size, &leaf, &top, &proof).is_err());
        }
    }
}

/// A log far too large to hash here: its nodes are made up, and only the number read is checked.
#[test]
fn proofs_read_few_nodes() {
    let read = std::cell::Cell::new(0u32);
    let nodes = |id: NodeId| {
        read.set(read.get() + 1);
        Some(TreeHash::leaf(format!("{id:?}").as_bytes()))
    };
    let size = (1 << 40) + 12_345;
    let proof = inclusion_proof(&nodes, 987_654_321, size).expect("a proof");
    assert!(proof.len() <= 41, "{}", proof.len());
    assert!(read.get() <= 41 + 40, "{}", read.get());
    let _: Option<TreeHash> = nodes.node(NodeId { level: 0, index: 0 });
}
