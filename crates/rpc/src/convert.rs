//! Between the domain's types and the messages. A message that is no proper value is an
//! `invalid_argument` that names the field.

mod audit;
mod call;
mod catalog;
mod event;
mod fleet;
mod keys;
mod patch;
mod session;
mod words;

use domain::{Error, RawValue, Result};
use jiff::Timestamp;

pub(crate) use self::audit::{
    batch_from, batch_to, head_from, head_to, page_from, page_to, search_from, search_to,
    segment_from, segment_to,
};
pub(crate) use self::call::{call_from, call_to, locked_from, locked_to, resolve_from, resolve_to};
pub(crate) use self::catalog::{
    change_from, change_to, draft_from, draft_to, record_from, record_to,
};
pub(crate) use self::event::{event_from, event_to};
pub(crate) use self::fleet::{executor_from, executor_to};
pub(crate) use self::keys::{
    key_change_from, key_change_to, key_from, key_to, new_key_from, new_key_to, rotation_from,
    rotation_to, use_from, use_to,
};
pub(crate) use self::patch::{patch_from, patch_to};
pub(crate) use self::session::{
    exec_from, exec_to, info_from, info_to, listing_from, listing_to, open_from, open_to,
    result_from, result_to,
};

/// A field that has to be there.
pub(crate) fn required<T>(field: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Error::invalid(field, "is missing"))
}

/// JSON as text.
fn json(field: &str, text: String) -> Result<Box<RawValue>> {
    RawValue::from_string(text).map_err(|_| Error::invalid(field, "is not JSON"))
}

fn json_text(value: Box<RawValue>) -> String {
    Box::<str>::from(value).into_string()
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn timestamp_to(moment: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: moment.as_second(),
        nanos: moment.subsec_nanosecond(),
    }
}

fn timestamp_from(field: &str, moment: Option<prost_types::Timestamp>) -> Result<Timestamp> {
    let moment = required(field, moment)?;
    Timestamp::new(moment.seconds, moment.nanos)
        .map_err(|_| Error::invalid(field, "is not a moment"))
}

#[cfg(test)]
mod tests;
