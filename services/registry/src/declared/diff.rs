//! What is different between the configuration and the catalogue, for people.

use std::fmt;

/// How one tool differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// It is not there.
    Created,
    /// These fields differ.
    Changed(Vec<String>),
    /// It was made through MCP; these fields differ, if any do.
    TakenOver(Vec<String>),
    /// It is not declared any more.
    Deleted,
}

impl Difference {
    /// The names of the fields that differ.
    pub(super) fn fields(&self) -> Vec<String> {
        match self {
            Self::Changed(fields) | Self::TakenOver(fields) => fields.clone(),
            Self::Created | Self::Deleted => Vec::new(),
        }
    }
}

/// Every difference, by tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Tools and how they differ, in the order in which they are written.
    pub lines: Vec<(String, Difference)>,
    /// How many tools are as they are declared.
    pub unchanged: usize,
}

impl Diff {
    pub(super) fn add(&mut self, label: String, difference: Difference) {
        self.lines.push((label, difference));
    }

    /// Whether nothing is different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The numbers in words: `1 created, 2 changed, 3 as they were`.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |of: fn(&Difference) -> bool| {
            let of_kind = self.lines.iter().filter(|(_, difference)| of(difference));
            of_kind.count()
        };
        let parts = [
            (count(|it| *it == Difference::Created), "created"),
            (count(|it| matches!(it, Difference::Changed(_))), "changed"),
            (
                count(|it| matches!(it, Difference::TakenOver(_))),
                "taken over from MCP",
            ),
            (count(|it| *it == Difference::Deleted), "deleted"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let mut words: Vec<String> = parts
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        words.push(format!("{} as declared", self.unchanged));
        words.join(", ")
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => out.write_str("created"),
            Self::Deleted => out.write_str("deleted"),
            Self::Changed(fields) => write!(out, "changed: {}", fields.join(", ")),
            Self::TakenOver(fields) if fields.is_empty() => out.write_str("taken over from MCP"),
            Self::TakenOver(fields) => {
                write!(out, "taken over from MCP: {}", fields.join(", "))
            }
        }
    }
}

impl fmt::Display for Diff {
    /// A line for each tool: `+` created, `~` changed or taken over, `-` deleted.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (label, difference) in &self.lines {
            let sign = match difference {
                Difference::Created => '+',
                Difference::Deleted => '-',
                Difference::Changed(_) | Difference::TakenOver(_) => '~',
            };
            writeln!(out, "  {sign} {label} ({difference})")?;
        }
        Ok(())
    }
}
