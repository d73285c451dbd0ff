//! Commands: what reaches the shell, what comes back.

use std::time::Duration;

use domain::session::CommandResult;

use crate::rig::{IMAGES, Rig, exec, sh, soon};

/// 34: any text reaches the shell as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_34_any_text_reaches_the_shell_unchanged() {
    let rig = Rig::new().await;
    for image in IMAGES {
        let session = rig.open(image).await;
        let cases = [
            ("echo 'a  b' \"c\td\"", "a  b c\td\n"),
            (
                "cat <<'EOF'\n$HOME `id` \"x\" \\n\nEOF",
                "$HOME `id` \"x\" \\n\n",
            ),
            ("echo $(echo `echo deep`)", "deep\n"),
            ("printf '%s' 'é🌍\u{1b}[31m'", "é🌍\u{1b}[31m"),
            ("# only a comment", ""),
            ("", ""),
            ("a=1\nb=2\necho $((a+b))\n", "3\n"),
            (
                "echo one; echo two && echo three | tr a-z A-Z",
                "one\ntwo\nTHREE\n",
            ),
            ("pwd", "/workspace\n"),
            ("echo \"$0 $# $HOME $TMPDIR\"", "sh 0 /workspace /tmp\n"),
            ("cat; echo end", "end\n"),
            (
                "echo out >/dev/stdout; echo x | tee /dev/stderr | wc -c",
                "out\n2\n",
            ),
        ];
        for (command, wanted) in cases {
            let result = sh(&*session, command).await;
            assert_eq!(result.stdout, wanted, "{image}: {command:?} {result:?}");
            assert_eq!(
                (result.exit_code, result.truncated),
                (0, false),
                "{command:?}"
            );
        }
        let dashed = sh(&*session, "-x y").await;
        assert_eq!(dashed.exit_code, 127, "{dashed:?}");
        assert!(dashed.stderr.contains("-x"), "{dashed:?}");
        let long = format!("echo {} | wc -c", "x".repeat(65_000));
        assert_eq!(sh(&*session, &long).await.stdout.trim(), "65001");
        session.stop().await;
    }
    rig.close().await;
}

/// Each command has its exit code, its streams and its time, whatever came of those before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_each_command_has_its_own_result() {
    let rig = Rig::new().await;
    for image in IMAGES {
        let session = rig.open(image).await;
        let commands = [
            "echo out; echo err >&2; exit 3",
            "false",
            "kill -TERM $$",
            "kill -9 $$",
            "cd /tmp; touch here; x=1",
            "pwd; echo \"[$x]\"; ls /tmp",
            "no-such-program",
            "sleep 0.2",
        ];
        let results = exec(&*session, &commands, 10_000).await.unwrap();
        let codes: Vec<i32> = results.iter().map(|it| it.exit_code).collect();
        assert_eq!(codes, [3, 1, 143, 137, 0, 0, 127, 0], "{image}");
        assert_eq!(
            (results[0].stdout.as_str(), results[0].stderr.as_str()),
            ("out\n", "err\n")
        );
        assert_eq!((results[0].stdout_bytes, results[0].stderr_bytes), (4, 4));
        assert_eq!(results[2].signal.as_deref(), Some("SIGTERM"), "{image}");
        assert_eq!(results[3].signal.as_deref(), Some("SIGKILL"));
        assert_eq!(results[5].stdout, "/workspace\n[]\nhere\n");
        assert!(results[7].duration >= Duration::from_millis(200));
        assert!(results[0].duration < Duration::from_secs(2));
        assert!(results.iter().all(|it| !it.timed_out && !it.out_of_memory));
        session.stop().await;
    }
    rig.close().await;
}

/// 34: a shell that waited for its command is the shell that would have been started for it, and one that
/// does not wait any more, or cannot, costs no command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_34_a_shell_that_waited_is_no_other_than_a_new_one() {
    let rig = Rig::new().await;
    let session = rig.open(IMAGES[0]).await;
    // Text with other bytes than these is for a new shell. `SigQ` counts what is queued for the same user in all
    // containers of the machine.
    let new = |command: &str| format!("{command} # é");
    let look = "echo \"$0 $# $-\"; env | sort; ls /proc/self/fd; tr '\\0' '|' </proc/$$/cmdline | cut -c -9; \
        cut -d' ' -f4,7,8 /proc/$$/stat; while read l; do case $l in SigQ*) ;; Sig*|Cap*|Umask*) echo $l; esac; done </proc/$$/status; \
        set -- $(cut -d' ' -f1,5,6 /proc/$$/stat); [ $$ = $1 ] && [ $1 = $2 ] && [ $2 = $3 ] && echo leads; \
        cat /proc/$$/oom_score_adj; ulimit -a; cat; pwd";
    let cases = [
        look,
        "cat <<'EOF'\n  $HOME \\t \\\\ `id`\t\n\nEOF\n\n",
        "",
        "\n",
        "  \\\n",
        "echo 'unfinished",
        "no-such-program; exit 7",
        "-x y",
        "kill -TERM $$",
        "exec 3>&1; echo three >&3; readlink /proc/self/fd/9 || echo none",
        "echo \"[$__text$__line$IFS]\"; set | grep -c __ || true",
    ];
    for command in cases {
        let expected = sh(&*session, &new(command)).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        let result = sh(&*session, command).await;
        let seen = |it: &CommandResult| {
            (
                it.stdout.clone(),
                it.stderr.clone(),
                it.exit_code,
                it.signal.clone(),
            )
        };
        assert_eq!(seen(&result), seen(&expected), "{command:?}");
    }
    // What stops or kills it hurts no command; one that has become a command's is no longer another.
    let shells = "n=0; for p in /proc/[0-9]*; do read c <$p/comm && [ $c = sh ] && n=$((n+1)); done; echo $n";
    let background = "(setsid sh -c 'for s in STOP KILL; do until [ -e $s ]; do sleep 0.05; done; \
        for p in /proc/[0-9]*; do [ \"$(cat $p/comm 2>/dev/null)\" = sh ] && [ ${p#/proc/} != $$ ] && \
        kill -$s ${p#/proc/} && echo $s >>hit; done; rm $s; done' >/dev/null 2>&1 &)";
    sh(&*session, background).await;
    for signal in ["STOP", "KILL"] {
        tokio::time::sleep(Duration::from_millis(150)).await;
        session.write(signal, Vec::new(), soon(5)).await.unwrap();
        while session.read(signal, soon(5)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(sh(&*session, "echo fine").await.stdout, "fine\n");
    }
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(sh(&*session, shells).await.stdout, "1\n");
    let hit = sh(&*session, "sort -u hit").await;
    assert_eq!(hit.stdout, "KILL\nSTOP\n", "{hit:?}");
    session.stop().await;
    rig.close().await;
}
