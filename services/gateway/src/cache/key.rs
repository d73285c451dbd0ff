//! What an answer is found again by.

use domain::RawValue;
use domain::tool::ToolRecord;
use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};

use crate::operations::ToolCall;

/// Changes when answers of an older version must not be found any more.
const FORM: &[u8] = b"dynamic-mcp answer 1";
/// Whole numbers from here on are not told apart as numbers with a fraction are held.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// SHA-256 over everything that an answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

impl Key {
    /// The key of this call; `caller` is `None` for answers that are the whole tenant's. `None` when
    /// arguments cannot be told apart surely.
    ///
    /// The code is part of it beside the revision, so that two deployments that were pointed at one
    /// Redis by mistake do not answer for each other's code. What of the call the code can see, or
    /// what decides about messages on the way, is part of it too.
    pub(super) fn of(
        record: &ToolRecord,
        caller: Option<&str>,
        args: &RawValue,
        call: &ToolCall,
    ) -> Option<Self> {
        let capabilities = call.client_capabilities.as_deref();
        let parts: [&[u8]; 9] = [
            FORM,
            record.tenant.as_str().as_bytes(),
            record.name.as_str().as_bytes(),
            &record.revision.0.to_be_bytes(),
            record.code_digest.as_bytes(),
            // The empty subject is nobody's.
            caller.unwrap_or_default().as_bytes(),
            &canonical(args)?,
            &capabilities.map_or(Some(Vec::new()), canonical)?,
            &[
                call.log_level.map_or(0, |level| 1 + level as u8),
                u8::from(call.wants_progress),
            ],
        ];
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Some(Self(hash.finalize().into()))
    }

    /// The key's name in Redis.
    pub(super) fn name(&self) -> String {
        format!("dynamic-mcp:answer:{}", hex::encode(self.0))
    }
}

/// JSON text that is the same for equal values, however they were written; `None` when the value
/// holds a number that other numbers would look like.
fn canonical(raw: &RawValue) -> Option<Vec<u8>> {
    let value: Value = serde_json::from_str(raw.get()).ok()?;
    let mut text = Vec::new();
    write(&value, &mut text)?;
    Some(text)
}

fn write(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => {
            serde_json::to_writer(&mut *out, value).ok()
        }
        Value::Number(number) => write_number(number, out),
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                write(item, out)?;
                out.push(b',');
            }
            out.push(b']');
            Some(())
        }
        Value::Object(members) => write_object(members, out),
    }
}

fn write_number(number: &Number, out: &mut Vec<u8>) -> Option<()> {
    let held_exactly = !number.is_f64() || number.as_f64().is_some_and(|held| held.abs() < EXACT);
    if !held_exactly {
        return None;
    }
    serde_json::to_writer(out, number).ok()
}

fn write_object(members: &Map<String, Value>, out: &mut Vec<u8>) -> Option<()> {
    let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    out.push(b'{');
    for (name, member) in sorted {
        serde_json::to_writer(&mut *out, name).ok()?;
        out.push(b':');
        write(member, out)?;
        out.push(b',');
    }
    out.push(b'}');
    Some(())
}
