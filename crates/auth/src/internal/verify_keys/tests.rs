//! Which keys a text holds, and what each of them may sign.

use super::super::tests::claims_of;
use super::*;

fn table(key: &SigningKey, more: &str) -> String {
    format!(
        "[[keys]]\nissuer = \"billing\"\n{more}\npublic_key = \"\"\"\n{}\"\"\"\n",
        key.public_pem()
    )
}

const BOUNDS: &str =
    "audiences = [\"registry\"]\nscopes = [\"mcp:tools:read\"]\ntenants = [\"acme\"]";

#[test]
fn plain_keys_and_tables_stand_in_one_file() {
    let (gateway, billing) = (
        SigningKey::generate().unwrap(),
        SigningKey::generate().unwrap(),
    );
    let text = format!(
        "# gateways\n{}\n# internal services\n{}",
        gateway.public_pem(),
        table(&billing, BOUNDS)
    );
    let keys = VerifyKeys::parse(&text).unwrap();
    assert_eq!(
        keys.ids(),
        BTreeMap::from([
            (gateway.id().as_str(), ""),
            (billing.id().as_str(), "billing")
        ])
    );
    let only = VerifyKeys::parse(&table(&billing, BOUNDS)).unwrap();
    assert_eq!(only.ids().len(), 1);
    let twice = VerifyKeys::parse(&(gateway.public_pem() + &gateway.public_pem())).unwrap();
    assert_eq!(twice.ids().len(), 1, "the same key for the same use");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let key = SigningKey::generate().unwrap();
    let pem = key.public_pem();
    let refusal = |text: &str| VerifyKeys::parse(text).unwrap_err().to_string();
    for (text, why) in [
        (format!("{pem}\nbadly pasted"), "neither a PEM block"),
        (format!("keys = 1\n{pem}"), "neither a PEM block"),
        (pem.clone() + &table(&key, BOUNDS), "twice"),
        (table(&key, ""), "missing field"),
        (
            table(&key, &format!("{BOUNDS}\nadmin = true")),
            "unknown field",
        ),
        (
            table(&key, &BOUNDS.replace("registry", "gateway")),
            "neither registry nor executor",
        ),
        (
            table(&key, &BOUNDS.replace("[\"mcp:tools:read\"]", "[]")),
            "scopes of billing is empty",
        ),
        (table(&key, &BOUNDS.replace("acme", "")), "is no tenant"),
        (
            table(&key, BOUNDS).replace("\"billing\"", "\"Billing Ltd\""),
            "lower-case letters",
        ),
        (
            table(&key, BOUNDS).replace("PUBLIC KEY", "PRIVATE KEY"),
            "PRIVATE KEY",
        ),
        (
            table(&key, BOUNDS).replace("-----BEGIN", "-----XEGIN"),
            "holds no key",
        ),
    ] {
        let refused = refusal(&text);
        assert!(refused.contains(why), "{why}: {refused}");
        assert!(!refused.contains("MCowBQ"), "no keys in {refused}");
    }
}

#[test]
fn a_listed_key_signs_within_its_bounds_only() {
    let grant = |scopes: &[&str], tenants: &[&str]| Grant {
        issuer: "billing".to_owned(),
        audiences: vec!["executor".to_owned()],
        scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        tenants: tenants.iter().map(|&tenant| tenant.to_owned()).collect(),
        public_key: String::new(),
    };
    let narrow = grant(&["mcp:invoke", "team:x"], &["acme"]);
    let admin = grant(&["mcp:admin"], &["acme"]);
    let all = grant(&["*"], &["*"]);
    let allowed = |grant: &Grant, tenant: &str, scopes: &[&str]| {
        let claims = claims_of("executor", tenant, scopes);
        grant.refusal(&claims).is_none()
    };
    assert!(allowed(&narrow, "acme", &[]));
    assert!(allowed(&narrow, "acme", &["mcp:invoke"]));
    assert!(allowed(&narrow, "acme", &["mcp:invoke", "team:x"]));
    assert!(!allowed(&narrow, "other", &["mcp:invoke"]));
    for scope in ["mcp:tools:write", "mcp:admin", "dynamic-mcp:internal", "*"] {
        assert!(!allowed(&narrow, "acme", &["mcp:invoke", scope]), "{scope}");
    }
    assert!(allowed(&admin, "acme", &["mcp:tools:write", "team:y"]));
    assert!(!allowed(&admin, "acme", &["dynamic-mcp:internal"]));
    assert!(allowed(&all, "other", &["dynamic-mcp:internal"]));
    let registry = claims_of("registry", "acme", &["mcp:invoke"]);
    assert!(narrow.refusal(&registry).is_some());
}

#[test]
fn names_of_services() {
    for good in ["gateway", "a", "billing-2"] {
        assert!(is_service_name(good), "{good}");
    }
    for bad in ["", "2", "-a", "A", "a.b", "a/b", "a b", &"a".repeat(64)] {
        assert!(!is_service_name(bad), "{bad}");
    }
}
