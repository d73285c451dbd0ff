//! What the daemon is asked for.

use std::collections::HashMap;
use std::time::Duration;

use bollard::errors::Error as BollardError;
use bollard::models::{ContainerCreateBody, ContainerSummary};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, StatsOptionsBuilder, WaitContainerOptionsBuilder,
};
use bytes::Bytes;
use domain::error::Result;
use futures::{StreamExt, TryStreamExt};
use http::header::{CONNECTION, UPGRADE};
use http::{Method, Request, StatusCode};
use http_body_util::Empty;

use super::answers::{End, Facts, ImageFacts, Ours, Progress};
use super::attach::Attached;
use super::{ContainerId, Daemon, Fault, LONGEST};
use crate::docker::reaper::Labels;

/// How long the daemon may take, by what it has to do. Creating and starting write to disk, and a
/// removal first kills and waits for the kernel.
const QUICK: Duration = Duration::from_secs(10);
const SLOW: Duration = Duration::from_secs(30);
/// For what is nice to know about something that is about to be killed. The daemon looks at a container
/// once a second after it was asked about it before.
const GLANCE: Duration = Duration::from_millis(1_300);
/// How long to wait for the state of a container whose stream has ended: the daemon learns of its
/// exit a little later than the stream does.
const SETTLE: Duration = Duration::from_secs(2);
/// The exit code of what ended by SIGKILL: 128 and its number.
const KILLED: i64 = 137;

impl Daemon {
    /// Makes a container. One that the daemon would make other than asked is removed again.
    ///
    /// # Errors
    /// `unavailable`; nothing runs.
    pub(crate) async fn create(
        &self,
        name: &str,
        body: &ContainerCreateBody,
    ) -> Result<ContainerId> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let request = self
            .shared
            .api
            .create_container(Some(options), body.clone());
        let made = self.ask("create", SLOW, request).await;
        let made = made.map_err(|fault| fault.of("create"))?;
        let id = ContainerId::from(made.id);
        if made.warnings.is_empty() {
            return Ok(id);
        }
        // "… discarded": a wall that is asked for and not built.
        self.kill_and_remove(&id).await?;
        let all = super::fault::cut(&made.warnings.join("; "));
        Err(Fault::Answer(format!("it would not keep the profile: {all}")).of("create"))
    }

    /// Takes hold of a container's streams; before it is started, so that nothing is missed.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) async fn attach(&self, id: &ContainerId) -> Result<Attached> {
        let path = format!("/containers/{id}/attach?stream=1&stdin=1&stdout=1&stderr=1");
        let request = async {
            let request = Request::builder()
                .method(Method::POST)
                .uri(path)
                .header(CONNECTION, "Upgrade")
                .header(UPGRADE, "tcp")
                .body(Empty::<Bytes>::new())?;
            let answer = self.shared.transport.send(request).await?;
            if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                return Err(BollardError::DockerResponseServerError {
                    status_code: answer.status().as_u16(),
                    message: "the stream cannot be attached".to_owned(),
                });
            }
            Ok(Attached::new(hyper::upgrade::on(answer).await?))
        };
        let attached = self.ask("attach", QUICK, request).await;
        attached.map_err(|fault| fault.of("attach"))
    }

    /// Starts a container.
    ///
    /// # Errors
    /// `unavailable`; whether it runs is not known when the daemon did not answer.
    pub(crate) async fn start(&self, id: &ContainerId) -> Result<()> {
        let request = self.shared.api.start_container(id.as_str(), None);
        let started = self.ask("start", SLOW, request).await;
        started.map_err(|fault| fault.of("start"))
    }

    /// Kills and removes a container and its anonymous volumes. One that is gone, or that is being
    /// removed already, is fine.
    ///
    /// # Errors
    /// `unavailable`: it may be there still.
    pub(crate) async fn kill_and_remove(&self, id: &ContainerId) -> Result<()> {
        self.remove(id)
            .await
            .map(drop)
            .map_err(|fault| fault.of("remove"))
    }

    /// The same; says whether it is gone, or going only.
    pub(crate) async fn remove(&self, id: &ContainerId) -> Result<bool, Fault> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true);
        let request = self
            .shared
            .api
            .remove_container(id.as_str(), Some(options.build()));
        match self.ask("remove", SLOW, request).await {
            Ok(()) => Ok(true),
            Err(fault) if fault.is_not_found() => Ok(true),
            Err(Fault::Refused { status: 409, .. }) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// How a container ended. For failures only: it costs two requests, and up to a second more for one whose end
    /// by SIGKILL nothing explains.
    ///
    /// # Errors
    /// `unavailable`; `not_found` is told as an end without an exit code.
    pub(crate) async fn end_of(&self, id: &ContainerId) -> Result<End> {
        let api = &self.shared.api;
        let options = WaitContainerOptionsBuilder::new().condition("not-running");
        let wait = async {
            let mut answers = api.wait_container(id.as_str(), Some(options.build()));
            // A non-zero exit is an error of the library's; the state is read below.
            match answers.next().await {
                None | Some(Ok(_)) | Some(Err(BollardError::DockerContainerWaitError { .. })) => {
                    Ok(())
                }
                Some(Err(error)) => Err(error),
            }
        };
        match self.ask("wait", SETTLE, wait).await {
            Ok(()) | Err(Fault::Late(_)) => {}
            Err(fault) if fault.is_not_found() => {}
            Err(fault) => return Err(fault.of("wait")),
        }
        let request = api.inspect_container(id.as_str(), None);
        let state = match self.ask("inspect", QUICK, request).await {
            Ok(found) => found.state.unwrap_or_default(),
            Err(fault) if fault.is_not_found() => Default::default(),
            Err(fault) => return Err(fault.of("inspect")),
        };
        let running = state.running.unwrap_or(false);
        let exit_code = state.exit_code.filter(|_| !running);
        let mut oom_killed = state.oom_killed.unwrap_or(false);
        if exit_code == Some(KILLED) && !oom_killed {
            oom_killed = self.shared.kills.told_of(id).await;
        }
        Ok(End {
            running,
            exit_code,
            oom_killed,
            error: state.error.filter(|error| !error.is_empty()),
        })
    }

    /// What a container that runs has used since its start: CPU time, and the most memory in bytes
    /// where the daemon knows it. For calls that are ended: those that end by themselves say it.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) async fn usage_of(&self, id: &ContainerId) -> Result<(Duration, Option<u64>)> {
        let options = StatsOptionsBuilder::new().stream(false).one_shot(true);
        let request = async {
            let mut answers =
                std::pin::pin!(self.shared.api.stats(id.as_str(), Some(options.build())));
            answers.try_next().await
        };
        let found = self.ask("stats", GLANCE, request).await;
        let found = found
            .map_err(|fault| fault.of("stats"))?
            .unwrap_or_default();
        let cpu = found
            .cpu_stats
            .and_then(|stats| stats.cpu_usage?.total_usage);
        let memory = found.memory_stats.unwrap_or_default();
        let nanos = cpu.ok_or_else(|| Fault::Answer("no CPU time".to_owned()).of("stats"))?;
        Ok((
            Duration::from_nanos(nanos),
            memory.max_usage.or(memory.usage),
        ))
    }

    /// The memory that a container that waits uses now, in bytes, without what the kernel can take
    /// back at once (files that were read); nothing when the daemon does not say.
    pub(crate) async fn memory_of(&self, id: &ContainerId) -> Option<u64> {
        let options = StatsOptionsBuilder::new().stream(false).one_shot(true);
        let request = async {
            let mut answers =
                std::pin::pin!(self.shared.api.stats(id.as_str(), Some(options.build())));
            answers.try_next().await
        };
        let found = self.ask("stats", QUICK, request).await.ok()??;
        let memory = found.memory_stats?;
        // cgroup v1 counts children too under the first name, v2 has the second only.
        let details = memory.stats.unwrap_or_default();
        let files = ["total_inactive_file", "inactive_file"];
        let files = files.iter().find_map(|name| details.get(*name)).copied();
        Some(memory.usage?.saturating_sub(files.unwrap_or(0)))
    }

    /// All containers of this product, running or not, whoever owns them.
    pub(crate) async fn list(&self) -> Result<Vec<Ours>, Fault> {
        let filters = HashMap::from([("label", vec![Labels::FILTER])]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        let request = self.shared.api.list_containers(Some(options));
        let all = self.ask("list", SLOW, request).await?;
        Ok(all.into_iter().filter_map(ours).collect())
    }

    /// What the daemon is.
    pub(crate) async fn facts(&self) -> Result<Facts, Fault> {
        let info = self.ask("info", QUICK, self.shared.api.info()).await?;
        let security = info.security_options.unwrap_or_default();
        let has = |name: &str| security.iter().any(|option| option.contains(name));
        let walls = [
            (
                "Linux containers",
                Some(info.os_type.as_deref() == Some("linux")),
            ),
            ("seccomp", Some(has("name=seccomp"))),
            ("memory limits", info.memory_limit),
            ("swap limits", info.swap_limit),
            ("process limits", info.pids_limit),
            ("CPU quotas", info.cpu_cfs_quota),
        ];
        let now = info.system_time.as_deref();
        Ok(Facts {
            runtimes: info.runtimes.unwrap_or_default().into_keys().collect(),
            now: now
                .and_then(|now| now.parse::<jiff::Timestamp>().ok())
                .map(|now| now.as_second()),
            walls: walls
                .map(|(name, there)| (name, there == Some(true)))
                .into(),
            rootless: has("name=rootless") || has("name=userns"),
            version: info.server_version.unwrap_or_default(),
            runc: info
                .runc_commit
                .and_then(|commit| commit.id)
                .unwrap_or_default(),
        })
    }

    /// What an image is; nothing when the daemon does not have it.
    pub(crate) async fn image(&self, name: &str) -> Result<Option<ImageFacts>, Fault> {
        let found = self.ask("inspect_image", QUICK, self.shared.api.inspect_image(name));
        let found = match found.await {
            Ok(found) => found,
            Err(fault) if fault.is_not_found() => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let Some(id) = found.id.filter(|id| id.starts_with("sha256:")) else {
            return Err(Fault::Answer(format!("the image {name} has no id")));
        };
        let config = found.config.unwrap_or_default();
        let key = |entry: String| match entry.split_once('=') {
            Some((key, _)) => key.to_owned(),
            None => entry,
        };
        Ok(Some(ImageFacts {
            id,
            env: config
                .env
                .unwrap_or_default()
                .into_iter()
                .map(key)
                .collect(),
            volumes: config.volumes.unwrap_or_default(),
        }))
    }

    /// Fetches `image` (with its tag or digest), telling how far it is in percent, and what is being
    /// done. Ends with the pull.
    pub(crate) async fn pull(
        &self,
        image: &str,
        deadline: Duration,
        mut progress: impl FnMut(Progress<'_>),
    ) -> Result<(), Fault> {
        let options = CreateImageOptionsBuilder::new().from_image(image).build();
        let request = async {
            let mut lines = std::pin::pin!(self.shared.api.create_image(Some(options), None, None));
            while let Some(line) = lines.try_next().await? {
                let detail = line.progress_detail.unwrap_or_default();
                progress(Progress {
                    layer: line.id.as_deref().unwrap_or_default(),
                    status: line.status.as_deref().unwrap_or_default(),
                    current: detail.current.unwrap_or(0),
                    total: detail.total.unwrap_or(0),
                });
            }
            Ok(())
        };
        self.ask("pull", deadline.min(LONGEST), request).await
    }
}

fn ours(found: ContainerSummary) -> Option<Ours> {
    let name = found.names?.into_iter().next()?;
    let name = name.trim_start_matches('/').to_owned();
    let labels = Labels::read(&name, &found.labels.unwrap_or_default())?;
    Some(Ours {
        id: found.id?.into(),
        name,
        labels,
        created: found.created?,
    })
}
