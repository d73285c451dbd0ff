//! What jemalloc writes of its samples: text, a stack of addresses and a line of counts each.

use std::io::BufRead;

/// How many lines, stacks and addresses are read. Beyond it there is an error: a part would mislead.
const MAX_LINES: usize = 2_000_000;
/// Longest line: jemalloc's stacks have at most 128 addresses.
const MAX_LINE_BYTES: u64 = 16 * 1_024;

/// Objects and bytes, estimated from the samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) objects: i64,
    pub(super) bytes: i64,
}

/// What one stack has allocated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stack {
    /// Return addresses, innermost first.
    pub(super) addresses: Vec<usize>,
    /// All since the sampling began.
    pub(super) allocated: Amount,
    /// What of it is still there.
    pub(super) live: Amount,
}

/// A dump.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Dump {
    /// One sample is taken about every so many bytes.
    pub(super) interval: i64,
    pub(super) stacks: Vec<Stack>,
}

/// Reads a dump of version 2. The error says what is wrong with it.
pub(super) fn read(mut text: impl BufRead) -> Result<Dump, String> {
    let mut dump = Dump::default();
    let mut addresses = None;
    let mut line = String::new();
    for number in 0.. {
        if number == MAX_LINES {
            return Err("there are too many samples; take a shorter profile".to_owned());
        }
        line.clear();
        let mut bounded = std::io::Read::take(&mut text, MAX_LINE_BYTES);
        let length = bounded
            .read_line(&mut line)
            .map_err(|error| error.to_string())?;
        // The stacks end where the files of the program are listed.
        if length == 0 || line.starts_with("MAPPED_LIBRARIES") {
            break;
        }
        let broken = || format!("line {} of the samples cannot be read", number + 1);
        if number == 0 {
            let interval = line.trim_end().strip_prefix("heap_v2/");
            dump.interval = interval
                .and_then(|interval| interval.parse().ok())
                .filter(|interval| *interval > 0)
                .ok_or_else(broken)?;
        } else if let Some(list) = line.strip_prefix('@') {
            addresses = Some(addresses_of(list).ok_or_else(broken)?);
        } else if let Some(counts) = line.trim_start().strip_prefix("t*:")
            // Those before the first stack are the sums of all.
            && let Some(addresses) = addresses.take()
        {
            let [live, allocated] = counts_of(counts, dump.interval).ok_or_else(broken)?;
            dump.stacks.push(Stack {
                addresses,
                allocated,
                live,
            });
        }
    }
    if dump.interval == 0 || addresses.is_some() {
        return Err("the samples end too early".to_owned());
    }
    Ok(dump)
}

fn addresses_of(list: &str) -> Option<Vec<usize>> {
    list.split_ascii_whitespace()
        .map(|word| usize::from_str_radix(word.strip_prefix("0x")?, 16).ok())
        .collect()
}

/// ` 3: 1572864 [4: 2097152]`: what is live, and what has been allocated.
fn counts_of(text: &str, interval: i64) -> Option<[Amount; 2]> {
    let mut numbers = text
        .split(|it: char| !it.is_ascii_digit())
        .filter(|word| !word.is_empty())
        .map(|word| word.parse::<f64>().ok());
    let mut amount = || Some(estimate(numbers.next()??, numbers.next()??, interval));
    Some([amount()?, amount()?])
}

/// The samples stand for more than themselves: the chance of one is that of the object's size in the
/// mean interval between samples. `jeprof` computes the same, and jemalloc writes what comes out right
/// when it is computed so.
fn estimate(objects: f64, bytes: f64, interval: i64) -> Amount {
    if objects <= 0.0 || bytes <= 0.0 {
        return Amount::default();
    }
    let chance = 1.0 - (-(bytes / objects) / interval as f64).exp();
    // A conversion of floats saturates.
    let whole = |value: f64| value.round() as i64;
    Amount {
        objects: whole(objects / chance),
        bytes: whole(bytes / chance),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "heap_v2/524288
  t*: 9: 99999 [9: 99999]
  t0: 9: 99999 [9: 99999]
@ 0x10 0x20 0xffffffffff
  t*: 2: 10485760 [4: 20971520]
  t1: 2: 10485760 [4: 20971520]
@ 0x30
  t*: 0: 0 [1: 1024]

MAPPED_LIBRARIES:
@ nothing of this is read
";

    #[test]
    fn stacks_and_what_the_samples_stand_for() {
        let dump = read(TEXT.as_bytes()).unwrap();
        assert_eq!(dump.interval, 524_288);
        assert_eq!(dump.stacks.len(), 2);
        let large = &dump.stacks[0];
        assert_eq!(large.addresses, [0x10, 0x20, 0xff_ffff_ffff]);
        // An object of ten intervals is all but certain to be sampled.
        assert_eq!((large.live.objects, large.allocated.objects), (2, 4));
        assert!((10_485_760..10_487_000).contains(&large.live.bytes));
        let small = &dump.stacks[1];
        assert_eq!(small.live, Amount::default());
        // One of 1 KiB stands for 512 of them.
        assert!((512..=513).contains(&small.allocated.objects), "{small:?}");
        assert!((524_288..=525_312).contains(&small.allocated.bytes));
    }

    #[test]
    fn what_is_no_dump_is_an_error() {
        for text in [
            "",
            "heap_v3/524288\n",
            "heap_v2/0\n",
            "heap_v2/x\n",
            "heap_v2/524288\n@ 0x10\n",
            "heap_v2/524288\n@ 10\n  t*: 1: 1 [1: 1]\n",
            "heap_v2/524288\n@ 0x10\n  t*: 1: 1\n",
            "heap_v2/524288\n@ 0x10\n  t*: x\n",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text:?}");
        }
        let endless = format!("heap_v2/524288\n{}", "\n".repeat(MAX_LINES));
        assert!(read(endless.as_bytes()).unwrap_err().contains("shorter"));
    }
}
