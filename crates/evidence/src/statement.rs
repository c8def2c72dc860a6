//! The in-toto Statement v1: what is said (`predicate`), in which words (`predicateType`), and of
//! which things (`subject`).
//!
//! A statement on its own proves nothing: it becomes evidence inside a signed [`crate::dsse`]
//! envelope. See <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md>.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The `_type` of every statement that Billet makes or accepts.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// Predicate type of the erase certificate.
pub const ERASE_CERTIFICATE: &str = billet_model::evidence::ERASE_PREDICATE;
/// Predicate type of the handover report.
pub const HANDOVER_REPORT: &str = "https://billet.dev/evidence/handover/v1";

/// A thing that a statement is about: a name, and the digests that tell it from every other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// What the thing is called, such as a machine's id or a drive's serial.
    pub name: String,
    /// Digests by algorithm, in lower-case hexadecimal, such as `sha256`.
    pub digest: BTreeMap<String, String>,
}

impl Subject {
    /// A subject that is known by the SHA-256 of `content`.
    pub fn sha256(name: impl Into<String>, content: &[u8]) -> Self {
        use sha2::{Digest, Sha256};
        let digest = crate::hex::encode(&Sha256::digest(content));
        Self {
            name: name.into(),
            digest: BTreeMap::from([("sha256".to_owned(), digest)]),
        }
    }
}

/// An in-toto statement with a predicate of type `P`; any JSON, where nothing is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement<P = serde_json::Value> {
    /// Always [`STATEMENT_TYPE`]; [`Statement::parse`] refuses any other.
    #[serde(rename = "_type")]
    pub statement_type: String,
    /// What the statement is about.
    pub subject: Vec<Subject>,
    /// The URI that says how to read the predicate.
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// What is said of the subjects.
    pub predicate: P,
}

/// Why bytes are not a statement, or not the statement that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// The bytes are not JSON of a statement's shape.
    #[error("reading a statement: not an in-toto statement")]
    Malformed(#[source] serde_json::Error),
    /// The bytes are a statement of another version, or of something else altogether.
    #[error("reading a statement: its type is {found:?}, not {STATEMENT_TYPE:?}")]
    WrongType {
        /// The `_type` that was found.
        found: String,
    },
    /// The statement is of another kind than the one that was asked for.
    #[error("reading a statement: its predicate type is {found:?}, not {wanted:?}")]
    WrongPredicateType {
        /// The predicate type that was found.
        found: String,
        /// The predicate type that was asked for.
        wanted: String,
    },
    /// The predicate does not have the shape of its type.
    #[error("reading a statement: the predicate is not one of {predicate_type:?}")]
    MalformedPredicate {
        /// The statement's predicate type.
        predicate_type: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The statement cannot be said in JSON.
    #[error("writing a statement: it cannot be turned into JSON")]
    NotJson(#[source] serde_json::Error),
}

impl<P> Statement<P> {
    /// A statement of kind `predicate_type` about `subject`.
    pub fn new(predicate_type: impl Into<String>, subject: Vec<Subject>, predicate: P) -> Self {
        Self {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject,
            predicate_type: predicate_type.into(),
            predicate,
        }
    }

    /// The bytes to sign.
    ///
    /// # Errors
    /// When the predicate cannot be said in JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StatementError>
    where
        P: Serialize,
    {
        serde_json::to_vec(self).map_err(StatementError::NotJson)
    }
}

impl Statement {
    /// Reads a statement with any predicate.
    ///
    /// # Errors
    /// When the bytes are not a statement, or one of another version.
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementError> {
        let statement: Self = serde_json::from_slice(bytes).map_err(StatementError::Malformed)?;
        if statement.statement_type != STATEMENT_TYPE {
            return Err(StatementError::WrongType {
                found: statement.statement_type,
            });
        }
        Ok(statement)
    }

    /// The same statement with its predicate read as a `P`, if it is of kind `predicate_type`.
    ///
    /// # Errors
    /// When the statement is of another kind, or its predicate has another shape.
    pub fn into_predicate<P: DeserializeOwned>(
        self,
        predicate_type: &str,
    ) -> Result<Statement<P>, StatementError> {
        if self.predicate_type != predicate_type {
            return Err(StatementError::WrongPredicateType {
                found: self.predicate_type,
                wanted: predicate_type.to_owned(),
            });
        }
        let predicate = serde_json::from_value(self.predicate).map_err(|source| {
            StatementError::MalformedPredicate {
                predicate_type: predicate_type.to_owned(),
                source,
            }
        })?;
        Ok(Statement {
            statement_type: self.statement_type,
            subject: self.subject,
            predicate_type: self.predicate_type,
            predicate,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Erased {
        drives: u32,
    }

    #[test]
    fn has_the_shape_of_the_specification() {
        let subject = Subject::sha256("m-1", b"");
        let statement = Statement::new(ERASE_CERTIFICATE, vec![subject], Erased { drives: 2 });
        let json: serde_json::Value =
            serde_json::from_slice(&statement.to_bytes().expect("JSON")).expect("JSON");
        assert_eq!(
            json,
            json!({
                "_type": "https://in-toto.io/Statement/v1",
                "subject": [{"name": "m-1", "digest": {
                    "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
                }}],
                "predicateType": "https://billet.dev/evidence/erase/v1",
                "predicate": {"drives": 2},
            })
        );
    }

    #[test]
    fn reads_back_only_as_what_it_is() {
        let bytes = Statement::new(ERASE_CERTIFICATE, vec![], json!({"drives": 2}))
            .to_bytes()
            .expect("JSON");
        let parsed = Statement::parse(&bytes).expect("a statement");
        let typed: Statement<Erased> = parsed
            .clone()
            .into_predicate(ERASE_CERTIFICATE)
            .expect("typed");
        assert_eq!(typed.predicate, Erased { drives: 2 });
        assert!(matches!(
            parsed.clone().into_predicate::<Erased>(HANDOVER_REPORT),
            Err(StatementError::WrongPredicateType { .. })
        ));
        assert!(matches!(
            parsed.into_predicate::<Vec<u8>>(ERASE_CERTIFICATE),
            Err(StatementError::MalformedPredicate { .. })
        ));
        let older = String::from_utf8(bytes)
            .expect("UTF-8")
            .replace("Statement/v1", "Statement/v0.1");
        assert!(matches!(
            Statement::parse(older.as_bytes()),
            Err(StatementError::WrongType { .. })
        ));
        assert!(matches!(
            Statement::parse(b"[]"),
            Err(StatementError::Malformed(_))
        ));
    }
}
