//! `time.now`.

use domain::{Error, ErrorCode, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{Answer, Definition, Hints, Invocation, Kind};
use crate::settings::Profile;

pub(super) const DEFINITION: Definition = Definition {
    kind: Kind::TimeNow,
    name: "time.now",
    title: "Current Time",
    description: "Return current server time in ISO format",
    input: r#"{"type":"object","properties":{
        "timeZone":{"type":"string","description":"Optional IANA timezone, e.g. Asia/Shanghai"}},
        "additionalProperties":false}"#,
    output: r#"{"type":"object","properties":{
        "iso":{"type":"string","description":"RFC 3339 in UTC"},
        "unixSeconds":{"type":"integer"},
        "timeZone":{"type":"string"}},
        "required":["iso","unixSeconds","timeZone"],"additionalProperties":false}"#,
    hints: Hints::of(true, false, false),
    profile: Profile::Enterprise,
};

/// Longest name that is looked up; IANA's longest has 32 characters.
const MAX_NAME: usize = 64;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Now<'a> {
    iso: String,
    unix_seconds: i64,
    time_zone: &'a str,
}

pub(super) fn run(invocation: &Invocation<'_>) -> Result<Answer> {
    let time_zone = invocation.value["timeZone"].as_str().unwrap_or("UTC");
    if time_zone.len() > MAX_NAME || TimeZone::get(time_zone).is_err() {
        let shown: String = time_zone.chars().take(MAX_NAME).collect();
        return Err(Error::new(
            ErrorCode::InvalidArgument,
            format!("Invalid IANA timezone: {shown}"),
        )
        .with_field("/timeZone")
        .with_fix("use a name such as UTC or Asia/Shanghai"));
    }
    let now = Timestamp::now();
    let iso = domain::tool::iso_millis(now);
    Answer::of(&Now {
        iso,
        unix_seconds: now.as_second(),
        time_zone,
    })
}
