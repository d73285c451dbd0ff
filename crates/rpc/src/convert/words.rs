//! Words from closed lists.

use domain::runner::{EngineKind, LogLevel};
use domain::session::{EntryKind, Network};
use domain::tool::{CacheScope, EngineChoice, Isolation, Runtime};
use domain::{Error, Result};

use crate::pb;

/// A domain word and its number on the wire.
pub(crate) trait Word: Sized + Copy + 'static {
    /// The generated enum.
    type Wire: Into<i32> + Copy;
    /// Every word with its number.
    const TABLE: &'static [(Self, Self::Wire)];

    /// Whether two words are the same.
    fn same(self, other: Self) -> bool;

    /// The number of the word.
    fn wire(self) -> i32 {
        // Every word is in its table: a test looks.
        Self::TABLE
            .iter()
            .find(|(word, _)| word.same(self))
            .map_or(0, |(_, wire)| (*wire).into())
    }

    /// The word of a number.
    fn of_wire(field: &str, wire: i32) -> Result<Self> {
        Self::TABLE
            .iter()
            .find(|(_, number)| (*number).into() == wire)
            .map(|(word, _)| *word)
            .ok_or_else(|| Error::invalid(field, "is not a known value"))
    }
}

macro_rules! words {
    ($domain:ident = $wire:ident { $($word:ident),+ }) => {
        impl Word for $domain {
            type Wire = pb::$wire;
            const TABLE: &'static [(Self, pb::$wire)] =
                &[$(($domain::$word, pb::$wire::$word)),+];
            fn same(self, other: Self) -> bool {
                self == other
            }
        }
    };
}

words!(Runtime = Runtime { Node, Python });
words!(Network = Network { None, Bridge });
words!(
    EntryKind = EntryKind {
        File,
        Directory,
        Link,
        Other
    }
);
words!(EngineChoice = EngineChoice { Any, Docker });
words!(EngineKind = EngineKind { Isolate, Docker });
words!(Isolation = Isolation { Call, Tool });
words!(CacheScope = CacheScope { Caller, Tenant });
words!(
    LogLevel = LogLevel {
        Debug,
        Info,
        Notice,
        Warning,
        Error,
        Critical,
        Alert,
        Emergency
    }
);
