use proptest::prelude::*;

use super::*;
use crate::audit::{Outcome, Record, Writer};

const WRITER: Writer = Writer {
    service: "dynamic-mcp",
    version: "0",
    max_bytes: 20_000,
};

/// A log of so many lines, from a place in the chain on.
fn log_from(mut link: Link, count: u64) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    for number in 0..count {
        let action = match number {
            0 if link.seq > 1 => Action::AuditFile,
            _ => Action::Exec,
        };
        let record = Record {
            target: Some(format!("tool.{number}")),
            ..Record::of_system(action, Outcome::Success)
        };
        let line = WRITER.line(&record, &link).unwrap().into_bytes();
        link = Link::after(&line);
        lines.push(line);
    }
    lines
}

fn log(count: u64) -> Vec<Vec<u8>> {
    log_from(Link::FIRST, count)
}

fn head(lines: &[Vec<u8>]) -> Head {
    Head::of(lines.last().unwrap()).unwrap()
}

fn check(lines: &[Vec<u8>], heads: &[Head]) -> Result<Summary, Finding> {
    let mut checker = Checker::new(heads);
    for (at, line) in lines.iter().enumerate() {
        checker.line(place(at as u64 + 1), line)?;
    }
    checker.end()
}

fn place(line: u64) -> Place {
    Place { file: 0, line }
}

fn found(lines: &[Vec<u8>]) -> (u64, Fault) {
    let finding = check(lines, &[]).unwrap_err();
    (finding.place.line, finding.fault)
}

/// Splits bytes as a file is split.
fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    if lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines
}

#[test]
fn a_log_that_is_whole_is_found_to_be() {
    let lines = log(9);
    let summary = check(&lines, &[head(&lines[..4]), head(&lines)]).unwrap();
    assert_eq!(
        (summary.chained, summary.segments, summary.first),
        (9, 1, 1)
    );
    assert_eq!((summary.heads_found, summary.head), (2, Some(head(&lines))));
    // Rotated: begins with the mark of a file.
    let rotated = log_from(head(&lines).next(), 5);
    let summary = check(&rotated, &[head(&lines)]).unwrap();
    assert_eq!((summary.first, summary.heads_gone), (10, 1));
    assert_eq!(check(&[], &[]).unwrap(), Summary::default());
}

#[test]
fn a_log_without_a_chain_may_come_before() {
    let old = br#"{"timestamp":"t","action":"http.auth","result":"success"}"#.to_vec();
    let mut lines = vec![old.clone(), old.clone()];
    lines.extend(log_from(Link::after(&old), 3));
    let summary = check(&lines, &[]).unwrap();
    assert_eq!((summary.unchained, summary.chained), (2, 3));
    // The last of the old lines is covered.
    lines[1][20] ^= 1;
    assert_eq!(found(&lines), (2, Fault::Stranger));
}

#[test]
fn what_was_done_to_a_log_has_a_name() {
    let whole = log(9);
    let mut lines = whole.clone();
    lines.remove(3);
    let gone = Fault::OutOfPlace {
        expected: 4,
        found: 5,
    };
    assert_eq!(found(&lines), (4, gone));
    let mut lines = whole.clone();
    lines.swap(3, 4);
    assert!(matches!(found(&lines), (4, Fault::OutOfPlace { .. })));
    let mut lines = whole.clone();
    lines.insert(5, b"{\"action\":\"put in\"}".to_vec());
    assert_eq!(found(&lines), (6, Fault::Stranger));
    assert_eq!(found(&whole[1..]), (1, Fault::Beheaded { found: 2 }));
    let cut = Fault::Truncated {
        acknowledged: 9,
        last: 7,
    };
    let finding = check(&whole[..7], &[head(&whole)]).unwrap_err();
    assert_eq!((finding.place.line, finding.fault), (7, cut));
    // A forged end is not the one that was acknowledged.
    let forged = [whole[..8].to_vec(), log_from(head(&whole[..8]).next(), 3)].concat();
    let finding = check(&forged, &[head(&whole)]).unwrap_err();
    assert_eq!(finding.place.line, 9);
    assert_eq!(finding.fault, Fault::NotAcknowledged { seq: 9 });
}

#[test]
fn a_segment_that_did_not_follow_stays_in_evidence() {
    let segment = |number, start| Segment {
        log: crate::audit::LogName::parse("a").unwrap(),
        number,
        start,
        first_seq: 5,
        missing: 0,
        head: head(&log(1)),
        began_at: jiff::Timestamp::UNIX_EPOCH,
        updated_at: jiff::Timestamp::UNIX_EPOCH,
    };
    let mut segments = vec![
        segment(1, SegmentStart::First),
        segment(2, SegmentStart::Gap),
    ];
    assert_eq!(broken(&segments), None);
    segments.push(segment(3, SegmentStart::Mismatch));
    assert_eq!(
        broken(&segments),
        Some(Fault::Broken { segment: 3, seq: 5 })
    );
}

proptest! {
    #[test]
    fn any_changed_byte_is_found(count in 2u64..12, at in any::<prop::sample::Index>(), flip in 1u8..=255) {
        let lines = log(count);
        let mut bytes = lines.join(&b'\n');
        bytes.push(b'\n');
        let at = at.index(bytes.len());
        let changed_line = bytes[..at].iter().filter(|b| **b == b'\n').count() as u64 + 1;
        bytes[at] ^= flip;
        // Without the head the last line is covered by nothing, nor is the break behind it.
        let heads = [head(&lines)];
        let changed = split(&bytes);
        let finding = check(&changed, &heads);
        prop_assert!(finding.is_err(), "byte {} of line {}", at, changed_line);
        let line = finding.unwrap_err().place.line;
        // The last line is found by its head, or by what is missing behind the one before.
        prop_assert!(
            line == changed_line || (changed_line + 1 >= count && line + 1 >= changed_line),
            "line {} was changed, and {} was found", changed_line, line
        );
    }

    #[test]
    fn any_removal_is_found(count in 2u64..12, from in any::<prop::sample::Index>(), more in 0usize..5) {
        let lines = log(count);
        let from = from.index(lines.len());
        let until = (from + 1 + more).min(lines.len());
        let left = [&lines[..from], &lines[until..]].concat();
        prop_assert!(check(&left, &[head(&lines)]).is_err());
    }

    #[test]
    fn any_other_order_is_found(count in 2usize..9, seed in any::<u64>()) {
        let lines = log(count as u64);
        let mut order: Vec<usize> = (0..count).collect();
        let mut state = seed;
        for at in (1..count).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(at, (state >> 33) as usize % (at + 1));
        }
        let moved: Vec<Vec<u8>> = order.iter().map(|at| lines[*at].clone()).collect();
        prop_assert_eq!(check(&moved, &[head(&lines)]).is_err(), moved != lines);
    }
}
