use std::os::unix::fs::PermissionsExt as _;

use domain::audit::{Action, Outcome, Record};
use tempfile::TempDir;
use testkit::audit::records;

use super::*;

const LINES: Writer = Writer {
    service: "dynamic-mcp",
    version: "0",
    max_bytes: 20_000,
};

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("logs/audit.log")
    }

    fn open_with(&self, max_bytes: u64, max_files: u32) -> (LogFile, Found) {
        LogFile::open(self.path(), max_bytes, max_files, LINES).unwrap()
    }

    fn open(&self) -> (LogFile, Found) {
        self.open_with(1_000_000, 3)
    }

    /// What was there before.
    fn left(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path().parent().unwrap()).unwrap();
        fs::write(self.path().with_file_name(name), text).unwrap();
    }
}

fn write(log: &mut LogFile, targets: &[&str]) {
    let record = |target: &&str| Queued {
        record: Record {
            target: Some((*target).to_owned()),
            ..Record::of_system(Action::Exec, Outcome::Success)
        },
        on_disk: None,
    };
    let mut waiting: VecDeque<Queued> = targets.iter().map(record).collect();
    log.write(&mut waiting).unwrap();
    assert!(waiting.is_empty());
}

fn targets(place: &Place) -> Vec<String> {
    records(&place.path())
        .iter()
        .filter(|record| record["action"] != "audit.file")
        .map(|record| record["target"].as_str().unwrap_or("-").to_owned())
        .collect()
}

#[test]
fn the_chain_goes_on_over_restarts() {
    let place = Place::new();
    let (mut log, found) = place.open();
    let nothing = Found {
        lines: false,
        torn_bytes: 0,
    };
    assert_eq!((found, log.next_seq()), (nothing, 1));
    write(&mut log, &["a", "b"]);
    drop(log);
    let (mut log, found) = place.open();
    assert!(found.lines);
    assert_eq!(log.next_seq(), 3);
    write(&mut log, &["c"]);
    assert_eq!(targets(&place), ["a", "b", "c"]);
    assert_eq!(records(&place.path())[0]["prev"], "0".repeat(64));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.path()), 0o600);
    assert_eq!(mode(place.path().parent().unwrap()), 0o700);
}

#[test]
fn a_full_file_is_put_aside_and_the_oldest_goes() {
    let place = Place::new();
    let (mut log, _) = place.open_with(700, 2);
    for number in 0..12 {
        write(&mut log, &[&format!("t{number}")]);
    }
    // Several at once, over more than one file.
    write(&mut log, &["u0", "u1", "u2", "u3", "u4"]);
    let mut names: Vec<String> = fs::read_dir(place.path().parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let id = "audit.log.id";
    assert_eq!(names, ["audit.log", "audit.log.1", "audit.log.2", id]);
    for name in names.iter().filter(|name| *name != id) {
        let len = fs::metadata(place.path().with_file_name(name))
            .unwrap()
            .len();
        assert!((1..=700).contains(&len), "{name}: {len}");
    }
    let kept = targets(&place);
    assert_eq!(kept.last().unwrap(), "u4");
    assert!(kept.len() < 17, "{kept:?}");
}

#[test]
fn a_line_longer_than_a_file_gets_a_file_of_its_own() {
    let place = Place::new();
    let (mut log, _) = place.open_with(100, 5);
    write(&mut log, &["a", "b", "c"]);
    assert_eq!(targets(&place), ["a", "b", "c"]);
    assert!(aside(&place.path(), 2).exists());
}

#[test]
fn after_a_rotation_without_a_line_the_chain_goes_on() {
    let place = Place::new();
    let (mut log, _) = place.open();
    write(&mut log, &["a", "b"]);
    log.rotate().unwrap();
    drop(log);
    let (mut log, found) = place.open();
    assert!(found.lines);
    write(&mut log, &["c"]);
    assert_eq!(targets(&place), ["a", "b", "c"]);
    // Ended in the middle of a rotation: the file is aside, and no new one was made.
    drop(log);
    fs::rename(aside(&place.path(), 1), aside(&place.path(), 2)).unwrap();
    fs::rename(place.path(), aside(&place.path(), 1)).unwrap();
    write(&mut place.open().0, &["d"]);
    assert_eq!(targets(&place), ["a", "b", "c", "d"]);
}

#[test]
fn a_rotation_moves_no_more_than_it_has_to() {
    let place = Place::new();
    place.left("audit.log.2", "old\n");
    let (mut log, _) = place.open();
    write(&mut log, &["a"]);
    log.rotate().unwrap();
    assert_eq!(
        fs::read_to_string(aside(&place.path(), 2)).unwrap(),
        "old\n"
    );
    assert!(aside(&place.path(), 1).exists() && !aside(&place.path(), 3).exists());
}

#[test]
fn a_torn_line_of_ours_is_taken_away() {
    let place = Place::new();
    write(&mut place.open().0, &["a"]);
    let whole = fs::read_to_string(place.path()).unwrap();
    place.left("audit.log", &format!("{whole}{{\"timestamp\":\"20"));
    let (mut log, found) = place.open();
    assert_eq!(found.torn_bytes, 16);
    write(&mut log, &["b"]);
    assert_eq!(targets(&place), ["a", "b"]);

    let place = Place::new();
    place.left("audit.log", "{\"timestamp\":\"2026");
    let (mut log, found) = place.open();
    assert_eq!((found.lines, found.torn_bytes), (false, 18));
    write(&mut log, &["a"]);
    assert_eq!(targets(&place), ["a"]);
}

#[test]
fn a_log_without_a_chain_stays_and_starts_a_segment() {
    let old = r#"{"timestamp":"2026-01-01T00:00:00.000Z","action":"http.auth","result":"success"}"#;
    let place = Place::new();
    place.left("audit.log", &format!("{old}\n{old}\n"));
    let (mut log, found) = place.open();
    assert!(found.lines);
    assert_eq!(log.next_seq(), 1);
    write(&mut log, &["a", "b"]);
    let records = records(&place.path());
    assert_eq!(records.len(), 4);
    assert_eq!(records[2]["seq"], 1);
    let prev = Link::after(old.as_bytes()).prev_hex();
    assert_eq!(records[2]["prev"], prev, "it holds the old log too");
    let text = fs::read_to_string(place.path()).unwrap();
    assert!(text.starts_with(&format!("{old}\n{old}\n")));

    // What somebody else has not written to its end is not ours to throw away.
    let place = Place::new();
    place.left("audit.log", &format!("{old}\n{{\"other\":"));
    write(&mut place.open().0, &["a"]);
    let text = fs::read_to_string(place.path()).unwrap();
    assert!(
        text.starts_with(&format!("{old}\n{{\"other\":\n")),
        "{text}"
    );
}

#[test]
fn a_file_that_was_moved_or_emptied_does_not_end_the_chain() {
    let place = Place::new();
    let (mut log, _) = place.open();
    write(&mut log, &["a", "b"]);
    fs::rename(place.path(), aside(&place.path(), 1)).unwrap();
    write(&mut log, &["c"]);
    assert_eq!(targets(&place), ["a", "b", "c"]);
    // As logrotate's copytruncate does it.
    fs::rename(aside(&place.path(), 1), aside(&place.path(), 2)).unwrap();
    fs::copy(place.path(), aside(&place.path(), 1)).unwrap();
    File::options()
        .write(true)
        .open(place.path())
        .unwrap()
        .set_len(0)
        .unwrap();
    write(&mut log, &["d"]);
    assert_eq!(targets(&place), ["a", "b", "c", "d"]);
}

#[test]
fn lines_of_somebody_else_are_part_of_the_chain() {
    let place = Place::new();
    let (mut log, _) = place.open();
    write(&mut log, &["a"]);
    let mut file = File::options().append(true).open(place.path()).unwrap();
    file.write_all(b"{\"other\":1}\n").unwrap();
    write(&mut log, &["b"]);
    assert_eq!(targets(&place), ["a", "-", "b"]);
}

#[test]
fn two_processes_make_one_chain() {
    let place = Place::new();
    let (mut one, _) = place.open_with(2_000, 80);
    let (mut other, _) = place.open_with(2_000, 80);
    for round in 0..10 {
        write(&mut one, &[&format!("a{round}"), &format!("b{round}")]);
        write(&mut other, &[&format!("c{round}")]);
    }
    assert!(aside(&place.path(), 2).exists(), "both went over rotations");
    assert_eq!(targets(&place).len(), 30);
    assert_eq!(targets(&place)[..4], ["a0", "b0", "c0", "a1"]);

    let writers: Vec<_> = [one, other]
        .into_iter()
        .map(|mut log| {
            std::thread::spawn(move || (0..100).for_each(|_| write(&mut log, &["t", "u"])))
        })
        .collect();
    writers.into_iter().for_each(|one| one.join().unwrap());
    assert_eq!(targets(&place).len(), 430);
}

#[test]
fn a_process_that_holds_the_file_for_ever_is_an_error() {
    let place = Place::new();
    let (mut log, _) = place.open();
    let other = File::open(place.path()).unwrap();
    other.lock().unwrap();
    let mut waiting = VecDeque::from([Queued {
        record: Record::of_system(Action::Exec, Outcome::Success),
        on_disk: None,
    }]);
    let error = log.write(&mut waiting).unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
    assert_eq!(waiting.len(), 1);
    other.unlock().unwrap();
    log.write(&mut waiting).unwrap();
}

#[test]
fn what_cannot_be_a_log_is_refused_with_the_fix() {
    let place = Place::new();
    let refused = |why: &str| {
        let Err(error) = LogFile::open(place.path(), 1_000_000, 3, LINES) else {
            panic!("{why}: it was opened");
        };
        let text = error.to_string();
        for part in [
            "audit.log",
            why,
            "MCP_AUDIT_FILE",
            "MCP_AUDIT_ENABLED=false",
        ] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    };
    fs::create_dir_all(place.path()).unwrap();
    refused("directory");
    fs::remove_dir(place.path()).unwrap();
    std::os::unix::fs::symlink("elsewhere", place.path()).unwrap();
    refused("symbolic link");
    fs::remove_file(place.path()).unwrap();
    place.left("audit.log", &"x".repeat(3 << 20));
    refused("too long");
    fs::remove_dir_all(place.path().parent().unwrap()).unwrap();
    fs::write(place.path().parent().unwrap(), "").unwrap();
    refused("exists");
}
