//! Files: whole and binary, by paths that stay in the workspace.

use std::time::Duration;

use domain::ErrorCode;
use domain::session::{EntryKind, FILE_BYTES, LISTING};
use tokio::time::timeout;

use crate::rig::{IMAGES, Rig, exec, sh, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_files_are_written_read_and_listed_as_they_are() {
    let rig = Rig::new().await;
    for image in IMAGES {
        let session = rig.open(image).await;
        let bytes: Vec<u8> = (0..=255).cycle().take(700_001).collect();
        for (path, content) in [
            ("a.bin", bytes.clone()),
            ("deep/er/b.txt", b"text\n".to_vec()),
            ("/workspace/empty", Vec::new()),
            ("é 🌍 'q\" $x", b"name".to_vec()),
            ("-rf", b"dash".to_vec()),
            ("a.bin", b"shorter".to_vec()),
            ("large", vec![7; FILE_BYTES]),
        ] {
            session
                .write(path, content.clone(), soon(20))
                .await
                .unwrap();
            assert_eq!(
                session.read(path, soon(20)).await.unwrap(),
                content,
                "{image}: {path}"
            );
        }
        let seen = sh(
            &*session,
            "cat a.bin deep/er/b.txt; ls -a | wc -l; stat -c '%a %U' a.bin; stat -c %s large",
        )
        .await;
        assert!(
            seen.stdout.starts_with("shortertext\n8\n644 "),
            "{image}: {seen:?}"
        );
        sh(
            &*session,
            "chmod 755 a.bin; ln -s a.bin link; ln -s /workspace/deep/er dir; mkfifo pipe",
        )
        .await;
        session
            .write("a.bin", b"#!".to_vec(), soon(5))
            .await
            .unwrap();
        assert_eq!(sh(&*session, "stat -c %a a.bin").await.stdout, "755\n");
        assert_eq!(session.read("link", soon(5)).await.unwrap(), b"#!");
        assert_eq!(session.read("dir/b.txt", soon(5)).await.unwrap(), b"text\n");
        session
            .write("dir/../er/c", b"c".to_vec(), soon(5))
            .await
            .unwrap_err();
        session
            .write("dir/c", b"c".to_vec(), soon(5))
            .await
            .unwrap();
        let listing = session.list(".", soon(5)).await.unwrap();
        let found: Vec<_> = listing
            .entries
            .iter()
            .map(|it| (it.path.as_str(), it.kind, it.size))
            .collect();
        assert!(!listing.truncated);
        for wanted in [
            ("a.bin", EntryKind::File, 2),
            ("deep", EntryKind::Directory, 0),
            ("dir", EntryKind::Link, 0),
            ("pipe", EntryKind::Other, 0),
            ("é 🌍 'q\" $x", EntryKind::File, 4),
        ] {
            assert!(found.contains(&wanted), "{image}: {found:?}");
        }
        let listing = session.list("/workspace/deep/er", soon(5)).await.unwrap();
        let found: Vec<_> = listing.entries.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(found, ["deep/er/b.txt", "deep/er/c"]);
        session.stop().await;
    }
    rig.close().await;
}

/// 59, 60, 61, 62: no way out of the workspace, and nothing but files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_59_60_61_62_paths_lead_to_files_of_the_workspace_only() {
    let rig = Rig::new().await;
    for image in IMAGES {
        let session = rig.open(image).await;
        let made = "ln -s /etc/passwd out; ln -s /proc/self/environ env; ln -s / root; ln -s ../etc up; \
            ln -s loop loop; ln -s a b; ln -s b a; mkfifo pipe; mkdir dir; ln -s /tmp tmp; ln -s /workspace/../etc dots; \
            ln -s /workspacex near; (sh -c 'sleep 60 >held' &); true";
        assert_eq!(sh(&*session, made).await.exit_code, 0);
        for path in [
            "out",
            "env",
            "root/etc/passwd",
            "up/passwd",
            "loop",
            "a",
            "pipe",
            "dir",
            ".",
            "tmp/x",
            "dots/passwd",
            "near",
            "/workspace",
            "./",
            "../etc/passwd",
            "/etc/passwd",
            "/proc/1/environ",
            "x\0y",
            "out/x",
            "held/x",
        ] {
            let begun = tokio::time::Instant::now();
            let read = session.read(path, soon(5)).await.unwrap_err();
            assert_eq!(
                read.code(),
                ErrorCode::InvalidArgument,
                "{image}: {path}: {read}"
            );
            let write = session
                .write(path, b"x".to_vec(), soon(5))
                .await
                .unwrap_err();
            assert_eq!(
                write.code(),
                ErrorCode::InvalidArgument,
                "{image}: {path}: {write}"
            );
            assert!(begun.elapsed() < Duration::from_secs(2), "{path}");
        }
        for path in ["none", "dir/none", "none/none"] {
            assert_eq!(
                session.read(path, soon(5)).await.unwrap_err().code(),
                ErrorCode::NotFound,
                "{path}"
            );
            assert_eq!(
                session.list(path, soon(5)).await.unwrap_err().code(),
                ErrorCode::NotFound,
                "{path}"
            );
        }
        for path in ["out", "root", "tmp", "pipe", "/"] {
            assert_eq!(
                session.list(path, soon(5)).await.unwrap_err().code(),
                ErrorCode::InvalidArgument,
                "{path}"
            );
        }
        let passwd = sh(
            &*session,
            "head -1 /etc/passwd; ls -A /tmp | grep -v '^\\.' | wc -l",
        )
        .await;
        assert!(
            passwd.stdout.starts_with("root:") && passwd.stdout.ends_with("\n0\n"),
            "{passwd:?}"
        );
        // A link that is put there again and again while files are written.
        let race = "mkdir -p r; i=0; (while [ $i -lt 400 ]; do rm -rf r; ln -s /tmp r; rm -f r; mkdir r; i=$((i+1)); done; echo >raced) & true";
        sh(&*session, race).await;
        for _ in 0..200 {
            match session.write("r/f", b"f".to_vec(), soon(5)).await {
                Ok(()) => {}
                Err(error) => assert!(
                    matches!(
                        error.code(),
                        ErrorCode::InvalidArgument | ErrorCode::NotFound
                    ),
                    "{error}"
                ),
            }
        }
        assert_eq!(
            sh(&*session, "ls /tmp/f 2>/dev/null | wc -l").await.stdout,
            "0\n",
            "{image}"
        );
        session.stop().await;
    }
    rig.close().await;
}

/// 11, 12, 57, 60: what grows, is full or has no end is an error that says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_11_12_58_60_what_is_too_much_is_refused() {
    let rig = Rig::new().await;
    for image in IMAGES {
        let session = rig.open(image).await;
        let over = session
            .write("x", vec![0; FILE_BYTES + 1], soon(5))
            .await
            .unwrap_err();
        assert_eq!(over.code(), ErrorCode::LimitExceeded);
        sh(&*session, "truncate -s 100M sparse; (while [ ! -e stop ]; do head -c 4000000 /dev/zero >>grows; : >grows; done) & true").await;
        let sparse = session.read("sparse", soon(5)).await.unwrap_err();
        assert_eq!(sparse.code(), ErrorCode::LimitExceeded, "{image}: {sparse}");
        for _ in 0..20 {
            if let Ok(bytes) = session.read("grows", soon(5)).await {
                assert!(bytes.len() <= FILE_BYTES);
            }
        }
        let many = "mkdir many; cd many; i=0; while [ $i -lt 60 ]; do touch $(seq -f f%g $((i*1000)) $((i*1000+999))) || break; i=$((i+1)); done 2>&1 | tail -1; ls | wc -l";
        let made = exec(&*session, &[many], 30_000).await.unwrap();
        assert_eq!(made[0].exit_code, 0, "{made:?}");
        let begun = tokio::time::Instant::now();
        let listing = session.list("many", soon(5)).await.unwrap();
        assert_eq!((listing.entries.len(), listing.truncated), (LISTING, true));
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
        let full =
            "touch stop; sleep 0.3; rm -rf grows many; head -c 400000000 /dev/zero >full; true";
        exec(&*session, &[full], 30_000).await.unwrap();
        let refused = session.write("y", vec![1; 1 << 20], soon(5)).await;
        assert_eq!(
            refused.unwrap_err().code(),
            ErrorCode::LimitExceeded,
            "{image}"
        );
        assert_eq!(
            sh(&*session, "rm full; ls -A | grep -c '^\\.'")
                .await
                .stdout,
            "0\n",
            "half a file is no file"
        );
        // Given up in the middle, again and again.
        for _ in 0..20 {
            drop(
                timeout(
                    Duration::from_millis(2),
                    session.write("z", vec![2; 4 << 20], soon(5)),
                )
                .await,
            );
        }
        session
            .write("z", b"whole".to_vec(), soon(5))
            .await
            .unwrap();
        assert_eq!(session.read("z", soon(5)).await.unwrap(), b"whole");
        session.stop().await;
    }
    rig.close().await;
}
