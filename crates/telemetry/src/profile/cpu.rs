//! Where CPU time goes.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::format::Builder;
use super::{MAX_CPU_TIME, ProfileError, Running, nanos};

/// Samples of each second of CPU time. Not a round number, so that it does not beat with timers.
const FREQUENCY: i32 = 99;

/// Libraries within which the stack is not walked: a signal may come while they hold a lock that
/// the walk needs.
const NOT_WITHIN: &[&str] = &["libc", "libgcc", "pthread", "vdso"];

/// Where the process spends its CPU time during `length` (at most [`MAX_CPU_TIME`]): a profile of
/// pprof, not compressed. Function names and places only: no data. While it is taken each thread is
/// stopped 99 times a second of its CPU time for some microseconds; after it nothing is left.
///
/// # Errors
/// [`ProfileError`].
pub async fn cpu(length: Duration) -> Result<Vec<u8>, ProfileError> {
    let running = Arc::new(Running::begin()?);
    let guard = start().await?;
    sleep(length.min(MAX_CPU_TIME)).await;
    // Names are looked up in the files of the program, which takes a moment; a caller that goes away
    // does not make room for the next one before that has ended.
    let held = Arc::clone(&running);
    let built = spawn_blocking(move || {
        let built = guard.report().build().map(|report| encode(&report));
        drop(guard);
        drop(held);
        built
    });
    built.await.map_err(failed)?.map_err(failed)
}

async fn start() -> Result<pprof::ProfilerGuard<'static>, ProfileError> {
    let started = spawn_blocking(|| {
        pprof::ProfilerGuardBuilder::default()
            .frequency(FREQUENCY)
            .blocklist(NOT_WITHIN)
            .build()
    });
    started.await.map_err(failed)?.map_err(failed)
}

fn failed(why: impl std::fmt::Display) -> ProfileError {
    ProfileError::Failed(format!(
        "{why}; it needs a signal timer and a temporary folder that can be written to (TMPDIR)"
    ))
}

fn encode(report: &pprof::Report) -> Vec<u8> {
    let mut builder = Builder::new(&[("samples", "count"), ("cpu", "nanoseconds")]);
    let period = 1_000_000_000 / i64::from(FREQUENCY);
    builder.period(("cpu", "nanoseconds"), period);
    let began = report
        .timing
        .start_time
        .duration_since(std::time::UNIX_EPOCH);
    builder.time(
        nanos(began.unwrap_or_default()),
        nanos(report.timing.duration),
    );
    for (frames, count) in &report.data {
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        let mut stack = Vec::with_capacity(frames.frames.len());
        for frame in &frames.frames {
            // Functions that were written into one another stand at one place, the innermost first.
            let functions = frame.iter().map(|symbol| {
                let name = symbol.name();
                (name, symbol.filename().into_owned(), symbol.lineno())
            });
            stack.push(builder.location(functions.collect()));
        }
        builder.sample(
            stack,
            &[count, count.saturating_mul(period)],
            Some(&frames.thread_name_or_id()),
        );
    }
    builder.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use prost::Message as _;

    use super::super::RUNNING;
    use super::super::format::Profile;
    use super::*;

    /// A profile with some samples: there is one a hundredth of a second of the process' own time, of which
    /// a busy machine gives little.
    async fn sampled() -> Profile {
        for seconds in [1, 4, 16] {
            let taken = cpu(Duration::from_secs(seconds)).await.unwrap();
            let profile = Profile::decode(taken.as_slice()).unwrap();
            if profile.sample.iter().map(|it| it.value[0]).sum::<i64>() >= 3 {
                return profile;
            }
        }
        panic!("no samples");
    }

    #[inline(never)]
    fn busy_for_a_profile(enough: &AtomicBool) -> u64 {
        let mut sum = 0_u64;
        while !enough.load(Ordering::Relaxed) {
            for number in 0..10_000_u64 {
                sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(number));
            }
        }
        sum
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_burns_time_is_in_the_profile_and_one_is_taken_at_a_time() {
        let enough = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&enough);
        let work = spawn_blocking(move || busy_for_a_profile(&told));
        let mut taken = tokio::task::JoinSet::new();
        taken.spawn(sampled());
        while !RUNNING.load(Ordering::Acquire) {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(cpu(Duration::ZERO).await, Err(ProfileError::Busy));
        let profile = taken.join_next().await.unwrap().unwrap();
        enough.store(true, Ordering::Relaxed);
        work.await.unwrap();
        let names: Vec<&str> = profile.string_table.iter().map(String::as_str).collect();
        assert_eq!(names.first(), Some(&""));
        assert!(
            names.iter().any(|name| name.contains("busy_for_a_profile")),
            "{names:?}"
        );
        for sample in &profile.sample {
            for id in &sample.location_id {
                assert!(profile.location.iter().any(|it| it.id == *id));
            }
        }
        // The next one can be had.
        cpu(Duration::from_millis(10)).await.unwrap();
    }

    /// The allocator is part of the program: a signal may come while it holds a lock.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_allocates_all_the_time_can_be_profiled() {
        let enough = Arc::new(AtomicBool::new(false));
        let mut work = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let told = Arc::clone(&enough);
            work.spawn_blocking(move || {
                let mut kept: Vec<Vec<u8>> = Vec::new();
                while !told.load(Ordering::Relaxed) {
                    kept = (1..100_usize).map(|it| vec![1; it * it]).collect();
                }
                kept.len()
            });
        }
        sampled().await;
        enough.store(true, Ordering::Relaxed);
        while let Some(kept) = work.join_next().await {
            assert!(kept.unwrap() < 100);
        }
    }
}
