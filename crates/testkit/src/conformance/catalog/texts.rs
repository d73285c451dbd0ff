//! Text comes back as it was, whatever is in it.

use domain::{CodeDigest, limits};
use serde_json::json;

use super::{Catalogs, Rules, admin, draft};

/// What breaks naive storage: NUL, controls, quotes of SQL, direction marks, astral and combining
/// characters, a BOM, line ends of all kinds, markup.
const NASTY: &[&str] = &[
    "a\0b\0",
    "'; DROP TABLE tools; --",
    "\"\\ \u{1}\u{8}\u{1b}[31m\u{7f}",
    "\u{202e}txt.exe\u{202c} \u{200f}\u{200b}\u{2066}",
    "😀👩‍👩‍👧‍👦🏳️‍🌈 e\u{301} é \u{fffd}",
    "\u{feff}BOM",
    "a\r\nb\rc\nd\u{2028}e\u{85}",
    "<script>alert(1)</script> &amp; ${x} {{y}} %s ?1 $1 :name",
    "語\u{10ffff}\u{e000}",
];

/// Every text in title, description, code and schema, created and by patch.
pub async fn text_comes_back_byte_for_byte(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let (catalog, me) = (&subject.catalog, admin());
    for (at, text) in NASTY.iter().enumerate() {
        let schema = json!({ "type": "object", "description": text });
        let spec = json!({ "title": text, "description": text, "inputSchema": schema });
        let made = catalog
            .create(&me, draft(&format!("nasty{at}"), &spec, text))
            .await
            .unwrap();
        let read = subject.other.get(&me, &made.name, None).await.unwrap();
        assert_eq!(&*read.code, *text);
        assert_eq!(read.record, made);
        assert_eq!(read.record.code_digest, CodeDigest::of(text));
        assert_eq!(read.record.spec.title.as_deref(), Some(*text));
        assert_eq!(read.record.spec.description, *text);
        let kept = read.record.spec.input_schema.unwrap();
        assert_eq!(kept.get(), schema.to_string(), "the schema is kept as text");
    }
}

/// The longest code, of characters of one, two and four bytes.
pub async fn the_longest_code_comes_back(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let (catalog, me) = (&subject.catalog, admin());
    for (at, character) in ["x", "ß", "😀"].into_iter().enumerate() {
        let code = character.repeat(limits::CODE_CHARS);
        let spec = json!({ "description": "d" });
        let made = catalog
            .create(&me, draft(&format!("long{at}"), &spec, &code))
            .await
            .unwrap();
        assert_eq!(made.code_size_bytes, code.len() as u64);
        let read = catalog.get(&me, &made.name, None).await.unwrap();
        assert!(*read.code == *code, "{} bytes came back", read.code.len());
        let read = catalog.code(&me, &made.name, made.revision).await.unwrap();
        assert!(*read == *code, "{} bytes came back", read.len());
    }
}
