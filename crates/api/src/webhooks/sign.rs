//! Signatures in the way of Standard Webhooks: HMAC-SHA256 over the event's id,
//! the time and the body, in base64, marked `v1,`. Receivers have libraries for it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use billet_control::Control;
use billet_model::Secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What every secret begins with.
const PREFIX: &str = "whsec_";

/// A new secret: 32 random bytes.
pub(crate) fn fresh_secret(control: &Control) -> Secret {
    let mut random = [0; 32];
    control.world.fill(&mut random);
    Secret::new(format!("{PREFIX}{}", STANDARD.encode(random)))
}

/// The header's value: a signature by each secret.
pub(super) fn signatures(
    secrets: &[Secret],
    id: &str,
    at: i64,
    body: &str,
) -> Result<String, String> {
    let signed = secrets.iter().map(|secret| signature(secret, id, at, body));
    Ok(signed.collect::<Result<Vec<_>, _>>()?.join(" "))
}

fn signature(secret: &Secret, id: &str, at: i64, body: &str) -> Result<String, String> {
    let key = secret.expose().strip_prefix(PREFIX);
    let key = key.and_then(|text| STANDARD.decode(text).ok());
    let key = key.ok_or("its secret cannot be read: rotate it")?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|e| e.to_string())?;
    for part in [id, ".", &at.to_string(), ".", body] {
        mac.update(part.as_bytes());
    }
    Ok(format!(
        "v1,{}",
        STANDARD.encode(mac.finalize().into_bytes())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's own example.
    #[test]
    fn it_signs_as_the_specification_does() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let body = r#"{"test": 2432232314}"#;
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signed = signatures(std::slice::from_ref(&secret), id, 1_614_265_330, body);
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed.as_deref(), Ok(expected));
        let two = signatures(&[secret.clone(), secret], id, 1_614_265_330, body);
        assert_eq!(two, Ok(format!("{expected} {expected}")));
        assert!(signatures(&[Secret::new("whsec_!")], id, 1, body).is_err());
    }
}
