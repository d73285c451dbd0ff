//! What the database has, held against what the writers were told.

use std::collections::{BTreeMap, BTreeSet};

use testkit::postgres::Cluster;

use super::writer::{Account, End, Kind, Write};

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) acknowledged: usize,
    pub(crate) refused: usize,
    pub(crate) unknown: usize,
    pub(crate) asked_again: usize,
    pub(crate) revisions: usize,
}

/// One tool as it is stored.
#[derive(Debug, Default)]
struct Stored {
    /// The newest number, and whether the tool is deleted.
    head: (u64, bool),
    /// The mark of each revision that is kept: those since the last creation.
    revisions: BTreeMap<u64, String>,
}

async fn stored(postgres: &Cluster) -> BTreeMap<String, Stored> {
    let mut tools = BTreeMap::<String, Stored>::new();
    let heads = "SELECT name || ' ' || revision || ' ' || deleted FROM dynamic_mcp.mcp_tools";
    for line in postgres.sql("postgres", heads).await.lines() {
        let [name, revision, deleted] = split(line);
        let deleted = deleted.starts_with('t');
        tools.entry(name.to_owned()).or_default().head = (revision.parse().unwrap(), deleted);
    }
    let revisions = "SELECT name || ' ' || revision || ' ' || (spec ->> 'description')
        FROM dynamic_mcp.mcp_revisions";
    for line in postgres.sql("postgres", revisions).await.lines() {
        let [name, revision, mark] = split(line);
        let tool = tools.get_mut(name).expect("a revision has a head");
        let twice = tool
            .revisions
            .insert(revision.parse().unwrap(), mark.to_owned());
        assert_eq!(twice, None, "{line}");
    }
    tools
}

fn split(line: &str) -> [&str; 3] {
    let parts: Vec<&str> = line.split(' ').collect();
    parts.try_into().unwrap_or_else(|parts| panic!("{parts:?}"))
}

/// Fails for a write that was acknowledged and is not there, that was refused or never sent and is
/// there, and for a gap or a number that was given twice.
pub(crate) async fn check(postgres: &Cluster, accounts: &[Account]) -> Tally {
    let stored = stored(postgres).await;
    let mut tally = Tally::default();
    let mut known = BTreeSet::new();
    for account in accounts {
        tally.asked_again += account.asked_again;
        for (tool, writes) in account.by_tool() {
            known.insert(tool.to_owned());
            for write in &writes {
                match write.end {
                    End::Acknowledged(_) => tally.acknowledged += 1,
                    End::Refused => tally.refused += 1,
                    End::Unknown => tally.unknown += 1,
                }
            }
            let nothing = Stored::default();
            let there = stored.get(tool).unwrap_or(&nothing);
            check_tool(tool, &writes, there);
        }
    }
    for (tool, there) in &stored {
        assert!(known.contains(tool), "{tool} was made by nobody: {there:?}");
        tally.revisions += there.revisions.len();
    }
    tally
}

fn check_tool(tool: &str, writes: &[&Write], there: &Stored) {
    let (head, deleted) = there.head;
    // What is kept is one row of numbers up to the head.
    if deleted {
        assert!(there.revisions.is_empty(), "{tool}: {there:?}");
    } else if head > 0 {
        let first = there
            .revisions
            .keys()
            .next()
            .expect("a live tool has revisions");
        let numbers: Vec<u64> = there.revisions.keys().copied().collect();
        assert_eq!(
            numbers,
            (*first..=head).collect::<Vec<u64>>(),
            "{tool}: a gap"
        );
    }
    // Every mark that is there was sent for this tool, and was not refused.
    let mut places = BTreeMap::new();
    for (number, mark) in &there.revisions {
        let write = writes.iter().find(|write| write.mark == *mark);
        let write = write.unwrap_or_else(|| panic!("{tool}: nobody sent {mark}"));
        assert_ne!(
            write.end,
            End::Refused,
            "{tool}: {mark} was refused and is there"
        );
        assert!(
            places.insert(mark.as_str(), *number).is_none(),
            "{tool}: {mark} is there twice"
        );
    }
    // Numbers that were acknowledged follow each other; one more may be given to the last write, if
    // nobody knows how that ended.
    let mut last = 0;
    for (at, write) in writes.iter().enumerate() {
        let is_last = at + 1 == writes.len();
        assert!(
            is_last || write.end != End::Unknown,
            "{tool}: {} came after",
            write.mark
        );
        if let End::Acknowledged(Some(number)) = write.end {
            assert_eq!(number, last + 1, "{tool}: the number of {}", write.mark);
            last = number;
        }
    }
    let open = writes.last().filter(|write| write.end == End::Unknown);
    let one_more = open.is_some_and(|write| write.kind != Kind::Delete);
    let heads = last..=last + u64::from(one_more);
    assert!(
        heads.contains(&head),
        "{tool}: head {head}, acknowledged {last}"
    );
    // Since the last deletion everything acknowledged is there, and nothing from before it.
    let gone = writes.iter().rposition(|write| {
        let made = match write.end {
            End::Acknowledged(_) => true,
            End::Unknown => deleted,
            End::Refused => false,
        };
        write.kind == Kind::Delete && made
    });
    let (before, since) = writes.split_at(gone.map_or(0, |at| at + 1));
    for write in since {
        if let End::Acknowledged(Some(number)) = write.end {
            let place = places.get(write.mark.as_str());
            assert_eq!(
                place,
                Some(&number),
                "{tool}: {} was acknowledged and is lost",
                write.mark
            );
        }
    }
    for write in before {
        let there = places.get(write.mark.as_str());
        assert_eq!(
            there, None,
            "{tool}: {} is older than the deletion",
            write.mark
        );
    }
    if since
        .iter()
        .any(|write| matches!(write.end, End::Acknowledged(_)))
    {
        assert!(!deleted, "{tool}: made and not there");
    }
}
