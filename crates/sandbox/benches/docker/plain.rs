//! The same by hand: one container with a node that answers a line, nothing of ours but the limits.

use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder,
};
use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::IMAGE;

/// Says that it is there, and answers what it reads by running it.
const WORKER: &str = "process.stdout.write('ready');\
    process.stdin.once('data', (code) => process.stdout.write(JSON.stringify(eval(String(code)))))";

pub(super) struct Plain(Docker);

impl Plain {
    pub(super) async fn new() -> Self {
        Self(Docker::connect_with_defaults().unwrap())
    }

    async fn create(&self) -> String {
        let body = ContainerCreateBody {
            image: Some(IMAGE.to_owned()),
            cmd: Some(["node", "-e", WORKER].map(str::to_owned).to_vec()),
            open_stdin: Some(true),
            stdin_once: Some(true),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                ipc_mode: Some("private".to_owned()),
                readonly_rootfs: Some(true),
                cap_drop: Some(vec!["ALL".to_owned()]),
                memory: Some(256 << 20),
                memory_swap: Some(256 << 20),
                pids_limit: Some(64),
                nano_cpus: Some(1_000_000_000),
                init: Some(true),
                log_config: Some(HostConfigLogConfig {
                    typ: Some("none".to_owned()),
                    config: None,
                }),
                tmpfs: Some(
                    ["/tmp", "/workspace"]
                        .map(|path| (path.to_owned(), "size=64m".to_owned()))
                        .into(),
                ),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::new().build();
        let made = self.0.create_container(Some(options), body).await;
        made.unwrap().id
    }

    async fn remove(&self, id: &str) {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true);
        let removed = self.0.remove_container(id, Some(options.build()));
        removed.await.unwrap();
    }

    /// Makes one, starts it and removes it while its program starts still.
    pub(super) async fn cycle(&self) {
        let id = self.create().await;
        self.0.start_container(&id, None).await.unwrap();
        self.remove(&id).await;
    }

    /// How long until a new container is ready, and then until it has answered.
    pub(super) async fn call(&self) -> (Duration, Duration) {
        let begun = Instant::now();
        let id = self.create().await;
        let options = AttachContainerOptionsBuilder::new()
            .stream(true)
            .stdin(true)
            .stdout(true)
            .build();
        let mut attached = self.0.attach_container(&id, Some(options)).await.unwrap();
        self.0.start_container(&id, None).await.unwrap();
        assert_eq!(next(&mut attached.output).await, "ready");
        let made = begun.elapsed();
        let asked = Instant::now();
        attached.input.write_all(b"1 + 1").await.unwrap();
        assert_eq!(next(&mut attached.output).await, "2");
        let answered = asked.elapsed();
        self.remove(&id).await;
        (made, answered)
    }
}

async fn next(
    output: &mut (impl futures::Stream<Item = Result<LogOutput, bollard::errors::Error>> + Unpin),
) -> String {
    let bytes = output.next().await.unwrap().unwrap().into_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}
