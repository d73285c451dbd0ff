//! The protocol versions that we serve.

use std::fmt;

/// A served version of MCP, oldest first. Derived order is the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// Batches were allowed.
    V2025_03_26,
    /// Structured output.
    V2025_06_18,
    /// The last one with a handshake.
    V2025_11_25,
    /// Stateless: every request says its version and the client's capabilities.
    V2026_07_28,
}

impl Version {
    pub(crate) const ALL: [Version; 4] = [
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
        Self::V2026_07_28,
    ];

    /// What a request is taken for that names no version.
    pub(crate) const UNNAMED: Version = Self::V2025_03_26;

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Whether it is of the stateless era.
    pub(crate) fn is_modern(self) -> bool {
        self >= Self::V2026_07_28
    }

    /// The same for rmcp.
    pub(crate) fn rmcp() -> Vec<rmcp::model::ProtocolVersion> {
        use rmcp::model::ProtocolVersion as P;
        vec![
            P::V_2025_03_26,
            P::V_2025_06_18,
            P::V_2025_11_25,
            P::V_2026_07_28,
        ]
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}
