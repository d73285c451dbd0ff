//! Who allocates, and what of it stays.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jemalloc_pprof::{JemallocProfCtl, PROF_CTL};
use tokio::sync::OwnedMutexGuard;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::dump::{self, Dump};
use super::format::{Builder, Inlined};
use super::{MAX_HEAP_TIME, ProfileError, Running, nanos};

/// The kinds of value, in the order and with the names of Go's heap profiles.
const VALUES: [(&str, &str); 4] = [
    ("alloc_objects", "count"),
    ("alloc_space", "bytes"),
    ("inuse_objects", "count"),
    ("inuse_space", "bytes"),
];

/// What is between whoever allocates and the memory, by what names hold.
const ALLOCATOR: &[&str] = &[
    "_rjem_",
    "tikv_jemallocator",
    "__rust_alloc",
    "__rust_realloc",
];
/// The same, by what names begin with.
const STANDARD: &[&str] = &["alloc::alloc::", "<alloc::alloc::Global as "];

/// What the process allocates during `length` (at most [`MAX_HEAP_TIME`]), and what of that is still
/// there at its end: a profile of pprof, not compressed. Function names and places only: no data. What
/// was there before is not in it. One allocation in about 512 KiB of them is looked at; before and
/// after, none.
///
/// # Errors
/// [`ProfileError`].
pub async fn heap(length: Duration) -> Result<Vec<u8>, ProfileError> {
    let running = Running::begin()?;
    let sampling = Sampling::begin(running).await?;
    sleep(length.min(MAX_HEAP_TIME)).await;
    // Names are looked up in the files of the program, which takes a moment; a caller that goes away
    // does not make room for the next one before that has ended.
    let built = spawn_blocking(move || sampling.end());
    built.await.map_err(failed)?
}

fn failed(why: impl std::fmt::Display) -> ProfileError {
    ProfileError::Failed(why.to_string())
}

/// Allocations are sampled until this is dropped.
struct Sampling {
    allocator: OwnedMutexGuard<JemallocProfCtl>,
    began: (SystemTime, Instant),
    _running: Running,
}

impl Sampling {
    async fn begin(running: Running) -> Result<Self, ProfileError> {
        let control = PROF_CTL.as_ref().ok_or_else(|| {
            failed(
                "the allocator cannot sample: the program was compiled without the settings of \
                 .cargo/config.toml, or _RJEM_MALLOC_CONF has turned it off",
            )
        })?;
        let mut sampling = Self {
            allocator: Arc::clone(control).lock_owned().await,
            began: (SystemTime::now(), Instant::now()),
            _running: running,
        };
        sampling.allocator.activate().map_err(failed)?;
        Ok(sampling)
    }

    fn end(mut self) -> Result<Vec<u8>, ProfileError> {
        let file = self.dump()?;
        let began = self.began.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = self.began.1.elapsed();
        // The rest allocates too, and takes time.
        if let Err(why) = self.allocator.deactivate() {
            return Err(failed(why));
        }
        let dump = dump::read(BufReader::new(file)).map_err(failed)?;
        Ok(encode(dump, nanos(began), nanos(length)))
    }

    fn dump(&mut self) -> Result<File, ProfileError> {
        self.allocator.dump().map_err(|why| {
            failed(format!(
                "{why}; it needs a temporary folder that can be written to (TMPDIR)"
            ))
        })
    }
}

impl Drop for Sampling {
    fn drop(&mut self) {
        if self.allocator.activated()
            && let Err(why) = self.allocator.deactivate()
        {
            tracing::error!(%why, "allocations are still sampled");
        }
    }
}

fn encode(dump: Dump, began: i64, length: i64) -> Vec<u8> {
    let mut builder = Builder::new(&VALUES);
    builder.period(("space", "bytes"), dump.interval);
    builder.time(began, length);
    let mut known: HashMap<usize, Place> = HashMap::new();
    for stack in dump.stacks {
        let mut locations = Vec::with_capacity(stack.addresses.len());
        for address in stack.addresses {
            let place = known
                .entry(address)
                .or_insert_with(|| Place::new(address, &mut builder));
            if place.within_allocator {
                // So is all that is further in.
                locations.clear();
            }
            locations.extend(place.location);
        }
        let (all, live) = (stack.allocated, stack.live);
        let values = [all.objects, all.bytes, live.objects, live.bytes];
        builder.sample(locations, &values, None);
    }
    builder.finish()
}

/// What is at an address.
struct Place {
    /// In the profile; none where all of it is the allocator's.
    location: Option<u64>,
    within_allocator: bool,
}

impl Place {
    fn new(address: usize, builder: &mut Builder) -> Self {
        let mut functions = functions(address);
        let is_allocators = |(name, ..): &(String, String, u32)| {
            ALLOCATOR.iter().any(|part| name.contains(part))
                || STANDARD.iter().any(|begin| name.starts_with(begin))
        };
        let last = functions.iter().rposition(is_allocators);
        let callers = functions.split_off(last.map_or(0, |last| last + 1));
        Self {
            location: (!callers.is_empty()).then(|| builder.location(callers)),
            within_allocator: last.is_some(),
        }
    }
}

/// The functions at a return address, the innermost first; the address where none is known.
fn functions(address: usize) -> Inlined {
    let mut functions = Vec::new();
    // The call itself is before the place that it returns to.
    let call = std::ptr::without_provenance_mut(address.saturating_sub(1));
    backtrace::resolve(call, |symbol| {
        let Some(name) = symbol.name() else { return };
        let file = symbol.filename().map(|file| file.display().to_string());
        let line = symbol.lineno().unwrap_or(0);
        functions.push((format!("{name:#}"), file.unwrap_or_default(), line));
    });
    if functions.is_empty() {
        functions.push((format!("{address:#x}"), String::new(), 0));
    }
    functions
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::super::format::Profile;
    use super::*;

    const BLOCK: usize = 1 << 20;

    #[inline(never)]
    fn kept_for_a_profile() -> Vec<Vec<u8>> {
        (0..64).map(|_| vec![1; BLOCK]).collect()
    }

    #[inline(never)]
    fn dropped_for_a_profile() {
        for _ in 0..32 {
            std::hint::black_box(vec![1_u8; BLOCK]);
        }
    }

    /// Sums of the values of all samples with a function of this name.
    fn of(profile: &Profile, name: &str) -> [i64; 4] {
        let text = |index: i64| &profile.string_table[usize::try_from(index).unwrap()];
        let functions: Vec<u64> = profile
            .function
            .iter()
            .filter(|function| text(function.name).contains(name))
            .map(|function| function.id)
            .collect();
        let locations: Vec<u64> = profile
            .location
            .iter()
            .filter(|it| it.line.iter().any(|it| functions.contains(&it.function_id)))
            .map(|location| location.id)
            .collect();
        let mut sums = [0; 4];
        for sample in &profile.sample {
            assert_eq!(sample.value.len(), 4);
            if sample.location_id.iter().any(|id| locations.contains(id)) {
                for (sum, value) in sums.iter_mut().zip(&sample.value) {
                    *sum += value;
                }
            }
        }
        sums
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_allocated_and_what_stays_of_it_is_in_the_profile() {
        let before = kept_for_a_profile();
        // As `heap` does it, but until this work is done: how long that takes nobody knows.
        let sampling = Sampling::begin(Running::begin().unwrap()).await.unwrap();
        for other in [
            heap(Duration::ZERO).await,
            super::super::cpu(Duration::ZERO).await,
        ] {
            assert_eq!(other, Err(ProfileError::Busy));
        }
        let kept = kept_for_a_profile();
        dropped_for_a_profile();
        drop(before);
        let taken = spawn_blocking(move || sampling.end()).await.unwrap();
        let profile = Profile::decode(taken.unwrap().as_slice()).unwrap();
        assert_eq!(profile.period, 512 * 1_024);
        let names: Vec<&str> = profile
            .sample_type
            .iter()
            .map(|it| profile.string_table[usize::try_from(it.r#type).unwrap()].as_str())
            .collect();
        assert_eq!(names, VALUES.map(|(name, _)| name));
        // One block of 1 MiB is not sampled with a chance of 0.14, so that the estimate is off by three
        // blocks as a rule and by twenty never.
        let mib = |bytes: i64| bytes >> 20;
        let [objects, bytes, live_objects, live_bytes] = of(&profile, "kept_for_a_profile");
        assert!((45..=85).contains(&objects), "{objects} blocks");
        assert!((45..=85).contains(&mib(bytes)), "{bytes} bytes");
        assert_eq!((live_objects, live_bytes), (objects, bytes));
        let [_, bytes, live_objects, live_bytes] = of(&profile, "dropped_for_a_profile");
        assert!((18..=48).contains(&mib(bytes)), "{bytes} bytes");
        assert_eq!((live_objects, live_bytes), (0, 0));
        for name in ALLOCATOR {
            assert_eq!(of(&profile, name), [0; 4], "{name}");
        }
        // The next one begins anew.
        let taken = heap(Duration::from_millis(10)).await.unwrap();
        let profile = Profile::decode(taken.as_slice()).unwrap();
        assert_eq!(of(&profile, "kept_for_a_profile"), [0; 4]);
        drop(kept);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_is_sampled_once_nobody_waits_for_it() {
        let begun = tokio::time::timeout(Duration::from_millis(50), heap(MAX_HEAP_TIME)).await;
        assert!(begun.is_err(), "{begun:?}");
        let control = PROF_CTL.as_ref().unwrap().lock().await;
        assert!(!control.activated());
        drop(control);
        heap(Duration::from_millis(1)).await.unwrap();
    }
}
