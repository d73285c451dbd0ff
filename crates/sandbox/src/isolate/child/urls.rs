//! `URL` and `URLSearchParams` by the `url` crate.

use url::{Url, form_urlencoded, quirks};

/// The serialised URL, or `null` when it is none.
pub(super) fn parse(input: String, base: Option<String>) -> Option<String> {
    let url = match base {
        Some(base) => Url::parse(&base).ok()?.join(&input).ok()?,
        None => Url::parse(&input).ok()?,
    };
    Some(url.into())
}

/// Its parts, in the order of `PARTS` in the prelude.
pub(super) fn parts(href: String) -> Vec<String> {
    let Ok(url) = Url::parse(&href) else {
        return Vec::new();
    };
    let origin = quirks::origin(&url);
    [
        &*origin,
        quirks::protocol(&url),
        quirks::username(&url),
        quirks::password(&url),
        quirks::host(&url),
        quirks::hostname(&url),
        quirks::port(&url),
        quirks::pathname(&url),
        quirks::search(&url),
        quirks::hash(&url),
    ]
    .map(str::to_owned)
    .into()
}

/// The URL with one part changed; a value that is not allowed changes nothing, as the standard says.
pub(super) fn change(href: String, part: String, value: String) -> String {
    let Ok(mut url) = Url::parse(&href) else {
        return href;
    };
    let done = match part.as_str() {
        "protocol" => quirks::set_protocol(&mut url, &value),
        "username" => quirks::set_username(&mut url, &value),
        "password" => quirks::set_password(&mut url, &value),
        "host" => quirks::set_host(&mut url, &value),
        "hostname" => quirks::set_hostname(&mut url, &value),
        "port" => quirks::set_port(&mut url, &value),
        "pathname" => {
            quirks::set_pathname(&mut url, &value);
            Ok(())
        }
        "search" => {
            quirks::set_search(&mut url, &value);
            Ok(())
        }
        "hash" => {
            quirks::set_hash(&mut url, &value);
            Ok(())
        }
        _ => Err(()),
    };
    match done {
        Ok(()) => url.into(),
        Err(()) => href,
    }
}

/// Names and values in turn.
pub(super) fn form_parse(text: String) -> Vec<String> {
    form_urlencoded::parse(text.as_bytes())
        .flat_map(|(name, value)| [name.into_owned(), value.into_owned()])
        .collect()
}

/// The text of names and values in turn.
pub(super) fn form_write(flat: Vec<String>) -> String {
    let mut out = form_urlencoded::Serializer::new(String::new());
    for pair in flat.chunks_exact(2) {
        out.append_pair(&pair[0], &pair[1]);
    }
    out.finish()
}
