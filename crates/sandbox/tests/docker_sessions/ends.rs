//! How sessions end, and that nothing of them stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::ErrorCode;
use sandbox::Engine;
use tokio::time::{Instant, sleep, timeout};

use crate::rig::{IMAGES, NODE, Rig, exec, sh, soon};

/// 23: whatever is done to the agent ends the session with a sentence and never hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_23_a_session_whose_agent_is_attacked_ends_with_a_sentence() {
    let rig = Rig::new().await;
    let agent = "a=$PPID; ";
    for image in IMAGES {
        for (attack, code, words) in [
            ("kill -9 $a; sleep 5", ErrorCode::ToolFailed, "SIGKILL"),
            (
                "kill -STOP $a; sleep 60",
                ErrorCode::ToolFailed,
                "did not answer",
            ),
            (
                "head -c 5000000 /dev/zero >/proc/$a/fd/1; sleep 60",
                ErrorCode::ToolFailed,
                "stream",
            ),
            ("kill -SEGV $a; sleep 60", ErrorCode::ToolFailed, "SIGSEGV"),
        ] {
            let session = rig.open(image).await;
            let begun = Instant::now();
            let exec = domain::session::Exec {
                commands: vec![format!("{agent}{attack}")],
                timeout: Duration::from_secs(2),
            };
            let refused = session.exec(exec, 1_000, soon(2)).await.unwrap_err();
            assert_eq!(refused.code(), code, "{image}: {attack}: {refused}");
            assert!(
                refused.message().contains(words),
                "{image}: {attack}: {refused}"
            );
            assert!(begun.elapsed() < Duration::from_secs(12), "{attack}");
            let end = timeout(Duration::from_secs(5), session.ended())
                .await
                .unwrap();
            assert_eq!(end.code, code);
            let again = session.read("x", soon(1)).await.unwrap_err();
            assert_eq!(again.code(), code, "and so is everything after it");
            session.stop().await;
            assert!(rig.containers().await.is_empty(), "{attack}");
        }
        // 69: what is written into the stream without the nonce is nobody's; signals that can be
        // handled are.
        let session = rig.open(image).await;
        let forged = "a=$PPID; kill -TERM $a; kill -INT $a; kill -HUP $a; kill -USR1 $a; kill -USR2 $a; \
            printf '\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\007\\0\\0\\0\\012\\001\\002\\0\\0\\0{}' >/proc/$a/fd/1; echo real";
        let result = sh(&*session, forged).await;
        assert_eq!(result.stdout, "real\n", "{image}: {result:?}");
        assert_eq!(sh(&*session, "echo on").await.stdout, "on\n");
        session.stop().await;
    }
    rig.close().await;
}

/// 2, 3: memory that runs out is told of whatever it hit, and not of what came later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_02_03_memory_that_runs_out_is_told() {
    let rig = Rig::new().await;
    for image in IMAGES {
        let session = rig.open(image).await;
        let eater = "x=$(head -c 100000000 /dev/zero | tr '\\0' a); y=$x$x$x$x; echo ${#y}";
        let results = exec(&*session, &[eater, "echo fine"], 20_000)
            .await
            .unwrap();
        assert!(
            results[0].out_of_memory && results[0].exit_code != 0,
            "{image}: {results:?}"
        );
        assert!(!results[1].out_of_memory);
        assert_eq!(results[1].stdout, "fine\n", "the session goes on");
        let killed = exec(&*session, &["kill -9 $PPID; sleep 5"], 5_000)
            .await
            .unwrap_err();
        assert_eq!(killed.code(), ErrorCode::ToolFailed, "{image}: {killed}");
        session.stop().await;
    }
    rig.close().await;
}

/// 28, and that the end of a container is known at once, also while nothing happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_28_sessions_end_by_themselves_and_leave_nothing() {
    let rig = Rig::new().await;
    for image in IMAGES {
        let slots = Arc::new(AtomicUsize::new(0));
        struct Held(Arc<AtomicUsize>);
        impl Drop for Held {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let open = |lifetime| {
            let mut wanted = Rig::wanted(image);
            wanted.lifetime = lifetime;
            wanted.slot = Some(Box::new(Held(Arc::clone(&slots))));
            rig.engine.open_session(wanted)
        };
        // Its lifetime, in the middle of a command.
        let session = open(Duration::from_secs(2)).await.unwrap();
        let refused = exec(&*session, &["sleep 30"], 30_000).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Timeout, "{refused}");
        assert_eq!(session.end().unwrap().code, ErrorCode::Timeout);
        session.stop().await;
        assert_eq!(slots.load(Ordering::SeqCst), 1, "its slot is free");
        // Never used.
        let unused = open(Duration::from_millis(1_500)).await.unwrap();
        timeout(Duration::from_secs(4), unused.ended())
            .await
            .unwrap();
        drop(unused);
        // Killed from outside while it is idle.
        let idle = open(Duration::from_secs(600)).await.unwrap();
        let name = rig.containers().await.into_iter().next().unwrap();
        let killed = std::process::Command::new("docker")
            .args(["kill", &name])
            .output()
            .unwrap();
        assert!(killed.status.success(), "{killed:?}");
        let end = timeout(Duration::from_secs(5), idle.ended()).await.unwrap();
        assert_eq!(end.code, ErrorCode::ToolFailed, "{end:?}");
        drop(idle);
        // Dropped.
        let dropped = open(Duration::from_secs(600)).await.unwrap();
        sh(&*dropped, "sleep 98761 & echo").await;
        drop(dropped);
        let begun = Instant::now();
        while slots.load(Ordering::SeqCst) < 4 {
            assert!(begun.elapsed() < Duration::from_secs(10), "{image}");
            sleep(Duration::from_millis(20)).await;
        }
        assert!(rig.containers().await.is_empty(), "{image}");
    }
    // The engine goes down with sessions open and busy.
    let open = rig.open(NODE).await;
    let busy = exec(&*open, &["sleep 30"], 30_000);
    let close = async {
        sleep(Duration::from_millis(200)).await;
        rig.close().await;
    };
    let (refused, ()) = futures::join!(busy, close);
    assert_eq!(refused.unwrap_err().code(), ErrorCode::Unavailable);
}

/// 50: two sessions see nothing of each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_50_sessions_do_not_see_each_other() {
    let rig = Rig::new().await;
    for image in IMAGES {
        let (a, b) = (rig.open(image).await, rig.open(image).await);
        sh(
            &*a,
            "echo mine >file; echo mine >/tmp/file; sleep 98761 & echo $! >pid",
        )
        .await;
        let seen = sh(&*b, "ls /workspace; ls -A /tmp; ls /dev/shm; cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 9876[1]'").await;
        assert_eq!(seen.stdout, "0\n", "{image}: {seen:?}");
        let suicide = exec(&*b, &["kill -9 -1; sleep 5"], 5_000).await;
        assert_eq!(suicide.unwrap_err().code(), ErrorCode::ToolFailed);
        assert_eq!(
            sh(&*a, "cat file; kill -0 $(cat pid) && echo there")
                .await
                .stdout,
            "mine\nthere\n"
        );
        let network = sh(&*a, "cat /proc/net/dev | grep -c :").await;
        assert_eq!(
            network.stdout, "1\n",
            "{image}: the loopback device and no other"
        );
        a.stop().await;
        b.stop().await;
    }
    rig.close().await;
}

/// 33: nothing waits for input, and input of any size reaches code that reads none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_33_commands_have_no_input() {
    let rig = Rig::new().await;
    for image in IMAGES {
        let session = rig.open(image).await;
        let results = exec(
            &*session,
            &[
                "cat",
                "read x; echo \"[$x]\"",
                "readlink /proc/self/fd/0",
                "ls /proc/self/fd | wc -l",
            ],
            5_000,
        )
        .await
        .unwrap();
        assert!(results.iter().all(|it| !it.timed_out), "{results:?}");
        assert_eq!(results[1].stdout, "[]\n");
        assert_eq!(results[2].stdout, "/dev/null\n");
        // 0, 1, 2 and the directory itself: nothing of the agent's.
        assert_eq!(results[3].stdout, "4\n", "{image}");
        session.stop().await;
    }
    rig.close().await;
}
