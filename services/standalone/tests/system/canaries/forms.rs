//! A secret in every form that it could leave in.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Shortest piece that is searched for: what is shorter stands anywhere by chance.
const SHORTEST: usize = 10;

/// The forms of a text: as it is, escaped in JSON, in percent signs, in hexadecimal and in base64 wherever
/// it begins.
pub(super) fn forms(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let mut forms = vec![secret.to_owned()];
    let json = serde_json::Value::from(secret).to_string();
    forms.push(json.trim_matches('"').to_owned());
    let percent = |upper: bool| -> String {
        let each = bytes.iter().map(|byte| match byte {
            b if b.is_ascii_alphanumeric() || b"-._~".contains(b) => char::from(*b).to_string(),
            b if upper => format!("%{b:02X}"),
            b => format!("%{b:02x}"),
        });
        each.collect()
    };
    forms.extend([percent(true), percent(false)]);
    let hex = |upper: bool| -> String {
        let each = bytes.iter().map(|byte| match upper {
            true => format!("{byte:02X}"),
            false => format!("{byte:02x}"),
        });
        each.collect()
    };
    forms.extend([hex(true), hex(false)]);
    // As a list of numbers, which is how a debug print shows bytes.
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    forms.push(numbers.join(", "));
    for ahead in 0..3 {
        let padded = [vec![b'x'; ahead], bytes.to_vec()].concat();
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = engine.encode(&padded);
            // The first and the last letters depend on the neighbours.
            let from = (ahead * 8).div_ceil(6);
            let until = padded.len() * 8 / 6;
            forms.push(text[from..until].to_owned());
        }
    }
    forms.sort();
    forms.dedup();
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

#[test]
fn every_form_of_a_secret_is_found() {
    let secret = "Canary+01/secret=äx";
    let found = |text: &str| {
        forms(secret)
            .iter()
            .any(|form| text.contains(form.as_str()))
    };
    for text in [
        format!("a {secret} b"),
        format!("https://u:{}@h", "Canary%2B01%2Fsecret%3D%C3%A4x"),
        "…43616e6172792b30312f7365637265743dc3a478…".to_owned(),
        format!("{:?}", secret.as_bytes()),
    ] {
        assert!(found(&text), "{text}");
    }
    for ahead in 0..6 {
        let text = format!("{}{secret}and more", "y".repeat(ahead));
        assert!(found(&STANDARD_NO_PAD.encode(&text)), "{ahead}");
        assert!(found(&URL_SAFE_NO_PAD.encode(&text)), "{ahead}");
    }
    assert!(!found("Canary+01/secret=a"));
}
