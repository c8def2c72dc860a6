//! Tokens, by the hash of their secret, and secrets, as they were encrypted.

use billet_model::{TokenId, people::Token};
use jiff::Timestamp;
use uuid::Uuid;

use super::doc;
use crate::{
    error::Result,
    statement::{Means::Duplicate, NoRow, Statement, Unique},
};

/// A token: a new one with its hash, a known one without.
pub(super) fn token(token: &Token, hash: Option<[u8; 32]>) -> Result<Statement> {
    let written = doc("token", token)?;
    Ok(match hash {
        Some(hash) => Statement::new(
            "INSERT INTO tokens (id, project, doc, last_used_at, hash, holder) \
             VALUES ($1, $2, $3, $4, $5, $6)",
            "token",
            &token.name,
        )
        .bind(token.id)
        .bind(token.project)
        .bind(written)
        .bind(token.last_used_at)
        .bind(hash.to_vec())
        .bind(token.user)
        .unique(&[
            Unique {
                index: "tokens_hash",
                columns: "tokens.hash",
                means: Duplicate("a token with the same secret as", 0),
            },
            Unique {
                index: "tokens_pkey",
                columns: "tokens.id",
                means: Duplicate("a token with the id", 0),
            },
        ]),
        None => Statement::new(
            "UPDATE tokens SET project = $2, doc = $3, last_used_at = $4 WHERE id = $1",
            "token",
            &token.name,
        )
        .bind(token.id)
        .bind(token.project)
        .bind(written)
        .bind(token.last_used_at)
        .no_row(NoRow::NotFound),
    })
}

/// A token has another secret; the one before may work on for a while. Nothing else of
/// it is written: somebody may have disabled it since it was read.
pub(super) fn rotate(token: &Token, hash: [u8; 32], old_until: Option<Timestamp>) -> Statement {
    Statement::new(
        // What stands on the right is what was there before, on both engines.
        "UPDATE tokens SET old_hash = hash, old_until = $3, hash = $2, rotated_at = $4 WHERE id = $1",
        "token",
        &token.name,
    )
    .bind(token.id)
    .bind(hash.to_vec())
    .bind(old_until)
    .bind(token.rotated_at)
    .unique(&[Unique {
        index: "tokens_hash",
        columns: "tokens.hash",
        means: Duplicate("a token with the same secret as", 0),
    }])
    .no_row(NoRow::NotFound)
}

/// A token was used: its time only ever rises.
pub(super) fn touch(id: TokenId, at: Timestamp) -> Statement {
    Statement::new(
        "UPDATE tokens SET last_used_at = $2 WHERE id = $1 \
         AND (last_used_at IS NULL OR last_used_at < $2)",
        "token",
        id,
    )
    .bind(id)
    .bind(at)
}

/// A secret.
pub(super) fn secret(owner: Uuid, kind: String, ciphertext: Vec<u8>) -> Statement {
    Statement::new(
        "INSERT INTO secrets (owner, kind, ciphertext) VALUES ($1, $2, $3) \
         ON CONFLICT (owner, kind) DO UPDATE SET ciphertext = excluded.ciphertext",
        "secret of",
        owner,
    )
    .bind(owner.to_string())
    .bind(kind)
    .bind(ciphertext)
}

/// No secret any more.
pub(super) fn no_secret(owner: Uuid, kind: String) -> Statement {
    Statement::new(
        "DELETE FROM secrets WHERE owner = $1 AND kind = $2",
        "secret of",
        owner,
    )
    .bind(owner.to_string())
    .bind(kind)
}
