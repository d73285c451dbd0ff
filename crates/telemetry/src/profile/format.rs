//! The messages of pprof's `profile.proto`, and what fills them.

use std::collections::HashMap;

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Profile {
    #[prost(message, repeated, tag = "1")]
    pub(super) sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    pub(super) sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    pub(super) location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    pub(super) function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    pub(super) string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    pub(super) time_nanos: i64,
    #[prost(int64, tag = "10")]
    pub(super) duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    pub(super) period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    pub(super) period: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct ValueType {
    #[prost(int64, tag = "1")]
    pub(super) r#type: i64,
    #[prost(int64, tag = "2")]
    pub(super) unit: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    pub(super) location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    pub(super) value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    pub(super) label: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Label {
    #[prost(int64, tag = "1")]
    pub(super) key: i64,
    #[prost(int64, tag = "2")]
    pub(super) str: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Location {
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    #[prost(message, repeated, tag = "4")]
    pub(super) line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Line {
    #[prost(uint64, tag = "1")]
    pub(super) function_id: u64,
    #[prost(int64, tag = "2")]
    pub(super) line: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Function {
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    #[prost(int64, tag = "2")]
    pub(super) name: i64,
    #[prost(int64, tag = "3")]
    pub(super) system_name: i64,
    #[prost(int64, tag = "4")]
    pub(super) filename: i64,
}

/// Functions at one place: name, file, line; the innermost first.
pub(super) type Inlined = Vec<(String, String, u32)>;

/// Fills a profile.
pub(super) struct Builder {
    profile: Profile,
    strings: HashMap<String, i64>,
    functions: HashMap<(i64, i64), u64>,
    locations: HashMap<Inlined, u64>,
}

impl Builder {
    /// Of samples with these values, each a kind and its unit.
    pub(super) fn new(values: &[(&str, &str)]) -> Self {
        let mut builder = Self {
            profile: Profile::default(),
            strings: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
        };
        // The format wants the empty text at 0.
        builder.text("");
        let types = values.iter().map(|kind| builder.kind(*kind)).collect();
        builder.profile.sample_type = types;
        builder
    }

    fn kind(&mut self, (kind, unit): (&str, &str)) -> ValueType {
        ValueType {
            r#type: self.text(kind),
            unit: self.text(unit),
        }
    }

    fn text(&mut self, text: &str) -> i64 {
        if let Some(number) = self.strings.get(text) {
            return *number;
        }
        let number = i64::try_from(self.profile.string_table.len()).unwrap_or(i64::MAX);
        self.profile.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), number);
        number
    }

    pub(super) fn period(&mut self, kind: (&str, &str), period: i64) {
        self.profile.period_type = Some(self.kind(kind));
        self.profile.period = period;
    }

    pub(super) fn time(&mut self, began: i64, length: i64) {
        self.profile.time_nanos = began;
        self.profile.duration_nanos = length;
    }

    pub(super) fn location(&mut self, functions: Inlined) -> u64 {
        if let Some(id) = self.locations.get(&functions) {
            return *id;
        }
        let mut line = Vec::with_capacity(functions.len());
        for (name, file, at) in &functions {
            line.push(Line {
                function_id: self.function(name, file),
                line: i64::from(*at),
            });
        }
        let id = self.profile.location.len() as u64 + 1;
        self.profile.location.push(Location { id, line });
        self.locations.insert(functions, id);
        id
    }

    fn function(&mut self, name: &str, file: &str) -> u64 {
        let (name, filename) = (self.text(name), self.text(file));
        if let Some(id) = self.functions.get(&(name, filename)) {
            return *id;
        }
        let id = self.profile.function.len() as u64 + 1;
        self.profile.function.push(Function {
            id,
            name,
            system_name: name,
            filename,
        });
        self.functions.insert((name, filename), id);
        id
    }

    /// One stack, innermost place first, with a value of each kind.
    pub(super) fn sample(&mut self, stack: Vec<u64>, values: &[i64], thread: Option<&str>) {
        let label = thread.map(|thread| Label {
            key: self.text("thread"),
            str: self.text(thread),
        });
        self.profile.sample.push(Sample {
            location_id: stack,
            value: values.to_vec(),
            label: label.into_iter().collect(),
        });
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.profile.encode_to_vec()
    }
}
