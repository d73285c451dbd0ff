//! Profiles, read as pprof reads them.

use std::collections::BTreeMap;

use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    name: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
}

/// One stack of a profile.
#[derive(Debug, Clone)]
pub struct Stack {
    /// Names of its functions, the innermost first.
    pub functions: Vec<String>,
    /// Its values by their kinds, as `inuse_space`.
    pub values: BTreeMap<String, i64>,
}

/// The samples of a profile that is not compressed.
///
/// # Panics
/// When it is none, or names what is not in it.
#[must_use]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
pub fn stacks(profile: &[u8]) -> Vec<Stack> {
    let profile = Profile::decode(profile).unwrap();
    let text = |index: i64| profile.string_table[usize::try_from(index).unwrap()].clone();
    let name = |line: &Line| {
        let mut all = profile.function.iter();
        let function = all.find(|it| it.id == line.function_id);
        text(function.expect("a function that is not there").name)
    };
    let functions = |id: &u64| {
        let mut all = profile.location.iter();
        let location = all.find(|it| it.id == *id);
        let lines = &location.expect("a place that is not there").line;
        lines.iter().map(name).collect::<Vec<_>>()
    };
    let kinds: Vec<String> = profile.sample_type.iter().map(|it| text(it.name)).collect();
    let stack = |sample: &Sample| {
        assert_eq!(sample.value.len(), kinds.len());
        let values = kinds.iter().cloned().zip(sample.value.iter().copied());
        Stack {
            functions: sample.location_id.iter().flat_map(functions).collect(),
            values: values.collect(),
        }
    };
    profile.sample.iter().map(stack).collect()
}
