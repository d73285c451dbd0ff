//! What a command starts: it stays after a normal end, and dies with a timeout or a cancellation,
//! whatever it does to get away.

use std::time::Duration;

use domain::session::Exec;
use sandbox::Session;
use tokio::time::{Instant, sleep, timeout};

use crate::rig::{IMAGES, MOST, Rig, exec, sh, soon};

/// Ways to get away from whoever wants to end it. Each keeps a `sleep` with this number running.
const ESCAPES: [(&str, &str); 8] = [
    ("a child", "sleep 98761 & wait"),
    (
        "a double fork",
        "(sleep 98761 &) ; (sh -c 'sleep 98761 & exit' &) ; sleep 98761",
    ),
    (
        "a session of its own",
        "setsid sh -c 'sleep 98761 & sleep 98761' & setsid setsid sleep 98761 & sleep 98761",
    ),
    (
        "nohup",
        "nohup sh -c 'trap \"\" HUP TERM INT; sleep 98761; sleep 98761' >/dev/null 2>&1 & sleep 98761",
    ),
    (
        "every trap",
        "trap '' HUP INT QUIT TERM TSTP TTIN TTOU USR1 USR2; while :; do sleep 98761; done",
    ),
    (
        "forking on",
        "f() { sleep 98761 & while :; do (sleep 0.01 &); sleep 0.02; done; }; f & f & f",
    ),
    (
        "stopped",
        "sleep 98761 & kill -STOP $! ; sh -c 'sleep 98761 & kill -STOP $$' & sleep 98761",
    ),
    (
        "respawning",
        "sh -c 'while :; do setsid sh -c \"sleep 98761\" & sleep 0.05; done' & sleep 98761",
    ),
];

async fn sleepers(session: &dyn Session) -> i64 {
    let count = "n=0; for p in /proc/[0-9]*; do \
        case \"$(tr '\\0' ' ' <$p/cmdline 2>/dev/null)\" in 'sleep 98761 ') \
        case \"$(cut -d' ' -f3 $p/stat 2>/dev/null)\" in Z|'') ;; *) n=$((n+1));; esac;; esac; done; echo $n";
    let result = sh(session, count).await;
    result.stdout.trim().parse().unwrap()
}

/// 18, 20, 21: nothing that a command started is left when its time is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_18_20_21_a_timeout_ends_the_whole_tree() {
    let rig = Rig::new().await;
    for image in IMAGES {
        let session = rig.open(image).await;
        for (name, escape) in ESCAPES {
            let begun = Instant::now();
            let results = exec(&*session, &[escape], 400).await;
            let results = results.unwrap_or_else(|error| panic!("{image}: {name}: {error}"));
            assert!(results[0].timed_out, "{image}: {name}: {results:?}");
            assert_eq!(results[0].signal.as_deref(), Some("SIGKILL"), "{name}");
            let took = begun.elapsed();
            assert!(
                took < Duration::from_millis(1_500),
                "{image}: {name}: {took:?}"
            );
            assert_eq!(sleepers(&*session).await, 0, "{image}: {name}");
        }
        session.stop().await;
    }
    rig.close().await;
}

/// 19: whoever waited goes away in the middle; the session stays and nothing else does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_19_cancelling_ends_the_whole_tree_and_leaves_the_session() {
    let rig = Rig::new().await;
    for image in IMAGES {
        let session = rig.open(image).await;
        sh(&*session, "echo kept >file").await;
        for (name, escape) in ESCAPES {
            let commands = ["sleep 98761 & echo", escape, "touch never"];
            let given_up = timeout(
                Duration::from_millis(300),
                exec(&*session, &commands, 30_000),
            );
            assert!(given_up.await.is_err(), "{name}");
            assert_eq!(sleepers(&*session).await, 0, "{image}: {name}");
        }
        let left = sh(&*session, "ls; cat file").await;
        assert_eq!(left.stdout, "file\nkept\n", "{image}");
        session.stop().await;
    }
    rig.close().await;
}

/// Background processes live on after a normal end, also when a later command is killed, and what
/// they write later neither blocks nor kills them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_background_processes_stay_until_the_session_ends() {
    let rig = Rig::new().await;
    for image in IMAGES {
        let session = rig.open(image).await;
        let server = "(trap '' TERM; while :; do echo tick >>ticks; head -c 100000 /dev/zero; sleep 0.02; done) & \
            (setsid sleep 98761 &) ; sleep 98761 & echo started";
        let begun = Instant::now();
        let started = sh(&*session, server).await;
        assert!(
            started.stdout.starts_with("started") || started.stdout.contains("started"),
            "{started:?}"
        );
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "a background process holds its command"
        );
        assert_eq!(sleepers(&*session).await, 2, "{image}");
        let killed = exec(&*session, &["sleep 98761 & sleep 98761 & sleep 30"], 300)
            .await
            .unwrap();
        assert!(killed[0].timed_out);
        assert_eq!(sleepers(&*session).await, 2, "{image}: the older ones stay");
        let ticks =
            "a=$(wc -l <ticks); sleep 0.5; b=$(wc -l <ticks); [ $b -gt $a ] && echo goes on";
        let goes_on = sh(&*session, ticks).await;
        assert_eq!(goes_on.stdout, "goes on\n", "{image}: {goes_on:?}");
        session.stop().await;
    }
    rig.close().await;
}

/// 35: a command that says nothing for long is not ended but by its time. 32: nothing hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_32_35_a_silent_command_has_all_its_time() {
    let rig = Rig::new().await;
    for image in IMAGES {
        let session = rig.open(image).await;
        let results = exec(&*session, &["sleep 3; echo done"], 10_000)
            .await
            .unwrap();
        assert_eq!(results[0].stdout, "done\n");
        // The time of all of them: what does not fit does not run.
        let exec = Exec {
            commands: ["sleep 0.1; echo a", "sleep 98761", "echo b"]
                .map(str::to_owned)
                .into(),
            timeout: Duration::from_secs(30),
        };
        let begun = Instant::now();
        let deadline = begun + Duration::from_millis(700);
        let results = session.exec(exec, MOST, deadline).await.unwrap();
        assert_eq!(results.len(), 2, "{results:?}");
        assert!(results[1].timed_out && !results[0].timed_out);
        assert!(begun.elapsed() < Duration::from_secs(2));
        session.stop().await;
    }
    rig.close().await;
}

/// 22: orphans are reaped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_22_orphans_are_reaped() {
    let rig = Rig::new().await;
    for image in IMAGES {
        let session = rig.open(image).await;
        let orphans = "i=0; while [ $i -lt 60 ]; do (sleep 0.01 &); i=$((i+1)); done; sleep 0.4";
        assert_eq!(sh(&*session, orphans).await.exit_code, 0);
        let zombies = sh(
            &*session,
            "grep -h '^State:' /proc/[0-9]*/status | grep -c Z",
        )
        .await;
        assert_eq!(zombies.stdout, "0\n", "{image}");
        session.stop().await;
    }
    rig.close().await;
}

/// 1: a bomb of forks ends with its time, and the session goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_01_a_bomb_of_forks_leaves_the_session_usable() {
    let rig = Rig::new().await;
    for image in IMAGES {
        let session = rig.open(image).await;
        for bomb in [
            "b() { b | b & }; b; sleep 5",
            "while :; do (sleep 98761 &) ; done",
        ] {
            let ended = exec(&*session, &[bomb], 800).await;
            let ended = ended.unwrap_or_else(|error| panic!("{image}: {bomb}: {error}"));
            assert!(ended[0].exit_code != 0, "{ended:?}");
            sleep(Duration::from_millis(50)).await;
            assert_eq!(
                sh(&*session, "echo usable").await.stdout,
                "usable\n",
                "{image}: {bomb}"
            );
            assert_eq!(sleepers(&*session).await, 0, "{image}: {bomb}");
        }
        session.stop().await;
    }
    rig.close().await;
}

/// Operations of a session come one after another, each with its deadline; too many are refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_operations_of_a_session_wait_for_their_turn() {
    let rig = Rig::new().await;
    let session = rig.open(IMAGES[0]).await;
    let exec_in = |command: &str, deadline| {
        let exec = Exec {
            commands: vec![command.to_owned()],
            timeout: Duration::from_secs(20),
        };
        session.exec(exec, MOST, deadline)
    };
    let all = (0..10).map(|at| {
        exec_in(
            if at % 2 == 0 {
                "echo a >>order; sleep 0.02; echo b >>order"
            } else {
                "printf '' >>order"
            },
            soon(20),
        )
    });
    let results = futures::future::join_all(all).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let order = session.read("order", soon(5)).await.unwrap();
    assert_eq!(order, b"a\nb\n".repeat(5), "one after another");
    let busy = exec_in("sleep 1", soon(20));
    let late = async {
        sleep(Duration::from_millis(100)).await;
        let refused = exec_in("touch late", soon(0) + Duration::from_millis(200))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), domain::ErrorCode::Timeout);
        let many = (0..40).map(|_| exec_in(":", soon(20)));
        let many = futures::future::join_all(many).await;
        let refused: Vec<_> = many.into_iter().filter_map(Result::err).collect();
        assert!(!refused.is_empty() && refused.len() <= 25, "{refused:?}");
        assert!(
            refused
                .iter()
                .all(|it| it.code() == domain::ErrorCode::Overloaded && it.retry_after().is_some())
        );
    };
    let (busy, ()) = futures::join!(busy, late);
    assert_eq!(busy.unwrap()[0].exit_code, 0);
    assert_eq!(
        sh(&*session, "ls late 2>&1 | grep -c 'No such'")
            .await
            .stdout,
        "1\n"
    );
    session.stop().await;
    rig.close().await;
}
