//! Whether something stands before the daemon and lets only sandboxes through, as
//! `deploy/compose/docker-filter` does. It is asked for what gives the machine away, in ways that do
//! nothing where nobody refuses: of an image that there is not, of a container that there is not, or
//! only to read.

use std::time::Duration;

use bollard::exec::CreateExecOptions;
use bollard::models::{ContainerCreateBody, DeviceMapping, HostConfig, Mount, MountType};
use bollard::query_parameters::{CreateContainerOptionsBuilder, ListContainersOptionsBuilder};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};

use super::{ContainerId, Daemon, Fault, ImageFacts};
use crate::docker::images::ImageId;
use crate::docker::profile::{Network, Profile, Purpose};
use crate::docker::reaper::{Epoch, Labels, new_name};

/// How long each answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How much is asked at the same time: a filter on a busy machine takes its time for each.
const AT_ONCE: usize = 4;
/// The status of a refusal, by a filter or by a plugin of the daemon.
const REFUSED: u16 = 403;

/// What came of asking.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filtered {
    /// Whether a sandbox went on to the daemon: where not, the refusals below say nothing.
    pub(crate) sandboxes: bool,
    /// What was refused.
    pub(crate) refused: Vec<&'static str>,
    /// What went on to the daemon although it gives the machine away.
    pub(crate) passed: Vec<&'static str>,
}

/// A change of a sandbox that gives the machine away.
type Change = fn(&mut ContainerCreateBody, &mut HostConfig);

/// By what it gives.
const CHANGES: &[(&str, Change)] = &[
    ("a privileged container", |_, host| {
        host.privileged = Some(true);
    }),
    ("a folder of the machine", |_, host| {
        host.binds = Some(vec!["/:/machine:ro".to_owned()]);
    }),
    ("its own socket", |_, host| {
        host.mounts = Some(vec![Mount {
            typ: Some(MountType::BIND),
            source: Some("/var/run/docker.sock".to_owned()),
            target: Some("/docker.sock".to_owned()),
            ..Mount::default()
        }]);
    }),
    ("a device", |_, host| {
        host.devices = Some(vec![DeviceMapping {
            path_on_host: Some("/dev/mem".to_owned()),
            path_in_container: Some("/dev/mem".to_owned()),
            cgroup_permissions: Some("rwm".to_owned()),
        }]);
    }),
    ("a capability", |_, host| {
        host.cap_add = Some(vec!["SYS_ADMIN".to_owned()]);
    }),
    ("the machine's processes", |_, host| {
        host.pid_mode = Some("host".to_owned());
    }),
    ("the machine's network", |body, host| {
        body.network_disabled = Some(false);
        host.network_mode = Some("host".to_owned());
    }),
    ("no seccomp", |_, host| {
        host.security_opt = Some(vec!["seccomp=unconfined".to_owned()]);
    }),
    ("root", |body, _| body.user = Some("0:0".to_owned())),
];

impl Daemon {
    /// Asks for what a filter has to refuse.
    ///
    /// # Errors
    /// The fault of the first request that got no answer: then nothing is known.
    pub(crate) async fn filtered(&self) -> Result<Filtered, Fault> {
        let mut found = Filtered {
            sandboxes: self.lets_create(sandbox()).await?,
            ..Filtered::default()
        };
        let asked = CHANGES.iter().map(|(what, change)| {
            let mut body = sandbox();
            let mut host = body.host_config.take().unwrap_or_default();
            change(&mut body, &mut host);
            body.host_config = Some(host);
            async move { Ok::<_, Fault>((*what, self.lets_create(body).await?)) }.boxed()
        });
        let answers: Vec<(&str, bool)> =
            stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
        for (what, passed) in answers {
            found.note(what, passed);
        }
        let api = &self.shared.api;
        let all = ListContainersOptionsBuilder::new().all(true).build();
        let listed = self.ask("list", PATIENCE, api.list_containers(Some(all)));
        found.note(
            "the list of all containers",
            passed(listed.await)?.is_some(),
        );
        let nobody = "0".repeat(64);
        let options = CreateExecOptions {
            cmd: Some(vec!["true"]),
            ..CreateExecOptions::default()
        };
        let command = self.ask("exec", PATIENCE, api.create_exec(&nobody, options));
        let command = passed(command.await)?.is_some();
        found.note("a command in a container of others", command);
        Ok(found)
    }

    /// Whether a container of an image that there is not would have been made.
    async fn lets_create(&self, body: ContainerCreateBody) -> Result<bool, Fault> {
        let options = CreateContainerOptionsBuilder::new()
            .name(&new_name())
            .build();
        let request = self.shared.api.create_container(Some(options), body);
        match passed(self.ask("create", PATIENCE, request).await)? {
            None => Ok(false),
            Some(None) => Ok(true),
            // Something answers that is no daemon of Docker's.
            Some(Some(made)) => self.remove(&ContainerId::from(made.id)).await.map(|_| true),
        }
    }
}

impl Filtered {
    fn note(&mut self, what: &'static str, passed: bool) {
        match passed {
            true => self.passed.push(what),
            false => self.refused.push(what),
        }
    }
}

/// Nothing for a refusal; what the daemon itself said otherwise, with nothing for its errors.
fn passed<T>(answer: Result<T, Fault>) -> Result<Option<Option<T>>, Fault> {
    match answer {
        Ok(answer) => Ok(Some(Some(answer))),
        Err(Fault::Refused { status, .. }) if status == REFUSED => Ok(None),
        Err(Fault::Refused { .. }) => Ok(Some(None)),
        Err(fault) => Err(fault),
    }
}

/// A sandbox as any other, of an image that there is not.
fn sandbox() -> ContainerCreateBody {
    let profile = Profile {
        image: ImageId::from(ImageFacts {
            id: format!("sha256:{}", "0".repeat(64)),
            env: Vec::new(),
            volumes: Vec::new(),
        }),
        runtime: None,
        memory_bytes: 64 << 20,
        cpu_millis: 100,
        purpose: Purpose::Call,
        network: Network::None,
        volume: None,
        cgroup_parent: None,
        data_mounts: Vec::new(),
        labels: Default::default(),
    };
    let labels = Labels {
        owner: "doctor".to_owned(),
        epoch: Epoch::new(),
        max_age: Duration::from_secs(60),
    };
    profile.body(vec!["true".to_owned()], &labels)
}
