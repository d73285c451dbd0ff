//! Whether comparing a secret takes longer the better the guess is: Welch's t-test between guesses that
//! are wrong in their first and in their last character, as dudect does it. Run with
//! `cargo bench -p auth --bench timing` on a quiet machine; it fails when |t| is 4.5 or more in each of three
//! attempts, or when a comparison that does stop early is not told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot go on fails"
)]

use std::hint::black_box;
use std::io::Write as _;

use auth::{AdminToken, MadeKey, ShownKey};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

/// Where two distributions count as different (dudect's bound).
const DIFFERENT: f64 = 4.5;
/// Measurements of each class; each of a few comparisons, so that the clock resolves it.
const MEASUREMENTS: usize = 100_000;
const AT_ONCE: usize = 8;

/// Mean and variance as they grow (Welford).
#[derive(Default)]
struct Class {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Class {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let off = value - self.mean;
        self.mean += off / self.count;
        self.squares += off * (value - self.mean);
    }

    fn spread(&self) -> f64 {
        self.squares / (self.count - 1.0) / self.count
    }
}

/// |t| between guesses of two kinds; the slowest tenth, which is the machine's, is left out.
fn difference(compare: impl Fn(&str) -> bool, guesses: [&str; 2]) -> f64 {
    let mut times: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    // Both lie at one place: where a text begins in a cache line takes its own time.
    let mut shown = String::with_capacity(guesses[0].len());
    for _ in 0..2 * MEASUREMENTS {
        // In no order that a machine could learn.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let class = (state >> 33) as usize % 2;
        shown.clear();
        shown.push_str(guesses[class]);
        let began = Instant::now();
        for _ in 0..AT_ONCE {
            assert!(!black_box(compare(black_box(&shown))));
        }
        times[class].push(began.elapsed().as_nanos() as f64);
    }
    let mut all: Vec<f64> = times.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    let most = all[all.len() * 9 / 10];
    let [first, last] = times.map(|times| {
        let mut class = Class::default();
        times
            .into_iter()
            .filter(|time| *time <= most)
            .for_each(|time| class.add(time));
        class
    });
    ((first.mean - last.mean) / (first.spread() + last.spread()).sqrt()).abs()
}

/// The same text with another character at a place.
fn wrong_at(text: &str, at: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
    String::from_utf8(bytes).unwrap()
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
}

fn main() {
    let mut failed = false;
    let mut judge = |what: &str, compare: &dyn Fn(&str) -> bool, guesses: [&str; 2]| {
        let found: Vec<f64> = (0..3).map(|_| difference(compare, guesses)).collect();
        let least = found.iter().copied().fold(f64::INFINITY, f64::min);
        say(&format!("{what}: |t| {found:.2?}"));
        failed |= least >= DIFFERENT;
    };
    let secret = "k".repeat(64);
    let token = AdminToken::new(&SecretString::from(secret.as_str()));
    let guesses = [wrong_at(&secret, 0), wrong_at(&secret, 63)];
    judge(
        "admin token",
        &|guess| token.matches(guess),
        [&guesses[0], &guesses[1]],
    );
    let made = MadeKey::generate().unwrap();
    let text = made.text.expose_secret();
    let guesses = [wrong_at(text, 14), wrong_at(text, text.len() - 1)];
    let is = |guess: &str| ShownKey::read(guess).is_some_and(|shown| shown.is(&made.digest));
    judge("API key", &is, [&guesses[0], &guesses[1]]);
    // What does stop early is told, or the rest proves nothing.
    let long = "k".repeat(4_096);
    let guesses = [wrong_at(&long, 0), wrong_at(&long, 4_095)];
    let leaky = |guess: &str| {
        long.bytes()
            .zip(guess.bytes())
            .all(|(one, other)| one == other)
    };
    let told = difference(leaky, [&guesses[0], &guesses[1]]);
    say(&format!("a comparison that stops early: |t| {told:.2}"));
    if failed || told < DIFFERENT {
        say("failed");
        std::process::exit(1);
    }
}
