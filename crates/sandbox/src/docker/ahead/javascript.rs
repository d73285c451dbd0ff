//! What JavaScript begins with: the leading `const x = require('x')` and `await import('x')`.

use super::{How, LONGEST, Load};

/// The loads before anything else, in their order. What is not of a package that `is_named` knows,
/// such as `fs`, is passed over.
pub(super) fn begins_with(code: &str, is_named: impl Fn(&str) -> bool) -> Vec<Load> {
    let mut reader = Reader {
        rest: code,
        is_new_line: false,
        found: Vec::new(),
        is_named,
    };
    while reader.statement() {}
    reader.found
}

struct Reader<'a, F> {
    rest: &'a str,
    /// Whether a line has ended since what was read last.
    is_new_line: bool,
    found: Vec<Load>,
    is_named: F,
}

/// Whether to read on.
type GoOn = bool;

impl<'a, F: Fn(&str) -> bool> Reader<'a, F> {
    /// Skips white space and comments.
    fn blank(&mut self) {
        loop {
            let trimmed = self.rest.trim_start();
            let (skipped, rest) = if trimmed.len() < self.rest.len() {
                self.rest.split_at(self.rest.len() - trimmed.len())
            } else if self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.rest.split_at(end)
            } else if self.rest.starts_with("/*")
                && let Some(end) = self.rest.find("*/")
            {
                self.rest.split_at(end + 2)
            } else {
                return;
            };
            self.is_new_line |= skipped.contains('\n');
            self.rest = rest;
        }
    }

    fn eat(&mut self, text: &str) -> bool {
        self.blank();
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                self.is_new_line = false;
                true
            }
            None => false,
        }
    }

    /// The next word, which is left where it is; empty when there is none.
    fn word(&mut self) -> &'a str {
        self.blank();
        let end = self.rest.find(|c: char| !is_of_name(c));
        &self.rest[..end.unwrap_or(self.rest.len())]
    }

    fn eat_word(&mut self, word: &str) -> bool {
        self.word() == word && self.eat(word)
    }

    fn statement(&mut self) -> GoOn {
        if self.eat("'use strict'") || self.eat("\"use strict\"") {
            return self.end();
        }
        match self.word() {
            "const" | "let" | "var" => {
                let word = self.word();
                self.eat(word);
                loop {
                    let is_read = self.binding() && self.eat("=") && self.value();
                    if !is_read || !self.eat(",") {
                        return is_read && self.end();
                    }
                }
            }
            "require" | "await" => self.value() && self.end(),
            "return" => {
                self.eat("return");
                self.blank();
                // A line's end after it is the statement's.
                if !self.is_new_line {
                    self.value();
                }
                false
            }
            _ => false,
        }
    }

    /// A name, or names in braces without anything that would be worked out.
    fn binding(&mut self) -> GoOn {
        if self.eat("{") {
            let end = self.rest.find('}');
            let Some((names, rest)) = end.map(|end| self.rest.split_at(end)) else {
                return false;
            };
            let is_plain = |c: char| is_of_name(c) || c.is_whitespace() || matches!(c, ',' | ':');
            self.rest = rest;
            return names.chars().all(is_plain) && !has_word(names, "require") && self.eat("}");
        }
        let name = self.word();
        self.eat(name) && !name.is_empty() && name != "require"
    }

    /// `require('x')` or `await import('x')`, in parentheses or not, and what is taken from it by name.
    fn value(&mut self) -> GoOn {
        let is_enclosed = self.eat("(");
        let how = if self.eat_word("await") {
            self.eat_word("import").then_some(How::Import)
        } else {
            self.eat_word("require").then_some(How::Require)
        };
        let Some(how) = how else {
            return false;
        };
        if !self.eat("(") {
            return false;
        }
        let Some(name) = self.text() else {
            return false;
        };
        if !self.eat(")") || !self.found_one(how, name) {
            return false;
        }
        if is_enclosed && !self.eat(")") {
            return false;
        }
        while self.eat(".") {
            let name = self.word();
            if name.is_empty() || !self.eat(name) {
                return false;
            }
        }
        true
    }

    fn text(&mut self) -> Option<&'a str> {
        self.blank();
        let quote = self.rest.chars().next().filter(|c| "'\"`".contains(*c))?;
        let (text, rest) = self.rest[1..].split_once(quote)?;
        self.rest = rest;
        self.is_new_line = false;
        Some(text)
    }

    fn found_one(&mut self, how: How, name: &str) -> GoOn {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "@/-_.:~".contains(c);
        if name.is_empty() || name.len() > LONGEST || !name.chars().all(is_plain) {
            return false;
        }
        // Files of the call's own, and addresses.
        if name.starts_with(['.', '/']) || (name.contains(':') && !name.starts_with("node:")) {
            return false;
        }
        let slashes = if name.starts_with('@') { 2 } else { 1 };
        let end = name.match_indices('/').nth(slashes - 1);
        let package = &name[..end.map_or(name.len(), |(at, _)| at)];
        if (self.is_named)(package) {
            self.found.push(Load(how, name.to_owned(), Vec::new()));
        }
        true
    }

    /// The end of a statement: a semicolon, or a line's end before what cannot belong to it.
    fn end(&mut self) -> GoOn {
        if self.eat(";") {
            return true;
        }
        let next = self.word();
        self.is_new_line && !next.is_empty() && !matches!(next, "in" | "instanceof")
    }
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c| !is_of_name(c)).any(|it| it == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(code: &str) -> String {
        let is_named = |name: &str| ["a", "b", "@s/c"].contains(&name);
        let all = begins_with(code, is_named);
        let shown = all.iter().map(|Load(how, name, _)| match how {
            How::Require => format!("r:{name}"),
            _ => format!("i:{name}"),
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_code_begins_with_is_loaded() {
        for (code, expected) in [
            ("const a = require('a'); return 1", "r:a"),
            ("return require('a')('1s')", "r:a"),
            ("return (await import(\"b\")).default", "i:b"),
            (
                "'use strict'\n// why\nvar x = require(`a`)\nlet {y, z: w} = require('b/sub')\nreturn 1",
                "r:a r:b/sub",
            ),
            (
                "const fs = require('node:fs'), x = require('@s/c/deep').one.two;\nreturn 1",
                "r:@s/c/deep",
            ),
            (
                "/* a */ require('a');\nconst z = (await import('b')).default\nconst y = require('a')",
                "r:a i:b r:a",
            ),
            ("const p = require('other')\nconst x = require('a')", "r:a"),
        ] {
            assert_eq!(loads(code), expected, "{code}");
        }
    }

    #[test]
    fn nothing_is_loaded_that_the_code_might_not_have_loaded_first() {
        for (code, expected) in [
            ("process.env.NODE_ENV = 'x'; const a = require('a')", ""),
            ("if (args.x) require('a')", ""),
            ("try { require('a') } catch {}", ""),
            ("const x = 1, a = require('a')", ""),
            ("// require('a')\nreturn 1", ""),
            ("const f = () => require('a')", ""),
            ("const a = import('a')", ""),
            ("return\nrequire('a')", ""),
            ("const a = require(args.name)", ""),
            ("const a = require('./a'); require('b')", ""),
            ("const a = require('/a'); require('b')", ""),
            ("await import('data:text/javascript,1'); require('b')", ""),
            ("const require = () => 1; const b = require('b')", ""),
            ("const {x: require} = require('a'); require('b')", ""),
            // It runs code of the package, and what comes then may depend on it.
            ("require('a').config()\nconst b = require('b')", "r:a"),
            ("const x = require('a')\n(1)\nconst b = require('b')", "r:a"),
            ("const x = require('a')\n['x']\nrequire('b')", "r:a"),
            ("const {x = args.f()} = require('a'); require('b')", ""),
            ("const [x] = require('a')", ""),
            ("const x = require('a') || require('b')", "r:a"),
            ("const x = require('a', 1)", ""),
            ("const x = require('a'", ""),
            ("/* require('a')", ""),
            ("é", ""),
            ("const x = require('a\u{e9}')", ""),
            ("const", ""),
            ("", ""),
        ] {
            assert_eq!(loads(code), expected, "{code}");
        }
    }
}
