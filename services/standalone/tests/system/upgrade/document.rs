//! docs/upgrading.md as data.

use std::path::Path;

/// A line of its tables.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// `U-` and a number.
    pub(super) id: String,
    /// What its third cell, of this program, quotes: the program's own words.
    pub(super) said: Vec<String>,
}

fn text() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/upgrading.md");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every line, in order.
pub(super) fn lines() -> Vec<Line> {
    let text = text();
    let rows = text.lines().filter(|row| row.starts_with("| U-"));
    let lines: Vec<Line> = rows.map(read).collect();
    assert!(lines.len() > 50, "only {} lines", lines.len());
    lines
}

/// The line with this number.
#[track_caller]
pub(super) fn line(id: &str) -> Line {
    let found = lines().into_iter().find(|line| line.id == id);
    found.unwrap_or_else(|| panic!("docs/upgrading.md has no {id}"))
}

/// The code block that holds `needle`.
#[track_caller]
pub(super) fn block(needle: &str) -> String {
    let text = text();
    let blocks = text.split("```sh\n").skip(1);
    let mut blocks = blocks.filter_map(|rest| rest.split("```").next());
    let found = blocks.find(|block| block.contains(needle));
    found
        .unwrap_or_else(|| panic!("no code block with {needle:?}"))
        .to_owned()
}

fn read(row: &str) -> Line {
    let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
    assert_eq!(cells.len(), 5, "five cells: {row}");
    assert!(
        cells.iter().all(|cell| !cell.is_empty()),
        "an empty cell: {row}"
    );
    Line {
        id: cells[0].to_owned(),
        said: quoted(cells[2]),
    }
}

/// The texts in quotation marks. A mark in a code span is the span's own; inside of a quotation a
/// backtick is the program's.
fn quoted(cell: &str) -> Vec<String> {
    let (mut said, mut open, mut in_code) = (Vec::new(), None::<String>, false);
    for c in cell.chars() {
        match (&mut open, c) {
            (Some(text), '"') => {
                said.push(std::mem::take(text));
                open = None;
            }
            (Some(text), _) => text.push(c),
            (None, '`') => in_code = !in_code,
            (None, '"') if !in_code => open = Some(String::new()),
            (None, _) => {}
        }
    }
    assert!(open.is_none() && !in_code, "a mark is left open: {cell}");
    said
}

#[test]
fn quotations_are_told_from_code() {
    let cell = r#"`{"a":"b"}`: "is no `_` name", "no""#;
    assert_eq!(quoted(cell), ["is no `_` name", "no"]);
}
