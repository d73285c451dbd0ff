//! What the registry keeps of audit logs: the same rules on both databases and through gRPC.

use std::sync::Arc;
use std::time::Duration;

use auth::internal::Audience;
use domain::audit::archive::{Archive, Batch, Head, LogName, Search, SegmentStart};
use domain::audit::{Action, Link, Outcome, Record, Writer};
use domain::{CallContext, ErrorCode, Principal, RequestId, Scope, TenantId};
use registry::{Registry, Settings};
use rpc::client::{ArchiveClient, Link as RpcLink};
use rpc::server::{Incoming, Server};
use rpc::{Endpoint, pipe};
use testkit::Identity;
use tokio::task::JoinSet;

use super::{admin, open, service};

const LINES: Writer = Writer {
    service: "dynamic-mcp",
    version: "0",
    max_bytes: 20_000,
};

fn log(name: &str) -> LogName {
    LogName::parse(name).unwrap()
}

fn caller(tenant: &str, scopes: &[Scope]) -> CallContext {
    let mut principal = Principal::anonymous(scopes);
    principal.tenant = TenantId::parse(tenant).unwrap();
    principal.subject = format!("{tenant}-user");
    let id = RequestId::random();
    CallContext::new(Arc::new(principal), id, Duration::from_secs(10))
}

/// Lines from a place in the chain on; each of a tenant and a tool of its number.
fn lines(mut link: Link, numbers: std::ops::Range<u32>) -> Vec<String> {
    let mut lines = Vec::new();
    for number in numbers {
        let tenant = if number.is_multiple_of(2) {
            "even"
        } else {
            "odd"
        };
        let context = caller(tenant, &[]);
        let record = Record {
            target: Some(format!("tool.{number}")),
            time: jiff::Timestamp::from_second(1_000 + i64::from(number)).unwrap(),
            ..Record::of_call(&context, Action::Exec, Outcome::Success)
        };
        // A text with NUL and quotes gets in and out as it is.
        let line = LINES.line(&record.with("note", "\0\"é"), &link).unwrap();
        link = Link::after(line.as_bytes());
        lines.push(line);
    }
    lines
}

fn head_of(lines: &[String]) -> Head {
    Head::of(lines.last().unwrap().as_bytes()).unwrap()
}

fn batch(after: Option<Head>, lines: &[String]) -> Batch {
    Batch {
        log: log("gw-1"),
        after,
        lines: lines.to_vec(),
        lost: false,
    }
}

fn all() -> Search {
    Search {
        limit: 1_000,
        ..Search::default()
    }
}

fn numbers(page: &domain::audit::archive::Page) -> Vec<u32> {
    let number = |found: &domain::audit::archive::Found| {
        let record: serde_json::Value = serde_json::from_str(&found.line).unwrap();
        let target = record["target"].as_str().unwrap();
        target.strip_prefix("tool.").unwrap().parse().unwrap()
    };
    page.records.iter().map(number).collect()
}

/// Every rule, on an archive that is empty.
pub(crate) async fn rules(archive: &dyn Archive) {
    let us = service();
    let first = lines(Link::FIRST, 0..6);
    let name = log("gw-1");
    assert_eq!(archive.head(&us, &name).await.unwrap(), None);
    let head = archive.append(&us, batch(None, &first)).await.unwrap();
    assert_eq!(head, Some(head_of(&first)));
    assert_eq!(archive.head(&us, &name).await.unwrap(), head);
    // Sent again, or by somebody who was too late: nothing is taken twice.
    let again = archive.append(&us, batch(None, &first)).await.unwrap();
    assert_eq!(again, head);
    assert_eq!(archive.search(&us, all()).await.unwrap().records.len(), 6);
    // On in the chain, with a new beginning within the batch and a gap behind it.
    let second = lines(head.unwrap().next(), 6..8);
    let anew = lines(Link::FIRST, 8..10);
    let gap = Link {
        seq: 7,
        prev: [7; 32],
    };
    let gap = lines(gap, 10..11);
    let more = [second, anew, gap.clone()].concat();
    let head = archive.append(&us, batch(head, &more)).await.unwrap();
    assert_eq!(head, Some(head_of(&gap)));
    let forged = Link {
        seq: 3,
        prev: [9; 32],
    };
    let forged = lines(forged, 11..12);
    archive.append(&us, batch(head, &forged)).await.unwrap();
    let segments = archive.segments(&us, Some(&name), None).await.unwrap();
    let told: Vec<_> = segments
        .iter()
        .map(|s| (s.number, s.start, s.first_seq, s.missing, s.head.seq))
        .collect();
    assert_eq!(
        told,
        [
            (1, SegmentStart::First, 1, 0, 8),
            (2, SegmentStart::Restart, 1, 0, 2),
            (3, SegmentStart::Gap, 7, 4, 7),
            (4, SegmentStart::Mismatch, 3, 0, 3),
        ]
    );
    let after = Some((name.clone(), 3));
    let rest = archive.segments(&us, None, after).await.unwrap();
    assert_eq!(rest, segments[3..]);

    search(archive).await;
    refusals(archive).await;
}

async fn search(archive: &dyn Archive) {
    let us = service();
    let find = async |search: Search| numbers(&archive.search(&us, search).await.unwrap());
    assert_eq!(find(all()).await, (0..12).rev().collect::<Vec<u32>>());
    let moment = |number: i64| jiff::Timestamp::from_second(1_000 + number).ok();
    for (search, found) in [
        (
            Search {
                since: moment(3),
                until: moment(5),
                ..all()
            },
            vec![4, 3],
        ),
        (
            Search {
                tenant: TenantId::parse("odd").ok(),
                ..all()
            },
            vec![11, 9, 7, 5, 3, 1],
        ),
        (
            Search {
                actor: Some("even-user".to_owned()),
                since: moment(8),
                ..all()
            },
            vec![10, 8],
        ),
        (
            Search {
                target: Some("tool.5".to_owned()),
                ..all()
            },
            vec![5],
        ),
        (
            Search {
                action: Some("dynamic.exec".to_owned()),
                until: moment(1),
                ..all()
            },
            vec![0],
        ),
        (
            Search {
                action: Some("http.auth".to_owned()),
                ..all()
            },
            vec![],
        ),
        (
            Search {
                outcome: Some("denied".to_owned()),
                ..all()
            },
            vec![],
        ),
        (
            Search {
                actor: Some("x' OR '1'='1\0".to_owned()),
                ..all()
            },
            vec![],
        ),
    ] {
        let shown = format!("{search:?}");
        assert_eq!(find(search).await, found, "{shown}");
    }
    // Pages.
    let (mut before, mut seen, mut pages) = (None, Vec::new(), 0);
    loop {
        let page = Search {
            limit: 5,
            before,
            ..all()
        };
        let page = archive.search(&us, page).await.unwrap();
        seen.extend(numbers(&page));
        pages += 1;
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!((pages, seen), (3, (0..12).rev().collect::<Vec<u32>>()));
    // A tenant's administrator sees the tenant's records, whatever is asked.
    let odd = caller("odd", &[Scope::Admin]);
    let page = archive.search(&odd, all()).await.unwrap();
    assert_eq!(numbers(&page), [11, 9, 7, 5, 3, 1]);
    let other = Search {
        tenant: TenantId::parse("even").ok(),
        ..all()
    };
    assert!(
        archive
            .search(&odd, other)
            .await
            .unwrap()
            .records
            .is_empty()
    );
}

async fn refusals(archive: &dyn Archive) {
    let us = service();
    let code = |error: domain::Error| error.code();
    let name = log("gw-1");
    for context in [admin(), caller("odd", &[Scope::Invoke])] {
        let line = lines(Link::FIRST, 0..1);
        for refused in [
            archive.head(&context, &name).await.err(),
            archive.append(&context, batch(None, &line)).await.err(),
            archive.segments(&context, None, None).await.err(),
        ] {
            assert_eq!(refused.map(code), Some(ErrorCode::PermissionDenied));
        }
    }
    let caller = caller("odd", &[Scope::Invoke, Scope::ToolsRead]);
    let refused = archive.search(&caller, all()).await.err();
    assert_eq!(refused.map(code), Some(ErrorCode::PermissionDenied));
    let good = lines(Link::FIRST, 0..1).remove(0);
    for bad in [
        vec![],
        vec!["not JSON".to_owned()],
        vec![r#"{"action":"without a chain"}"#.to_owned()],
        vec![format!("{good}\n{good}")],
        vec![good.clone(); 2_001],
    ] {
        let refused = archive.append(&us, batch(None, &bad)).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::InvalidArgument);
        assert_eq!(refused.field(), Some("lines"));
    }
    for limit in [0, 1_001] {
        let refused = archive.search(&us, Search { limit, ..all() }).await;
        assert_eq!(refused.unwrap_err().field(), Some("limit"));
    }
}

/// What is beyond a bound goes, the oldest first; heads stay.
pub(crate) async fn bounds(registry: &Registry, most: u32) {
    let us = service();
    let mut head = None;
    for round in 0..20 {
        let link = head.as_ref().map_or(Link::FIRST, Head::next);
        let more = lines(link, round * 10..round * 10 + 10);
        head = registry.append(&us, batch(head, &more)).await.unwrap();
    }
    let kept = numbers(&registry.search(&us, all()).await.unwrap());
    assert_eq!(kept.len() as u32, most, "{kept:?}");
    assert_eq!(kept, (200 - most..200).rev().collect::<Vec<u32>>());
    let segments = registry.segments(&us, None, None).await.unwrap();
    assert_eq!(segments.len(), 1);
    assert_eq!(segments[0].head.seq, 200);
}

/// Bounds of rows, of bytes (each line is of one length), and none of age that matters.
pub(crate) fn bounded() -> [(Settings, u32); 2] {
    let settings = Settings::default;
    let line = lines(
        Link {
            seq: 150,
            prev: [0; 32],
        },
        150..151,
    )
    .remove(0)
    .len() as u64;
    [
        (
            Settings {
                audit_rows: 25,
                ..settings()
            },
            25,
        ),
        (
            Settings {
                audit_bytes: line * 30,
                ..settings()
            },
            30,
        ),
    ]
}

#[tokio::test]
async fn the_rules_hold_on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(&directory.path().join("r.db"), Settings::default()).await;
    rules(&registry).await;
}

#[tokio::test]
async fn the_rules_hold_through_grpc() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(&directory.path().join("r.db"), Settings::default()).await;
    let identity = Identity::new();
    let (dialer, listener) = pipe();
    let server = Server::new(identity.verifier(Audience::Registry)).archive(Arc::new(registry));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let served = server.serve(Incoming::Pipe(listener), std::future::pending());
        served.await.unwrap();
    });
    let link = RpcLink::new(&Endpoint::Pipe(dialer), identity.signer(Audience::Registry));
    rules(&ArchiveClient::new(link.unwrap())).await;
}

#[tokio::test]
async fn the_copy_is_bounded_on_sqlite() {
    for (settings, most) in bounded() {
        let directory = tempfile::tempdir().unwrap();
        let registry = open(&directory.path().join("r.db"), settings).await;
        bounds(&registry, most).await;
    }
}

#[tokio::test]
async fn old_records_go_when_others_come() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        audit_age: Duration::from_millis(50),
        ..Settings::default()
    };
    let registry = open(&directory.path().join("r.db"), settings).await;
    let us = service();
    let head = registry
        .append(&us, batch(None, &lines(Link::FIRST, 0..3)))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(80)).await;
    let more = lines(head.unwrap().next(), 3..4);
    registry.append(&us, batch(head, &more)).await.unwrap();
    assert_eq!(numbers(&registry.search(&us, all()).await.unwrap()), [3]);
}
