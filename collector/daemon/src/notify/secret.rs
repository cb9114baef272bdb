//! Signing of webhook bodies, as Standard Webhooks 1.0 says, and the secret that does it.
//! Called when a target is configured and at each attempt. Must never show the secret: `Debug` is masked, and only the
//! state file is given the text.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_PAD_INDIFFERENT};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const PREFIX: &str = "whsec_";
/// The specification's bounds.
const BYTES_MIN: usize = 24;
const BYTES_MAX: usize = 64;

/// A symmetric secret, `whsec_` and base64.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// Why a text is no secret. Says nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Not `whsec_` and base64.
    #[error("a secret is `whsec_` followed by base64")]
    Encoding,
    /// Too short to be safe, or too long to be meant.
    #[error("a secret has 24 to 64 bytes under its base64, not {bytes}")]
    Length {
        /// Bytes that it has.
        bytes: usize,
    },
}

impl Secret {
    /// Reads `whsec_` and base64.
    ///
    /// # Errors
    /// When it is something else, or too short or too long.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let base64 = text.trim().strip_prefix(PREFIX).ok_or(SecretError::Encoding)?;
        let bytes = STANDARD_PAD_INDIFFERENT.decode(base64).map_err(|_| SecretError::Encoding)?;
        if !(BYTES_MIN..=BYTES_MAX).contains(&bytes.len()) {
            return Err(SecretError::Length { bytes: bytes.len() });
        }
        Ok(Self(bytes))
    }

    /// Returns the secret itself, for the state file.
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// Returns the value of `webhook-signature` for one attempt.
    pub fn signature(&self, event_id: &str, timestamp_s: i64, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(format!("{event_id}.{timestamp_s}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(set)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_that_of_the_specification() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = secret.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_survives_its_text_and_hides_in_debug() {
        let secret = Secret::parse("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz").unwrap();
        assert_eq!(Secret::parse(&secret.expose()), Ok(secret.clone()));
        assert_eq!(format!("{secret:?}"), "Secret(set)");
    }

    #[test]
    fn what_is_no_secret_is_refused_without_repeating_it() {
        assert_eq!(Secret::parse("hunter2"), Err(SecretError::Encoding));
        assert_eq!(Secret::parse("whsec_%%%"), Err(SecretError::Encoding));
        assert_eq!(Secret::parse("whsec_c2hvcnQ="), Err(SecretError::Length { bytes: 5 }));
        assert_eq!(Secret::parse(&format!("whsec_{}", "A".repeat(88))), Err(SecretError::Length { bytes: 66 }));
    }
}
