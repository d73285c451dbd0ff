//! Commands for the shell of a session.

use std::str::FromStr;
use std::time::Duration;

use domain::error::{Error, Result};
use domain::session::{COMMAND_BYTES, COMMANDS, CommandResult, Exec};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::actor::{Actor, Body, Done, Ending, Reply, answer, unanswered};
use super::end::Cause;
use super::line::{Said, Tell};
use crate::output::broken;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    commands: &'a [String],
    timeout_ms: u128,
    left_ms: u128,
    most: u64,
}

/// What the agent tells of a command.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ended {
    code: Option<i32>,
    signal: Option<String>,
    timed_out: bool,
    micros: u64,
    out: u64,
    err: u64,
    oom_kills: u64,
}

/// Whether commands can be handed over at all.
///
/// # Errors
/// `invalid_argument` that names the command.
pub(super) fn check(exec: &Exec) -> Result<()> {
    if exec.commands.is_empty() || exec.commands.len() > COMMANDS {
        return Err(Error::invalid("commands", "wants one or more commands")
            .with_limit(format!("1-{COMMANDS} commands")));
    }
    for (at, command) in exec.commands.iter().enumerate() {
        let field = format!("commands/{at}");
        if command.len() > COMMAND_BYTES {
            return Err(Error::invalid(field, "is too long")
                .with_limit(format!("{COMMAND_BYTES} bytes"))
                .with_fix("write a script with sandbox.files.write and run that"));
        }
        if command.contains('\0') {
            return Err(Error::invalid(
                field,
                "holds a NUL byte, which no argument of a program can",
            ));
        }
    }
    Ok(())
}

/// Has commands run, one after another.
///
/// # Errors
/// The session ends.
pub(super) async fn serve(
    actor: &mut Actor,
    exec: Exec,
    most: u64,
    until: Instant,
    mut reply: Reply<Vec<CommandResult>>,
) -> Result<(), Cause> {
    let head = Head {
        commands: &exec.commands,
        timeout_ms: exec.timeout.as_millis().max(1),
        left_ms: until.saturating_duration_since(Instant::now()).as_millis(),
        most,
    };
    let operation = actor.begin(Tell::Exec, &head);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (mut results, mut sum, mut killed) = (Vec::new(), 0_u64, false);
    let take = |message: super::line::Message| {
        let bytes = &message.payload;
        match message.said {
            Said::Out | Said::Err => {
                sum += bytes.len() as u64;
                if sum > most {
                    return Err(broken("more output than the commands' bound"));
                }
                let to = if message.said == Said::Out {
                    &mut out
                } else {
                    &mut err
                };
                to.extend_from_slice(bytes);
            }
            Said::Command if results.len() < exec.commands.len() => {
                let ended: Ended = crate::output::parsed(bytes)?;
                killed |= ended.oom_kills > 0;
                let (out, err) = (std::mem::take(&mut out), std::mem::take(&mut err));
                results.push(ended.result(out, err));
            }
            _ => return Err(broken("a message out of turn")),
        }
        Ok(())
    };
    // The agent ends a command whose time is over and tells what it had written until then.
    let late = (until, false);
    let ending = actor
        .operate(operation, Body::Nothing, late, &mut reply, take)
        .await;
    actor.killed |= killed;
    match ending? {
        Ending::Done(Done { error: None, .. }) => answer(reply, Ok(results)),
        ending => answer(reply, Err(unanswered(ending))),
    }
    Ok(())
}

impl Ended {
    fn result(self, out: Vec<u8>, err: Vec<u8>) -> CommandResult {
        let cut = [self.out > out.len() as u64, self.err > err.len() as u64];
        let number = self.signal.as_deref();
        let number = number.and_then(|name| Signal::from_str(name).ok());
        let by_signal = 128 + number.map_or(0, |signal| signal as i32);
        CommandResult {
            exit_code: self.code.unwrap_or(by_signal),
            signal: self.signal,
            stdout: text(out, cut[0]),
            stderr: text(err, cut[1]),
            duration: Duration::from_micros(self.micros),
            truncated: cut[0] || cut[1],
            stdout_bytes: self.out,
            stderr_bytes: self.err,
            timed_out: self.timed_out,
            out_of_memory: self.oom_kills > 0,
        }
    }
}

/// Bytes as text; a character that was cut in two at the end is left out.
fn text(mut bytes: Vec<u8>, cut: bool) -> String {
    if cut {
        for back in 1..=bytes.len().min(3) {
            let byte = bytes[bytes.len() - back];
            let length = match byte {
                0xc0..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf7 => 4,
                0x80..=0xbf => continue,
                _ => 0,
            };
            if length > back {
                bytes.truncate(bytes.len() - back);
            }
            break;
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_10_text_is_text_wherever_it_is_cut() {
        let whole = "aé€🌍".as_bytes();
        for end in 0..=whole.len() {
            let cut = text(whole[..end].to_vec(), true);
            assert!("aé€🌍".starts_with(&cut), "{end}: {cut}");
        }
        assert_eq!(text(b"a\xff\xc3".to_vec(), false), "a\u{fffd}\u{fffd}");
    }

    #[test]
    fn fault_34_what_no_argument_can_hold_is_refused_with_its_place() {
        let exec = |commands: &[&str]| Exec {
            commands: commands.iter().map(|&it| it.to_owned()).collect(),
            timeout: Duration::from_secs(1),
        };
        check(&exec(&["echo `id` $(id) \"'\n<<EOF"])).unwrap();
        let error = check(&exec(&["true", "a\0b"])).unwrap_err();
        assert_eq!(error.field(), Some("commands/1"));
        assert!(check(&exec(&[])).is_err());
        assert!(check(&exec(&["true"; 21])).is_err());
        assert!(check(&exec(&[&"x".repeat(65_537)])).is_err());
    }
}
