//! The sealer: rows of the audit log become leaves of a Merkle tree, in order.
//!
//! Every complete node of the tree is kept, so a proof reads a few dozen of
//! them however long the log is. The tree's right edge stands in `meta`, and is
//! compared and set: of several sealers at once one goes forward.

use std::collections::{BTreeMap, BTreeSet};

use billet_evidence::{
    Frontier, TreeHash,
    proof::{self, MakeProofError, NodeId},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Connection};

use crate::{
    Store,
    error::{Result, StoreError},
    run::fetch,
    select::{column, noun},
    statement::{NoRow, Statement},
};

/// Rows sealed in one transaction.
const AT_ONCE: i64 = 1000;

/// Rows inserted with one statement.
const ROWS_A_STATEMENT: usize = 200;

/// Where the tree's right edge is kept.
const EDGE: &str = "store.audit.edge";

const WHAT: &str = "audit tree";

#[derive(Serialize, Deserialize)]
struct Edge {
    frontier: Frontier,
    sealed_at: Option<Timestamp>,
}

/// The log's head: what a checkpoint signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditHead {
    /// Rows that are sealed.
    pub size: u64,
    /// The tree's root over them.
    pub root: TreeHash,
    /// When rows were last sealed.
    pub sealed_at: Option<Timestamp>,
}

impl Store {
    /// Seals all rows that are committed and not sealed yet; the number of them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn seal(&self, now: Timestamp) -> Result<u64> {
        let mut sealed = 0;
        loop {
            match self.seal_some(now).await {
                Ok(0) => return Ok(sealed),
                Ok(some) => sealed += some,
                // Another sealer was quicker: go on from where it stopped.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) if error.is_transient() => {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn seal_some(&self, now: Timestamp) -> Result<u64> {
        let mut connection = self.engine.writing().await?;
        let mut transaction = connection
            .begin_with(self.engine.begin_sql())
            .await
            .map_err(StoreError::database("beginning to seal the audit log"))?;
        let (mut edge, stored) = edge(&mut transaction).await?;
        let unsealed = unsealed(&mut transaction).await?;
        if unsealed.is_empty() {
            return Ok(0);
        }
        let first = edge.frontier.size();
        let mut leaves = Vec::with_capacity(unsealed.len());
        let mut nodes = Vec::with_capacity(unsealed.len() * 2);
        for (seq, hash) in &unsealed {
            leaves.push((edge.frontier.size(), *seq));
            nodes.extend(edge.frontier.append(*hash));
        }
        edge.sealed_at = Some(now);
        // The edge first: its row is what a second sealer waits for.
        let mut statements = vec![
            Statement::new(
                "UPDATE meta SET value = $2 WHERE key = $1 AND value = $3",
                WHAT,
                "edge",
            )
            .bind(EDGE)
            .bind(edge_text(&edge)?)
            .bind(stored)
            .no_row(NoRow::Conflict),
        ];
        for rows in leaves.chunks(ROWS_A_STATEMENT) {
            let mut insert = rows_of(
                "INSERT INTO audit_leaves (leaf, seq) VALUES ",
                2,
                rows.len(),
            );
            for (leaf, seq) in rows {
                insert = insert.bind(number(*leaf)).bind(*seq);
            }
            statements.push(insert);
        }
        for rows in nodes.chunks(ROWS_A_STATEMENT) {
            let into = "INSERT INTO audit_nodes (level, position, hash) VALUES ";
            let mut insert = rows_of(into, 3, rows.len());
            for (id, hash) in rows {
                insert = insert
                    .bind(id.level)
                    .bind(number(id.index))
                    .bind(hash.0.to_vec());
            }
            statements.push(insert);
        }
        statements.push(
            Statement::new(
                "DELETE FROM audit_unsealed WHERE seq IN \
                 (SELECT seq FROM audit_leaves WHERE leaf >= $1)",
                WHAT,
                "queue",
            )
            .bind(number(first)),
        );
        self.engine.run_all(&mut transaction, &statements).await?;
        transaction
            .commit()
            .await
            .map_err(StoreError::database("sealing the audit log"))?;
        Ok(leaves.len() as u64)
    }

    /// The log's head.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit_head(&self) -> Result<AuditHead> {
        let mut connection = self.engine.reading().await?;
        let (edge, _) = edge(&mut connection).await?;
        Ok(AuditHead {
            size: edge.frontier.size(),
            root: edge.frontier.root(),
            sealed_at: edge.sealed_at,
        })
    }

    /// The root over the log's first `size` rows.
    ///
    /// # Errors
    /// When the log is shorter, or the database fails.
    pub async fn audit_root(&self, size: u64) -> Result<TreeHash> {
        self.with_nodes(|nodes| proof::root(&nodes, size)).await
    }

    /// The proof that leaf `index` is among the log's first `size` rows.
    ///
    /// # Errors
    /// When it is not, when the log is shorter, or when the database fails.
    pub async fn audit_proof(&self, index: u64, size: u64) -> Result<Vec<TreeHash>> {
        self.with_nodes(|nodes| proof::inclusion_proof(&nodes, index, size))
            .await
    }

    /// The proof that the log's first `new_size` rows begin with the first `old_size`.
    ///
    /// # Errors
    /// When the sizes are not of this log, or when the database fails.
    pub async fn audit_consistency(&self, old_size: u64, new_size: u64) -> Result<Vec<TreeHash>> {
        self.with_nodes(|nodes| proof::consistency_proof(&nodes, old_size, new_size))
            .await
    }

    /// Makes a proof. Which nodes it takes does not depend on their hashes, so
    /// a first run with none finds out, one query reads them, and a second run
    /// makes the proof.
    async fn with_nodes<T>(
        &self,
        make: impl Fn(&dyn Fn(NodeId) -> Option<TreeHash>) -> Result<T, MakeProofError>,
    ) -> Result<T> {
        let ids = needed(&make)?;
        let nodes = self.nodes_at(&ids).await?;
        make(&|id| nodes.get(&id).copied()).map_err(unprovable)
    }

    async fn nodes_at(&self, ids: &BTreeSet<NodeId>) -> Result<BTreeMap<NodeId, TreeHash>> {
        let mut found = BTreeMap::new();
        if ids.is_empty() {
            return Ok(found);
        }
        let mut sql = String::from("SELECT level, position, hash FROM audit_nodes WHERE ");
        let mut read = Statement::read("", WHAT);
        for (n, id) in ids.iter().enumerate() {
            if n > 0 {
                sql.push_str(" OR ");
            }
            let place = n * 2 + 1;
            sql.push_str(&format!("(level = ${place} AND position = ${})", place + 1));
            read = read.bind(id.level).bind(number(id.index));
        }
        read.sql = sql.into();
        for row in &self.fetch(read).await? {
            let level: i64 = column(WHAT, row, 0)?;
            let index: i64 = column(WHAT, row, 1)?;
            let id = NodeId {
                level: u32::try_from(level).unwrap_or(u32::MAX),
                index: index.unsigned_abs(),
            };
            found.insert(id, tree_hash(column(WHAT, row, 2)?)?);
        }
        Ok(found)
    }
}

/// The nodes that a proof takes.
fn needed<T>(
    make: &impl Fn(&dyn Fn(NodeId) -> Option<TreeHash>) -> Result<T, MakeProofError>,
) -> Result<BTreeSet<NodeId>> {
    let asked = std::cell::RefCell::new(BTreeSet::new());
    make(&|id| {
        asked.borrow_mut().insert(id);
        Some(TreeHash::empty())
    })
    .map_err(unprovable)?;
    Ok(asked.into_inner())
}

/// The tree's right edge, and the text that it is stored as.
async fn edge(connection: &mut AnyConnection) -> Result<(Edge, String)> {
    let read = Statement::read("SELECT value FROM meta WHERE key = $1", WHAT).bind(EDGE);
    let rows = fetch(connection, read).await?;
    let row = rows.first().ok_or_else(|| StoreError::Corrupt {
        what: WHAT,
        why: "its edge is gone".into(),
    })?;
    Ok((noun(WHAT, row)?, column(WHAT, row, 0)?))
}

fn edge_text(edge: &Edge) -> Result<String> {
    serde_json::to_string(edge).map_err(|e| StoreError::Corrupt {
        what: WHAT,
        why: e.to_string(),
    })
}

/// Rows that wait for the sealer: their numbers and leaf hashes.
async fn unsealed(connection: &mut AnyConnection) -> Result<Vec<(i64, TreeHash)>> {
    let read = Statement::read(
        "SELECT a.seq, a.hash FROM audit_unsealed u JOIN audit a ON a.seq = u.seq \
         ORDER BY u.seq LIMIT $1",
        WHAT,
    )
    .bind(AT_ONCE);
    let rows = fetch(connection, read).await?;
    rows.iter()
        .map(|row| Ok((column(WHAT, row, 0)?, tree_hash(column(WHAT, row, 1)?)?)))
        .collect()
}

fn tree_hash(bytes: Vec<u8>) -> Result<TreeHash> {
    bytes
        .try_into()
        .map(TreeHash)
        .map_err(|_| StoreError::Corrupt {
            what: WHAT,
            why: "a hash is not 32 bytes".into(),
        })
}

fn unprovable(error: MakeProofError) -> StoreError {
    StoreError::Constraint {
        what: WHAT,
        id: "proof".into(),
        rule: error.to_string(),
    }
}

/// A statement with placeholders for `rows` rows of `columns` values.
fn rows_of(into: &str, columns: usize, rows: usize) -> Statement {
    let mut sql = String::from(into);
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for place in 1..=columns {
            sql.push_str(if place == 1 { "$" } else { ", $" });
            sql.push_str(&(row * columns + place).to_string());
        }
        sql.push(')');
    }
    let mut statement = Statement::new("", WHAT, "rows");
    statement.sql = sql.into();
    statement
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
