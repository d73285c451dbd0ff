//! What the doctor says: a table for people, JSON for programs, an exit code for scripts.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::attack::{Attacks, Held};
use super::finding::{Finding, State};

/// Width of the column of states, and of names.
const STATE: usize = 8;
const NAME: usize = 28;

/// Everything that was found.
#[derive(Debug, Clone)]
pub struct Report {
    findings: Vec<Finding>,
    attacks: Vec<Attacks>,
}

impl Report {
    pub(super) fn new(findings: Vec<Finding>, attacks: Vec<Attacks>) -> Self {
        Self { findings, attacks }
    }

    /// The verdicts, in the order of `docs/doctor.md`.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The attacks, by engine; none when none were asked for.
    #[must_use]
    pub fn attacks(&self) -> &[Attacks] {
        &self.attacks
    }

    /// 0 when everything is as it should be or there is advice only; 1 when a wall is weaker than
    /// advised or an attack could not be tried; 2 when the executor will not run as configured, or an
    /// attack got through.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let worst = self.findings.iter().map(|finding| match finding.state {
            State::Ok | State::Skipped | State::Advice => 0,
            State::Weak => 1,
            State::Fail => 2,
        });
        let attacks = self.attacks.iter().flat_map(|attacks| &attacks.attacks);
        let broken = attacks.map(|attack| match attack.held {
            Held::Yes => 0,
            Held::Untried => 1,
            Held::No => 2,
        });
        worst.chain(broken).max().unwrap_or(0)
    }

    fn count(&self, state: State) -> usize {
        let all = self.findings.iter();
        all.filter(|finding| finding.state == state).count()
    }

    /// As JSON: `summary`, `findings`, `attacks`, `exitCode`.
    #[must_use]
    pub fn json(&self) -> Json {
        let attacks = self.attacks.iter().map(|attacks| {
            let (held, all) = attacks.score();
            json!({
                "engine": attacks.engine,
                "where": attacks.place,
                "held": held,
                "of": all,
                "attacks": attacks.attacks,
            })
        });
        let attacks: Vec<Json> = attacks.collect();
        json!({
            "summary": {
                "ok": self.count(State::Ok),
                "skipped": self.count(State::Skipped),
                "advice": self.count(State::Advice),
                "weak": self.count(State::Weak),
                "fail": self.count(State::Fail),
            },
            "findings": self.findings,
            "attacks": attacks,
            "exitCode": self.exit_code(),
        })
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let name = match &finding.subject {
                Some(subject) => format!("{}: {subject}", finding.check),
                None => finding.check.to_owned(),
            };
            line(&mut text, finding.state.as_str(), &name, &finding.found);
            if let Some(fix) = &finding.fix {
                line(&mut text, "", "", &format!("why: {}", finding.why));
                line(&mut text, "", "", &format!("fix: {fix}"));
            }
        }
        text.push('\n');
        let counts = [
            State::Ok,
            State::Skipped,
            State::Advice,
            State::Weak,
            State::Fail,
        ]
        .map(|state| format!("{} {}", self.count(state), state.as_str()));
        text.push_str(&format!(
            "{} checks: {}\n",
            self.findings.len(),
            counts.join(", ")
        ));
        for attacks in &self.attacks {
            text.push('\n');
            tell(&mut text, attacks);
        }
        text
    }
}

fn tell(text: &mut String, attacks: &Attacks) {
    let (held, all) = attacks.score();
    for attack in &attacks.attacks {
        let words = match attack.found.as_str() {
            "" => attack.tried.clone(),
            found => format!("{}: {found}", attack.tried),
        };
        line(text, attack.held.as_str(), &attack.name, &words);
    }
    let (engine, place) = (attacks.engine, &attacks.place);
    text.push_str(&format!(
        "\nattacks on the engine {engine} ({place}): {held} of {all} held\n"
    ));
}

fn line(text: &mut String, state: &str, name: &str, words: &str) {
    let words: String = words.chars().filter(|it| !it.is_control()).collect();
    // Writing to a string does not fail.
    let written = writeln!(text, "{state:STATE$} {name:NAME$} {words}");
    debug_assert!(written.is_ok());
}
