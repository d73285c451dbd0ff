//! One client: it writes to tools of its own, one request at a time, and keeps an account of what it
//! was told.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use testkit::http::Answer;
use testkit::mcp::{Client, Era};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Tools that one writer writes to.
const TOOLS: usize = 3;
/// How long an outcome is asked for until it has to be known.
const KNOWN_WITHIN: Duration = Duration::from_secs(60);

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Create,
    Update,
    Delete,
}

/// How it ended, as far as the writer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Made, as this revision (of a deletion: of the tool that was deleted, if that is known).
    Acknowledged(Option<u64>),
    /// Not made, and never will be.
    Refused,
    /// Nobody said.
    Unknown,
}

/// One write. `mark` is the description that it gives the tool, used by no other write.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) tool: String,
    pub(crate) kind: Kind,
    pub(crate) mark: String,
    pub(crate) end: End,
    /// Id of the request that was answered.
    request: String,
}

/// Everything that one writer did, in order.
#[derive(Default)]
pub(crate) struct Account {
    pub(crate) writes: Vec<Write>,
    /// Writes that were sent again because nobody had said how they ended.
    pub(crate) asked_again: usize,
}

impl Account {
    pub(crate) fn acknowledged_requests(&self) -> impl Iterator<Item = &str> {
        let made = |write: &&Write| matches!(write.end, End::Acknowledged(_));
        self.writes.iter().filter(made).map(|write| &*write.request)
    }

    /// The writes of each tool.
    pub(crate) fn by_tool(&self) -> BTreeMap<&str, Vec<&Write>> {
        let mut tools = BTreeMap::<&str, Vec<&Write>>::new();
        for write in &self.writes {
            tools.entry(&write.tool).or_default().push(write);
        }
        tools
    }
}

pub(crate) struct Writer {
    id: usize,
    rng: Rng,
    token: String,
    places: watch::Receiver<[String; 2]>,
    account: Account,
    sent: usize,
    /// How many names of each tool were left behind: a write whose end nobody knows may still be made
    /// at any later time, so its tool is written to no more.
    left: [usize; TOOLS],
}

impl Writer {
    pub(crate) fn new(
        id: usize,
        rng: Rng,
        token: &str,
        places: watch::Receiver<[String; 2]>,
    ) -> Self {
        Self {
            id,
            rng,
            token: token.to_owned(),
            places,
            account: Account::default(),
            sent: 0,
            left: [0; TOOLS],
        }
    }

    /// Writes until it is told to stop.
    pub(crate) async fn work(mut self, stop: watch::Receiver<bool>) -> Account {
        while !*stop.borrow() {
            let at = self.rng.usize(..TOOLS);
            let tool = format!("writer{}.tool{at}-{}", self.id, self.left[at]);
            let kind = match self.rng.u8(..10) {
                0..3 => Kind::Create,
                3..9 => Kind::Update,
                _ => Kind::Delete,
            };
            if self.write(tool, kind).await == End::Unknown {
                self.left[at] += 1;
            }
        }
        self.account
    }

    async fn write(&mut self, tool: String, kind: Kind) -> End {
        let mark = format!("{}-{}", self.id, self.account.writes.len());
        let (name, arguments) = match kind {
            Kind::Create => {
                let tool = json!({"name": tool, "description": mark, "code": "return 1"});
                ("dynamic.tool.create", json!({ "tool": tool }))
            }
            Kind::Update => {
                let patch = json!({ "description": mark });
                ("dynamic.tool.update", json!({"name": tool, "patch": patch}))
            }
            Kind::Delete => ("dynamic.tool.delete", json!({ "name": tool })),
        };
        let call = json!({"name": name, "arguments": arguments});
        // Three of four want to know how it ended and send it again until they do.
        let insists = self.rng.u8(..4) > 0;
        let began = Instant::now();
        let mut request = String::new();
        let mut end = End::Unknown;
        for again in 0.. {
            (request, end) = self.send(&call, &mark).await;
            if again > 0 && end == End::Refused {
                // What was sent before may be made yet.
                end = End::Unknown;
                break;
            }
            if end != End::Unknown || !insists {
                break;
            }
            if again == 0 {
                self.account.asked_again += 1;
            }
            assert!(
                began.elapsed() < KNOWN_WITHIN,
                "{mark}: nobody says how it ended"
            );
            sleep(Duration::from_millis(20)).await;
        }
        self.account.writes.push(Write {
            tool,
            kind,
            mark,
            end,
            request,
        });
        end
    }

    /// Sends a request once, to any gateway.
    async fn send(&mut self, call: &Value, key: &str) -> (String, End) {
        let address = self.places.borrow()[self.rng.usize(..2)].clone();
        self.sent += 1;
        let request = format!("w{}-{}", self.id, self.sent);
        let mut client = Client::new(&address, Era::Modern);
        client.headers = vec![
            ("authorization".to_owned(), format!("Bearer {}", self.token)),
            ("x-request-id".to_owned(), request.clone()),
        ];
        let meta = json!({ "dynamic-mcp/idempotencyKey": key });
        let answer = client.attempt("tools/call", call.clone(), meta).await;
        let end = answer.map_or(End::Unknown, |answer| read(&answer));
        if end == End::Unknown {
            // Somebody is being killed or comes back.
            sleep(Duration::from_millis(10)).await;
        }
        (request, end)
    }
}

/// What an answer says of the end.
fn read(answer: &Answer) -> End {
    if answer.status != 200 {
        // A gateway that ends or begins: it may have been made, by what was sent before.
        assert_eq!(answer.status, 503, "{}", answer.text());
        return End::Unknown;
    }
    let message = answer.messages().pop().unwrap();
    let result = &message["result"];
    let said = &result["structuredContent"];
    if result["isError"] != json!(true) {
        assert!(said.is_object(), "{message}");
        return End::Acknowledged(said["tool"]["revision"].as_u64());
    }
    match said["code"].as_str() {
        Some("already_exists" | "not_found") => End::Refused,
        // With the key it can be sent again; whether this one reached the database nobody knows.
        Some("unavailable" | "overloaded" | "timeout") => End::Unknown,
        _ => panic!("{message}"),
    }
}
