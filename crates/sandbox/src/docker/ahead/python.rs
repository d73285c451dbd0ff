//! What Python begins with: the leading `import x` and `from x import y`, and whether classes follow.

use super::{How, LONGEST, Load, MOST_NAMES};

/// The imports before anything else, in their order, also those of the language's own modules; and
/// whether there are classes after them, as far as that can be seen at a glance.
pub(super) fn begins_with(code: &str) -> (Vec<Load>, bool) {
    let mut reader = Reader {
        rest: code.strip_prefix('\u{feff}').unwrap_or(code),
        found: Vec::new(),
    };
    reader.document();
    while reader.statement().is_some() {}
    let is_class = |line: &str| line.trim_start().starts_with("class ");
    (reader.found, reader.rest.lines().any(is_class))
}

struct Reader<'a> {
    rest: &'a str,
    found: Vec<Load>,
}

impl<'a> Reader<'a> {
    /// Skips spaces and comments, and lines' ends too where they mean nothing.
    fn blank(&mut self, over_lines: bool) {
        loop {
            self.rest = self.rest.trim_start_matches(|c| {
                matches!(c, ' ' | '\t' | '\x0c') || (over_lines && matches!(c, '\n' | '\r'))
            });
            if !self.rest.starts_with('#') {
                return;
            }
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.rest = &self.rest[end..];
        }
    }

    fn eat(&mut self, text: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    /// A name, or several with dots between them.
    fn name(&mut self, may_have_dots: bool) -> Option<&'a str> {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_part = |c: char| is_of_name(c) || (may_have_dots && c == '.');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        let is_whole =
            |part: &str| !part.is_empty() && !part.starts_with(|c: char| c.is_ascii_digit());
        // Letters of other alphabets are not compared here.
        let is_ended = rest.chars().next().is_none_or(|c| c.is_ascii());
        if !is_ended || name.len() > LONGEST || !name.split('.').all(is_whole) {
            return None;
        }
        self.rest = rest;
        Some(name)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let before = self.rest;
        if self.name(false) == Some(word) {
            return Some(());
        }
        self.rest = before;
        None
    }

    /// The text that code may begin with to say what it does.
    fn document(&mut self) {
        self.blank(true);
        for quotes in ["\"\"\"", "'''"] {
            if let Some(text) = self.rest.strip_prefix(quotes)
                && let Some((text, rest)) = text.split_once(quotes)
                && !text.contains('\\')
            {
                self.rest = rest;
                // Anything else after it is read as what it is not.
                if self.end().is_none() {
                    self.rest = "";
                }
                return;
            }
        }
    }

    fn statement(&mut self) -> Option<()> {
        self.blank(true);
        let before = self.found.len();
        let read = if self.word("import").is_some() {
            self.import()
        } else {
            self.word("from").and_then(|()| self.from())
        };
        let read = read.and_then(|()| self.end());
        if read.is_none() {
            // It is not what it looked like.
            self.found.truncate(before);
        }
        read
    }

    fn import(&mut self) -> Option<()> {
        loop {
            self.blank(false);
            let name = self.name(true)?.to_owned();
            self.found.push(Load(How::Import, name, Vec::new()));
            self.alias(false)?;
            if self.eat(",").is_none() {
                return Some(());
            }
        }
    }

    fn from(&mut self) -> Option<()> {
        self.blank(false);
        let module = self.name(true)?.to_owned();
        self.blank(false);
        self.word("import")?;
        self.blank(false);
        let is_enclosed = self.eat("(").is_some();
        let mut names = Vec::new();
        loop {
            self.blank(is_enclosed);
            if is_enclosed && !names.is_empty() && self.eat(")").is_some() {
                break;
            }
            names.push(self.name(false)?.to_owned());
            self.alias(is_enclosed)?;
            if self.eat(",").is_none() {
                if is_enclosed {
                    self.eat(")")?;
                }
                break;
            }
        }
        names.truncate(MOST_NAMES);
        self.found.push(Load(How::From, module, names));
        Some(())
    }

    /// ` as name`, if it is there, and the spaces after it.
    fn alias(&mut self, over_lines: bool) -> Option<()> {
        self.blank(over_lines);
        if self.word("as").is_some() {
            self.blank(over_lines);
            self.name(false)?;
            self.blank(over_lines);
        }
        Some(())
    }

    fn end(&mut self) -> Option<()> {
        self.blank(false);
        let is_over = self.rest.is_empty() || self.rest.starts_with(['\n', '\r', ';']);
        self.rest = self.rest.trim_start_matches(';');
        is_over.then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(code: &str) -> String {
        let (shown, _) = begins_with(code);
        let shown = shown.iter().map(|Load(how, name, names)| match how {
            How::From => format!("{name}:{}", names.join(",")),
            _ => name.clone(),
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_code_begins_with_is_loaded() {
        for (code, expected) in [
            ("import six\nreturn six.x", "six"),
            (
                "  # why\n\n  import numpy as np, pandas.io as io  # so\n  import six; import x\n  return 1",
                "numpy pandas.io six x",
            ),
            ("\"\"\"What it does.\nimport a\"\"\"\nimport b\n", "b"),
            (
                "from __future__ import annotations\nfrom a.b import c as d, e\nimport f",
                "__future__:annotations a.b:c,e f",
            ),
            (
                "from a import (\n  b,  # first\n  c as d,\n)\r\nimport e\r\nx = 1",
                "a:b,c e",
            ),
            ("\u{feff}import a", "a"),
        ] {
            assert_eq!(loads(code), expected, "{code}");
        }
    }

    #[test]
    fn nothing_is_loaded_that_the_code_might_not_have_loaded_first() {
        for (code, expected) in [
            ("import os\nos.environ['X'] = '1'\nimport a", "os"),
            ("import a; a.use('x'); import b", "a"),
            ("if args:\n  import a", ""),
            ("try:\n  import a\nexcept ImportError:\n  pass", ""),
            ("x = '''\nimport a\n'''", ""),
            ("'''x''' + 1\nimport a", ""),
            ("from . import a", ""),
            ("from .a import b", ""),
            ("from a import *\nimport b", ""),
            ("import a \\\n , b", ""),
            ("import a.\nimport b", ""),
            ("import a é\nimport b", ""),
            ("import naïve", ""),
            ("importer()\nimport a", ""),
            ("import 1a", ""),
            ("from a import ()", ""),
            ("from a import (b", ""),
            ("import", ""),
            ("", ""),
        ] {
            assert_eq!(loads(code), expected, "{code}");
        }
    }
    #[test]
    fn classes_are_seen() {
        for (code, expected) in [
            ("import a\nclass B(a.C):\n  pass\nreturn 1", true),
            ("  import a\n  x = 1\n  @a.b\n  class C: pass", true),
            ("import a; import b\nreturn a.classes", false),
            ("import a\nsubclass = 1", false),
            ("import a", false),
        ] {
            assert_eq!(begins_with(code).1, expected, "{code}");
        }
    }
}
