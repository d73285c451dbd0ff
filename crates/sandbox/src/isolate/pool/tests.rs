//! The pool, with processes that say that their walls are up and are none: what is tested is who
//! gets which.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use futures::future::join_all;
use telemetry::BuildInfo;
use tokio::time::timeout;

use super::*;

const KIND: &str = "isolate";

/// A program that first does this, then is ready, then waits.
fn program(folder: &tempfile::TempDir, first: &str) -> std::path::PathBuf {
    let path = folder.path().join("child");
    let report = r#"{"missing":[]}"#;
    let nonce = r"\0".repeat(16);
    let frame = format!(r"\{:03o}\0\0\0\001{nonce}{report}", 17 + report.len());
    let text = format!("#!/bin/sh\n{first}\nprintf '{frame}'\nexec sleep 60\n");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

struct Rig {
    pool: Pool,
    folder: tempfile::TempDir,
}

async fn rig(first: &str, size: usize, memory_bytes: u64, max_age: Duration) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let spawner = Spawner::new(program(&folder, first), 1 << 20)
        .await
        .unwrap();
    let metrics = Metrics::new(BuildInfo {
        service: "test",
        version: "0",
        commit: "0",
    });
    let bounds = (size, memory_bytes, max_age);
    let pool = Pool::new(spawner, bounds, Vec::new(), Arc::new(metrics.unwrap()));
    pool.fill();
    Rig { pool, folder }
}

impl Rig {
    async fn take(&self, tenant: &str) -> Result<Taken> {
        let tenant = TenantId::parse(tenant).unwrap();
        let taken = timeout(Duration::from_secs(20), self.pool.take(&tenant)).await;
        taken.expect("an answer in time")
    }

    async fn full(&self, idle: usize) {
        let begun = Instant::now();
        while self.pool.idle() != idle {
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "{}",
                self.pool.idle()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn misses(&self, miss: Miss) -> u64 {
        let all = &self.pool.metrics().pool_misses;
        all.with_label_values(&[KIND, miss.as_str()]).get()
    }

    fn hits(&self) -> u64 {
        self.pool
            .metrics()
            .pool_hits
            .with_label_values(&[KIND])
            .get()
    }

    /// What was starting at the end is killed, and takes a moment to be gone.
    async fn none_left(&self) {
        let begun = Instant::now();
        while self.processes() > 0 {
            assert!(begun.elapsed() < Duration::from_secs(5));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The processes of this test.
    fn processes(&self) -> usize {
        let wanted = self.folder.path().to_str().unwrap();
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        lines
            .filter(|line| String::from_utf8_lossy(line).contains(wanted))
            .count()
    }
}

const LONG: Duration = Duration::from_secs(600);
const MUCH: u64 = 1 << 30;

/// 39: a tenant with one call waits for one, not for the fifty of another.
#[tokio::test]
async fn fault_39_a_tenants_burst_does_not_stand_before_another() {
    let rig = rig("sleep 0.02", 0, MUCH, LONG).await;
    let served = std::sync::Mutex::new(Vec::new());
    let call = async |tenant: &'static str| {
        let taken = rig.take(tenant).await.unwrap();
        assert!(!taken.warm);
        served.lock().unwrap().push(tenant);
        taken.sandbox.destroy().await;
    };
    let late = async {
        while rig.pool.status().waiting < 50 {
            tokio::task::yield_now().await;
        }
        call("b").await;
    };
    tokio::join!(join_all((0..50).map(|_| call("a"))), late);
    let served = served.into_inner().unwrap();
    assert_eq!(served.len(), 51);
    let place = served.iter().position(|it| *it == "b").unwrap();
    assert!(place <= 5, "the other came {place}th");
    assert_eq!(rig.misses(Miss::ColdKey), 51);
    assert_eq!(rig.pool.status().waiting, 0);
    rig.pool.close().await;
}

/// 39: a few start at a time, however many are wanted.
#[tokio::test]
async fn fault_39_a_burst_is_no_stampede() {
    let rig = rig("sleep 0.05", 1, MUCH, LONG).await;
    rig.full(1).await;
    let most = std::sync::atomic::AtomicUsize::new(0);
    let calls = join_all((0..24).map(async |_| {
        rig.take("a").await.unwrap().sandbox.destroy().await;
    }));
    let watch = async {
        loop {
            // Those that start are shells; what is ready becomes something else a moment later.
            most.fetch_max(rig.processes(), std::sync::atomic::Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = calls => {}
        () = watch => {}
    }
    let most = most.into_inner();
    assert!((1..=8).contains(&most), "{most} started at the same time");
    rig.pool.close().await;
    rig.none_left().await;
}

/// 38, 78: why there was none is counted by its reason.
#[tokio::test]
async fn fault_38_78_a_miss_says_why() {
    let slow = rig("sleep 0.2", 1, MUCH, LONG).await;
    assert!(!slow.take("a").await.unwrap().warm, "it was on its way");
    assert_eq!(slow.misses(Miss::Booting), 1);
    slow.pool.close().await;

    let rig = rig("", 1, MUCH, LONG).await;
    rig.full(1).await;
    let first = rig.take("a").await.unwrap();
    assert!(first.warm);
    assert_eq!(rig.hits(), 1);
    first.sandbox.destroy().await;
    rig.full(1).await;
    let dead = rig.pool.0.state.lock().kill_one();
    assert!(dead, "one waited");
    assert!(
        !rig.take("a").await.unwrap().warm,
        "the dead one is passed over"
    );
    assert_eq!(rig.misses(Miss::Died), 1);
    rig.pool.close().await;
}

/// 37: one that has waited too long is not handed out, and is replaced while nobody asks.
#[tokio::test]
async fn fault_37_the_old_are_replaced() {
    let rig = rig("", 1, MUCH, Duration::from_millis(300)).await;
    rig.full(1).await;
    let first = rig.pool.0.state.lock().ids();
    let begun = Instant::now();
    loop {
        let now = rig.pool.0.state.lock().ids();
        if now.len() == 1 && now != first {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.pool.0.state.lock().age(Duration::from_secs(1));
    assert!(!rig.take("a").await.unwrap().warm);
    assert_eq!(rig.misses(Miss::Stale), 1);
    rig.pool.close().await;
}

#[tokio::test]
async fn no_more_wait_than_their_memory_allows() {
    let none = rig("", 50, 0, LONG).await;
    assert_eq!(none.pool.size(), 0);
    assert!(!none.take("a").await.unwrap().warm);
    assert_eq!(none.pool.idle(), 0);
    none.pool.close().await;

    // Before one was measured it is a guess; a process that sleeps takes less than that.
    let rig = rig("", 3, 8 << 20, LONG).await;
    assert_eq!(rig.pool.size(), 2);
    rig.full(3).await;
    let memory = rig.pool.status().memory_bytes;
    assert!((1..8 << 20).contains(&memory), "{memory}");
    let gauge = &rig.pool.metrics().pool_memory;
    assert_eq!(
        gauge.with_label_values(&[KIND]).get().cast_unsigned(),
        memory
    );
    rig.pool.close().await;
}

/// 32: nobody waits for ever for what never starts.
#[tokio::test]
async fn fault_32_what_does_not_start_is_told() {
    let rig = rig("exit 7", 1, MUCH, LONG).await;
    let error = rig.take("a").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert!(
        error.cause().unwrap().to_string().contains("7"),
        "{error:?}"
    );
    rig.pool.close().await;
    let error = rig.take("a").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable, "it is closed");
    rig.none_left().await;
}
