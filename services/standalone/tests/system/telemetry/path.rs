//! What a trace must look like.

use std::path::Path;

use testkit::otlp::Span;

/// Stages of a call in its sandbox, in their order.
const STAGES: [&str; 7] = ["queue", "take", "write", "load", "run", "read", "teardown"];

/// Every attribute that a span may have. What is not here needs somebody who looks at what it could hold.
const KNOWN: &[&str] = &[
    "call_id",
    "code",
    "code.file.path",
    "code.filepath",
    "code.line.number",
    "code.lineno",
    "code.module.name",
    "code.namespace",
    "engine",
    "http.request.method",
    "http.response.status_code",
    "http.route",
    "mcp.method.name",
    "request_id",
    "rpc.method",
    "rpc.service",
    "rpc.system",
    "target",
    "tool",
];

/// Longest value of an attribute: a request's id, which its caller may choose.
const LONGEST: usize = 128;

/// The spans of one trace.
pub(super) struct Trace(pub(super) Vec<Span>);

impl Trace {
    fn names(&self) -> String {
        let line = |span: &Span| {
            format!(
                "{} {} {} < {}",
                span.service, span.name, span.span_id, span.parent
            )
        };
        self.0.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// The one span whose name starts so, below this one and of this service.
    pub(super) fn below(&self, parent: &str, name: &str, service: &str) -> &Span {
        let is_it = |span: &&Span| {
            span.parent == parent && span.name.starts_with(name) && span.service == service
        };
        let mut found = self.0.iter().filter(is_it);
        let one = found.next();
        let one = one
            .unwrap_or_else(|| panic!("no {name} of {service} below {parent}:\n{}", self.names()));
        assert!(found.next().is_none(), "two {name}:\n{}", self.names());
        one
    }

    /// From a call to the service that is asked: a span of who asks, and below it one of who is asked.
    pub(super) fn hop(&self, from: &Span, method: &str, service: &str) -> &Span {
        let asked = self.below(&from.span_id, method, &from.service);
        let answered = self.below(&asked.span_id, method, service);
        assert_eq!(asked.name, answered.name);
        // As far as clocks of two processes tell. Its end is that of its stream, which comes later.
        assert!(
            answered.times.0 + 5_000_000 >= asked.times.0,
            "{}",
            self.names()
        );
        answered
    }

    /// All stages of a call, one after the other.
    pub(super) fn stages(&self, run: &Span, engine: &str) {
        self.these_stages(run, engine, &STAGES);
    }

    /// These and no others, one after the other.
    pub(super) fn these_stages(&self, run: &Span, engine: &str, stages: &[&str]) {
        let is_stage =
            |span: &&Span| span.name.starts_with("sandbox.") && span.parent == run.span_id;
        let all = self.0.iter().filter(is_stage).count();
        assert_eq!(all, stages.len(), "{}", self.names());
        let mut before = 0;
        for stage in stages {
            let name = format!("sandbox.{stage}");
            let span = self.below(&run.span_id, &name, &run.service);
            assert_eq!(span.attributes["engine"], engine);
            assert!(
                span.times.0 + 2_000_000 >= before,
                "{name} begins too early"
            );
            before = span.times.1;
        }
    }
}

/// Checks that nothing is said in a span but what this page knows, and no long texts.
pub(super) fn only_bounded(spans: &[Span]) {
    for span in spans {
        assert!(span.name.len() <= 64 && span.events.is_empty(), "{span:?}");
        for (name, value) in &span.attributes {
            assert!(KNOWN.contains(&name.as_str()), "{name} of {span:?}");
            assert!(value.len() <= LONGEST, "{name} of {span:?}");
        }
    }
}

/// Makes the registry's store fail as nobody expects: a table that it needs has gone.
pub(super) fn break_store(folder: &Path) {
    let script = "import sqlite3, sys\n\
                  db = sqlite3.connect(sys.argv[1], timeout=10)\n\
                  db.execute('PRAGMA writable_schema = ON')\n\
                  names = [row[0] for row in db.execute(\"select name from sqlite_master where type = 'table' and name like '%revision%'\")]\n\
                  assert names, 'no table'\n\
                  db.execute('PRAGMA foreign_keys = OFF')\n\
                  for name in names: db.execute(f'alter table {name} rename to {name}_gone')\n\
                  db.commit()\n";
    let store = folder.join(".dynamic-mcp/registry.db");
    let done = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(&store)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}
