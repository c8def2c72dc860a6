//! What stands against a connection to PostgreSQL by TLS, and the way out of it. The driver says
//! the first, in the words of its library, and nothing of the second.

use std::{error::Error, io};

use rustls::CertificateError as Certificate;

use crate::StoreError;

/// An error of `doing` something that begins with a connection to this URL.
pub(crate) fn connecting(doing: String, url: &str, source: sqlx::Error) -> StoreError {
    match way_out(url, &source) {
        Some(way_out) => StoreError::Tls {
            doing,
            way_out,
            source,
        },
        None => StoreError::Database { doing, source },
    }
}

/// What is wrong and what helps, where TLS is what it fails for.
fn way_out(url: &str, error: &sqlx::Error) -> Option<&'static str> {
    if let Some(refused) = rustls_error(error) {
        return Some(match refused {
            rustls::Error::InvalidCertificate(why) => certificate(why),
            _ => {
                "the two do not come to terms about TLS: let the server have TLS 1.2 or 1.3 (`ssl_min_protocol_version`)"
            }
        });
    }
    match error {
        // In words alone: the driver has no type for it.
        sqlx::Error::Tls(why) if why.to_string().contains("does not support TLS") => Some(
            "the server does not speak TLS, and `sslmode` asks for it: switch `ssl` on in postgresql.conf, or say sslmode=disable where nobody else is on the way",
        ),
        sqlx::Error::Io(error) if names_files(url) && is_of_a_file(error) => {
            Some("a file that `sslrootcert`, `sslcert` or `sslkey` names cannot be read")
        }
        sqlx::Error::Tls(_) => {
            Some("look at the files that `sslrootcert`, `sslcert` and `sslkey` name: each is PEM")
        }
        _ => None,
    }
}

fn names_files(url: &str) -> bool {
    let (_, options) = url.split_once('?').unwrap_or_default();
    let named = |option: &str| {
        let option = option.replace('-', "");
        ["sslrootcert=", "sslca=", "sslcert=", "sslkey="]
            .iter()
            .any(|key| option.starts_with(key))
    };
    options.split('&').any(named)
}

fn is_of_a_file(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | PermissionDenied | IsADirectory)
}

fn certificate(why: &Certificate) -> &'static str {
    match why {
        Certificate::UnknownIssuer | Certificate::BadSignature => {
            "the server's certificate is of no authority that is trusted: give its authority's certificate, PEM, as `sslrootcert`"
        }
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
            "the server's certificate is for another name: reach it by the name that stands there, or say sslmode=verify-ca where its authority's word is enough"
        }
        Certificate::Expired
        | Certificate::ExpiredContext { .. }
        | Certificate::NotValidYet
        | Certificate::NotValidYetContext { .. } => {
            "the server's certificate is not valid at this time: renew it, or look at the clocks"
        }
        _ => "the server's certificate cannot be used: give it another one",
    }
}

/// The error of the TLS library in an error of the driver, however deep.
fn rustls_error(error: &sqlx::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // Its source is that of what it holds, and not what it holds.
        let held = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if let Some(found) = held.and_then(|held| held.downcast_ref()) {
            return Some(found);
        }
        cause = error.source();
    }
    None
}
