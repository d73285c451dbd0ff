//! Credentials to principals.
//!
//! [`token`] is the identity of outside callers: access tokens of one configured issuer.
//! [`internal`] is the identity that our services show each other: a short-lived signed token for
//! each request. [`MadeKey`] and [`ShownKey`] are API keys. [`AdminToken`] is the shared secret of the Node server's management tools.

mod admin_token;
mod api_key;
pub mod internal;
pub mod token;

pub use admin_token::AdminToken;
pub use api_key::{MadeKey, NoRandomness, ShownKey, random_text};
