//! Keys that sign calls, and the entry that says what an accepted key may do.

use auth::internal::{SigningKey, VerifyKeys};

/// The two halves of a key, as files.
pub(super) struct Pair {
    pub(super) files: Vec<(String, String)>,
    public: String,
}

/// A new pair for the service of that name.
pub(super) fn make_pair(name: &str) -> Result<Pair, String> {
    let (key, private) = SigningKey::generate_pem().map_err(|why| why.to_string())?;
    let public = key.public_pem();
    Ok(Pair {
        files: vec![
            (format!("{name}-signing.pem"), private),
            (format!("{name}-signing.pub"), public.clone()),
        ],
        public,
    })
}

/// What a key may be used for.
pub(super) struct Entry<'a> {
    pub(super) issuer: &'a str,
    pub(super) audiences: &'a [String],
    pub(super) scopes: &'a [String],
    pub(super) tenants: &'a [String],
}

impl Entry<'_> {
    /// The table for `MCP_INTERNAL_VERIFY_KEYS`, checked by its own reader.
    pub(super) fn table(&self, pair: &Pair) -> Result<String, String> {
        let list = |values: &[String]| {
            let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
            format!("[{}]", quoted.join(", "))
        };
        let table = format!(
            "[[keys]]\nissuer = {:?}\naudiences = {}\nscopes = {}\ntenants = {}\npublic_key = \
             \"\"\"\n{}\n\"\"\"\n",
            self.issuer,
            list(self.audiences),
            list(self.scopes),
            list(self.tenants),
            pair.public.replace("\r\n", "\n").trim_end(),
        );
        match VerifyKeys::parse(&table) {
            Ok(_) => Ok(table),
            Err(why) => Err(format!("the entry {why}")),
        }
    }
}
