//! The end of a log: its last line, and what was left of a line that was not written to its end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use domain::audit::chain::number_of;

/// Longest line that is looked for: twice the longest that a configuration allows.
const LONGEST: u64 = 2 << 20;

/// How a file ends.
pub(super) struct Tail {
    /// Length up to the end of the last whole line.
    pub(super) len: u64,
    /// The last whole line without its line break.
    pub(super) last: Option<Vec<u8>>,
    /// Bytes behind it.
    pub(super) torn: u64,
}

/// Reads the end of a file.
///
/// # Errors
/// Those of reading; a file whose last line is too long to be one of ours.
pub(super) fn read(file: &File) -> io::Result<Tail> {
    let end = file.metadata()?.len();
    let from = end.saturating_sub(LONGEST);
    let mut bytes = vec![0; usize::try_from(end - from).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, from)?;
    let too_long = || io::Error::other("its last line is too long to be one of an audit log");
    let Some(last_end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
        if from > 0 {
            return Err(too_long());
        }
        return Ok(Tail {
            len: 0,
            last: None,
            torn: end,
        });
    };
    let before = bytes[..last_end].iter().rposition(|byte| *byte == b'\n');
    if before.is_none() && from > 0 {
        return Err(too_long());
    }
    let start = before.map_or(0, |at| at + 1);
    let torn = (bytes.len() - last_end - 1) as u64;
    Ok(Tail {
        len: end - torn,
        last: Some(bytes[start..last_end].to_vec()),
        torn,
    })
}

/// Reads the end of a file and sees to it that it ends with a whole line. What is left of a line of
/// ours is taken away: nobody was told that it was written. What somebody else has left stays and
/// becomes a line.
///
/// # Errors
/// Those of [`read`] and of changing the file.
pub(super) fn repair(file: &File) -> io::Result<Tail> {
    let tail = read(file)?;
    if tail.torn == 0 {
        return Ok(tail);
    }
    let ours = match &tail.last {
        Some(last) => number_of(last).is_some(),
        None => {
            let mut start = [0; 14];
            file.read_at(&mut start, 0)?;
            b"{\"timestamp\":\"".starts_with(&start[..start.len().min(tail.torn as usize)])
        }
    };
    if ours {
        file.set_len(tail.len)?;
        return Ok(tail);
    }
    io::Write::write_all(&mut &*file, b"\n")?;
    read(file)
}
