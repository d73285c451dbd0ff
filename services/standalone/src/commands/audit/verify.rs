//! `audit verify`: reads the files of a log, a line at a time.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use bootstrap::Diagnosis;
use bootstrap::config::{ConfigError, StandaloneConfig};
use domain::audit::archive::Segment;
use domain::audit::verify::{Checker, Fault, Finding, Place, Summary, broken};
use domain::audit::{Head, LogName};

use super::{NOT_WHOLE, Verify, archive, log_name, said};

/// Longest line: twice the longest that a configuration allows.
const LONGEST: usize = 2 << 20;

pub(super) async fn run(
    wanted: Verify,
    config: Result<StandaloneConfig, ConfigError>,
) -> Result<Diagnosis, String> {
    let files = if wanted.files.is_empty() {
        let config = config.as_ref().map_err(ToString::to_string)?;
        with_rotated(&config.public.audit.file)?
    } else {
        in_order(wanted.files)
    };
    let log = match log_name(wanted.log)? {
        Some(log) => Some(log),
        None => name_beside(&files),
    };
    let segments = match wanted.heads.as_deref() {
        None => Vec::new(),
        Some("registry") => {
            let registry = archive::open(config).await?;
            let segments = archive::segments(&registry, log.as_ref()).await;
            registry.close().await;
            of_one_log(segments?, log.as_ref())?
        }
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
            let segments =
                archive::read_heads(&text).map_err(|error| format!("{file}: {error}"))?;
            of_one_log(segments, log.as_ref())?
        }
    };
    let compared = wanted.heads.is_some() || wanted.head.is_some();
    let mut heads: Vec<Head> = segments.iter().map(|segment| segment.head).collect();
    heads.extend(wanted.head);
    let checking = tokio::task::spawn_blocking(move || {
        let checked = check(&files, &heads);
        (files, checked)
    });
    let (files, checked) = checking.await.map_err(|error| error.to_string())?;
    let mut outcome = checked?;
    if let (Ok(_), Some(fault)) = (&outcome, broken(&segments)) {
        let place = Place { file: 0, line: 1 };
        outcome = Err(Finding { place, fault });
    }
    Ok(match outcome {
        Ok(summary) if summary.chained == 0 => {
            return Err(String::from(
                "no line is part of a chain: there is nothing to verify",
            ));
        }
        Ok(summary) => said(whole(&files, &summary, compared)),
        Err(finding) => Diagnosis {
            text: describe(&files, &finding),
            exit_code: NOT_WHOLE,
            ..Diagnosis::default()
        },
    })
}

/// The heads of the one log that is looked at.
fn of_one_log(mut segments: Vec<Segment>, log: Option<&LogName>) -> Result<Vec<Segment>, String> {
    if let Some(log) = log {
        segments.retain(|segment| segment.log == *log);
        if segments.is_empty() {
            return Err(format!(
                "no head of the log {log} is kept: it was never shipped"
            ));
        }
    }
    let Some(first) = segments.first() else {
        return Err(String::from("no heads are kept to compare with"));
    };
    if segments.iter().any(|segment| segment.log != first.log) {
        return Err(String::from(
            "the heads are of several logs: name this one with --log, as the details of its \
             service.start records say",
        ));
    }
    Ok(segments)
}

/// Rotated files before the newer ones: by the number at the end of their names.
fn in_order(mut files: Vec<PathBuf>) -> Vec<PathBuf> {
    files.sort_by_key(|file| std::cmp::Reverse(number_of(file)));
    files
}

/// The number of a rotated file; 0 for the one that is written.
fn number_of(file: &Path) -> u32 {
    let end = file.extension().and_then(|end| end.to_str());
    end.and_then(|end| end.parse().ok()).unwrap_or(0)
}

/// A log with all its rotated files.
fn with_rotated(file: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = vec![file.to_owned()];
    for number in 1.. {
        let mut rotated = file.as_os_str().to_owned();
        rotated.push(format!(".{number}"));
        let rotated = PathBuf::from(rotated);
        match rotated.try_exists() {
            Ok(true) => files.push(rotated),
            Ok(false) => break,
            Err(error) => return Err(format!("{}: {error}", rotated.display())),
        }
    }
    files.reverse();
    Ok(files)
}

/// The name of a log, from the file of its name beside the newest file.
fn name_beside(files: &[PathBuf]) -> Option<LogName> {
    let newest = files.last()?;
    let base = if number_of(newest) > 0 {
        newest.with_extension("")
    } else {
        newest.clone()
    };
    let mut beside = base.into_os_string();
    beside.push(".id");
    let text = std::fs::read_to_string(beside).ok()?;
    LogName::parse(text.trim()).ok()
}

type Checked = Result<Summary, Finding>;

/// The outer error is a file that cannot be read.
fn check(files: &[PathBuf], heads: &[Head]) -> Result<Checked, String> {
    let mut checker = Checker::new(heads);
    for (number, file) in files.iter().enumerate() {
        let read = read(&mut checker, number, file);
        match read.map_err(|error| format!("{}: {error}", file.display()))? {
            Ok(()) => {}
            Err(finding) => return Ok(Err(finding)),
        }
    }
    Ok(checker.end())
}

fn read(checker: &mut Checker, file: usize, path: &Path) -> io::Result<Result<(), Finding>> {
    let mut reader = BufReader::with_capacity(256 * 1024, File::open(path)?);
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let length = reader
            .by_ref()
            .take(LONGEST as u64)
            .read_until(b'\n', &mut bytes)?;
        let place = Place { file, line };
        let fault = match bytes.pop() {
            None => break,
            Some(b'\n') => match checker.line(place, &bytes) {
                Ok(()) => continue,
                Err(finding) => return Ok(Err(finding)),
            },
            Some(_) if length >= LONGEST => Fault::TooLong,
            Some(_) => Fault::Cut,
        };
        return Ok(Err(Finding { place, fault }));
    }
    Ok(Ok(()))
}

fn describe(files: &[PathBuf], finding: &Finding) -> String {
    let Place { file, line } = finding.place;
    let name = |file: usize| {
        let path = files.get(file).map(PathBuf::as_path);
        path.map_or_else(String::new, |path| path.display().to_string())
    };
    let at = match finding.fault {
        Fault::Broken { .. } => String::new(),
        _ => format!("{}:{line}: ", name(file)),
    };
    let between = match finding.fault {
        Fault::OutOfPlace { .. } if line == 1 && file > 0 => {
            let before = name(file - 1);
            format!(" ({} does not go on where {before} ends)", name(file))
        }
        _ => String::new(),
    };
    format!("{at}{}{between}\n", finding.fault)
}

fn whole(files: &[PathBuf], summary: &Summary, compared: bool) -> String {
    let mut text = format!(
        "the log is whole: {} lines in {} files, numbers {} to {}\n",
        summary.chained,
        files.len(),
        summary.first,
        summary.head.map_or(0, |head| head.seq),
    );
    if let Some(head) = summary.head {
        text.push_str(&format!("head {head}\n"));
    }
    if summary.segments > 1 {
        let segments = summary.segments;
        text.push_str(&format!("the chain begins {segments} times in it\n"));
    }
    if summary.unchained > 0 {
        let unchained = summary.unchained;
        text.push_str(&format!(
            "{unchained} lines before it have no chain: of them only the last one is covered\n"
        ));
    }
    text.push_str(&if compared {
        format!(
            "compared with {} kept heads; the lines of {} more are in none of the files\n",
            summary.heads_found, summary.heads_gone
        )
    } else {
        String::from(
            "not compared with any kept head: lines that are gone from its very end do not show \
             (--heads registry)\n",
        )
    });
    text
}
