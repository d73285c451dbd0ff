//! Verifies a log line by line: finds the first line that was changed, removed, put in another order
//! or cut, and, against heads that were kept elsewhere, lines that are gone from its end.
//!
//! Free of I/O: whoever reads the files hands their lines to a [`Checker`], oldest first, and asks it
//! at the end. What it remembers does not grow with the log.

use std::collections::HashMap;
use std::fmt;

use sha2::{Digest, Sha256};

use super::Action;
use super::archive::{Head, Segment, SegmentStart};
use super::chain::{Link, NOTHING, place_of};

/// Where a line is: the number of its file in the order of reading, from 0, and its own, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: usize,
    /// The line.
    pub line: u64,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is not the line that was written.
    Changed,
    /// It is no part of the chain: changed, or put in by somebody else.
    Stranger,
    /// Another line belongs here: lines were removed, moved, or their file was swapped or left out.
    OutOfPlace {
        /// Number of the line that belongs here.
        expected: u64,
        /// Number of the one that is here.
        found: u64,
    },
    /// It is the first line of all and not the first of a file: those before it were removed.
    Beheaded {
        /// Its number.
        found: u64,
    },
    /// It does not end: cut off, or its process was killed while it wrote and has not begun again.
    Cut,
    /// It is longer than any line of a log.
    TooLong,
    /// The log ends here, and a later line was acknowledged.
    Truncated {
        /// Number of the last line that was acknowledged.
        acknowledged: u64,
        /// Number of the last line that is here; 0: none is.
        last: u64,
    },
    /// The line of this number is not the one that was acknowledged.
    NotAcknowledged {
        /// The number.
        seq: u64,
    },
    /// The registry was once shown lines that do not follow what it had been shown before.
    Broken {
        /// Number of the registry's segment that began so.
        segment: u64,
        /// Number of its first line.
        seq: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Changed => out.write_str("this line was changed after it was written"),
            Fault::Stranger => {
                out.write_str("this line is no part of the chain: it was changed, or put in")
            }
            Fault::OutOfPlace { expected, found } => write!(
                out,
                "line number {expected} of the chain belongs here, and number {found} is here: lines \
                 were removed or moved, or a file is missing or swapped"
            ),
            Fault::Beheaded { found } => write!(
                out,
                "the log begins with number {found} in the middle of a file: the lines before it were \
                 removed"
            ),
            Fault::Cut => out.write_str(
                "this line does not end: it was cut off, or the process was killed while it wrote \
                 (its next start takes the line away and says so)",
            ),
            Fault::TooLong => out.write_str("this line is too long to be one of an audit log"),
            Fault::Truncated { acknowledged, last } => write!(
                out,
                "the log ends with number {last}, and number {acknowledged} was acknowledged: lines \
                 were removed from its end"
            ),
            Fault::NotAcknowledged { seq } => write!(
                out,
                "the line with number {seq} is not the one that was acknowledged: the log was written \
                 anew, or this is another one"
            ),
            Fault::Broken { segment, seq } => write!(
                out,
                "the registry was shown a line with number {seq} that does not follow what it had \
                 been shown before (segment {segment}): the log was changed under the gateway"
            ),
        }
    }
}

/// The first line that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// What.
    pub fault: Fault,
}

/// What a log that is whole holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lines that are part of a chain.
    pub chained: u64,
    /// Lines before a chain that have none: an older log. Only the last of them is covered.
    pub unchained: u64,
    /// How often a chain begins.
    pub segments: u64,
    /// The first number.
    pub first: u64,
    /// The end of the log.
    pub head: Option<Head>,
    /// Heads that were compared with a line.
    pub heads_found: u64,
    /// Heads of which the line is in no file that was read: rotated away.
    pub heads_gone: u64,
}

/// What is before the next line.
enum Before {
    Nothing,
    /// Lines without a chain that begin the log: the last one's place and hash, and the first one
    /// that is no record of any log.
    Strangers(Place, [u8; 32], Option<Place>),
    /// A line of the chain.
    Chain(Place, Link),
    /// Lines without a chain behind one: the first one's place, the last one's hash.
    Doubtful(Place, [u8; 32]),
    /// A line whose number fits and whose hash does not: the next one tells which of the two was
    /// changed. Place of the one before, place of this one, its own hash.
    Torn(Place, Place, [u8; 32]),
}

/// Takes the lines of a log.
pub struct Checker {
    before: Before,
    last: Place,
    summary: Summary,
    /// Numbers of the heads that are looked for.
    wanted: HashMap<u64, Vec<Sought>>,
}

struct Sought {
    hash: [u8; 32],
    found: bool,
    newest: bool,
    /// Where the line of this number is, when it is another one.
    other: Option<Place>,
}

impl Checker {
    /// A checker that compares with these heads too; the last one of them is the newest.
    #[must_use]
    pub fn new(heads: &[Head]) -> Self {
        let mut wanted: HashMap<u64, Vec<Sought>> = HashMap::new();
        for (at, head) in heads.iter().enumerate() {
            wanted.entry(head.seq).or_default().push(Sought {
                hash: head.hash,
                found: false,
                newest: at + 1 == heads.len(),
                other: None,
            });
        }
        Self {
            before: Before::Nothing,
            last: Place { file: 0, line: 1 },
            summary: Summary::default(),
            wanted,
        }
    }

    /// Takes the next line, which has no line break.
    ///
    /// # Errors
    /// The first line that is wrong: this one or one before it.
    pub fn line(&mut self, place: Place, line: &[u8]) -> Result<(), Finding> {
        let hash: [u8; 32] = Sha256::digest(line).into();
        let fault = |place, fault| Err(Finding { place, fault });
        let next = match (&self.before, place_of(line)) {
            (Before::Nothing, None) => {
                self.summary.unchained = 1;
                Before::Strangers(place, hash, (!is_record(line)).then_some(place))
            }
            (Before::Strangers(_, _, odd), None) => {
                self.summary.unchained += 1;
                let odd = odd.or((!is_record(line)).then_some(place));
                Before::Strangers(place, hash, odd)
            }
            (Before::Nothing, Some(link)) => {
                let begins = (link.seq == 1 && link.prev == NOTHING) || begins_a_file(line);
                if !begins {
                    return fault(place, Fault::Beheaded { found: link.seq });
                }
                self.summary.first = link.seq;
                self.take(place, link, hash)
            }
            (Before::Strangers(at, last, odd), Some(link)) => {
                if link.seq != 1
                    && let Some(odd) = odd
                {
                    return fault(*odd, Fault::Stranger);
                }
                if link.seq != 1 && self.summary.unchained > 1 {
                    let (expected, found) = (1, link.seq);
                    return fault(place, Fault::OutOfPlace { expected, found });
                }
                if link.seq != 1 || link.prev != *last {
                    return fault(*at, Fault::Stranger);
                }
                self.summary.first = 1;
                self.take(place, link, hash)
            }
            (Before::Chain(..), None) => Before::Doubtful(place, hash),
            (Before::Doubtful(first, _), None) => Before::Doubtful(*first, hash),
            (Before::Doubtful(first, last), Some(link)) => {
                if link.seq != 1 || link.prev != *last {
                    return fault(*first, Fault::Stranger);
                }
                self.take(place, link, hash)
            }
            (Before::Chain(at, wanted), Some(link)) => {
                match (link.seq == wanted.seq, link.prev == wanted.prev) {
                    (true, true) => self.take(place, link, hash),
                    (false, true) => return fault(place, Fault::Changed),
                    (true, false) => Before::Torn(*at, place, hash),
                    (false, false) => {
                        let (expected, found) = (wanted.seq, link.seq);
                        return fault(place, Fault::OutOfPlace { expected, found });
                    }
                }
            }
            (Before::Torn(at, _, own), Some(link)) if link.prev == *own => {
                // The line after it vouches for it: the one before was changed.
                return fault(*at, Fault::Changed);
            }
            (Before::Torn(_, this, _), _) => return fault(*this, Fault::Changed),
        };
        self.before = next;
        self.last = place;
        Ok(())
    }

    fn take(&mut self, place: Place, link: Link, hash: [u8; 32]) -> Before {
        self.summary.chained += 1;
        if link.seq == 1 || self.summary.segments == 0 {
            self.summary.segments += 1;
        }
        let head = Head {
            seq: link.seq,
            hash,
        };
        self.summary.head = Some(head);
        for sought in self.wanted.get_mut(&link.seq).into_iter().flatten() {
            if sought.hash == hash {
                sought.found = true;
            } else {
                sought.other = Some(place);
            }
        }
        Before::Chain(place, head.next())
    }

    /// Ends the log and compares it with the heads.
    ///
    /// # Errors
    /// A line that is wrong or missing.
    pub fn end(mut self) -> Result<Summary, Finding> {
        let fault = |place, fault| Err(Finding { place, fault });
        match self.before {
            Before::Doubtful(first, _) => return fault(first, Fault::Stranger),
            Before::Torn(at, this, own) => {
                // Only a head can vouch for the last line.
                let seq = self.summary.head.map_or(1, |head| head.seq + 1);
                let known = self.wanted.get(&seq);
                let forged = known.is_some_and(|heads| heads.iter().all(|one| one.hash != own));
                return fault(if forged { this } else { at }, Fault::Changed);
            }
            Before::Nothing | Before::Strangers(..) | Before::Chain(..) => {}
        }
        let last = self.summary.head.map_or(0, |head| head.seq);
        for (seq, sought) in &self.wanted {
            for one in sought {
                match one {
                    Sought { found: true, .. } => self.summary.heads_found += 1,
                    Sought {
                        newest: true,
                        other,
                        ..
                    } => {
                        if let Some(place) = other {
                            return fault(*place, Fault::NotAcknowledged { seq: *seq });
                        }
                        if *seq > last {
                            let acknowledged = *seq;
                            return fault(self.last, Fault::Truncated { acknowledged, last });
                        }
                        self.summary.heads_gone += 1;
                    }
                    Sought { .. } => self.summary.heads_gone += 1,
                }
            }
        }
        Ok(self.summary)
    }

    /// Where the last line is.
    #[must_use]
    pub fn last(&self) -> Place {
        self.last
    }
}

/// The first segment that says that a log was changed under its gateway.
#[must_use]
pub fn broken(segments: &[Segment]) -> Option<Fault> {
    let broken = segments
        .iter()
        .find(|segment| segment.start == SegmentStart::Mismatch)?;
    Some(Fault::Broken {
        segment: broken.number,
        seq: broken.first_seq,
    })
}

/// Whether it is a JSON object, as the lines of an older log are.
fn is_record(line: &[u8]) -> bool {
    line.first() == Some(&b'{') && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

/// Whether a line is the mark that every file of a log begins with.
fn begins_a_file(line: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        action: std::borrow::Cow<'a, str>,
    }
    serde_json::from_slice::<Named<'_>>(line)
        .is_ok_and(|line| line.action == Action::AuditFile.as_str())
}

#[cfg(test)]
mod tests;
