//! The stream of the daemon's events: of all that happens there only that the kernel killed for memory in
//! a container of this executor. Listening goes on for as long as the daemon is used.

use std::collections::HashMap;
use std::time::Duration;

use bollard::errors::Error as BollardError;
use bytes::{Buf, Bytes, BytesMut};
use futures::FutureExt;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use super::fault::{chain, cut};
use super::{ContainerId, Fault, Shared};
use crate::docker::reaper::Labels;

/// How long the daemon may take until it listens.
const OPEN: Duration = Duration::from_secs(10);
/// After what time the stream is replaced by a new one, which is there before the old one goes: nothing else would
/// tell that somebody in between has forgotten it.
const RENEW: Duration = Duration::from_secs(300);
/// First and longest pause between tries.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(60)];
/// With pauses from here on it is no bad moment of the daemon's any more.
const SERIOUS: Duration = Duration::from_secs(3);
/// How long a stream has to last to be a good one.
const GOOD: Duration = Duration::from_secs(10);
/// Longest event, in bytes. It holds all labels of an image.
const EVENT: usize = 1 << 20;

/// What the daemon is asked for: deploy/compose/docker-filter lets nothing else through.
pub(super) fn path(owner: &str) -> String {
    let labels = [Labels::FILTER.to_owned(), Labels::filter_of(owner)];
    let filters = HashMap::from([
        ("type", vec!["container".to_owned()]),
        ("event", vec!["oom".to_owned()]),
        ("label", labels.into()),
    ]);
    let filters = serde_json::json!(filters).to_string();
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("filters", &filters)
        .finish();
    format!("/events?{query}")
}

impl Shared {
    /// Listens for the events of this executor's containers for ever.
    pub(super) async fn listen(&self, owner: &str) {
        let path = path(owner);
        let (mut pause, mut told) = (PAUSES[0], false);
        loop {
            self.circuit.answers().await;
            let fault = match self.open_events(&path, OPEN).await {
                Err(fault) => fault,
                Ok(mut stream) => {
                    let begun = Instant::now();
                    self.kills.listening(true);
                    let fault = tokio::select! {
                        fault = self.follow(&path, &mut stream, RENEW) => fault,
                        gone = self.circuit.tripped() => gone,
                    };
                    self.kills.listening(false);
                    if begun.elapsed() >= GOOD {
                        (pause, told) = (PAUSES[0], false);
                    }
                    if fault.is_suspect() {
                        self.circuit.suspect(&fault);
                    }
                    fault
                }
            };
            let denied = matches!(fault, Fault::Refused { .. } | Fault::Answer(_));
            if !told && (denied || pause >= SERIOUS) {
                told = true;
                tracing::warn!(
                    %fault,
                    "the Docker daemon's events cannot be heard: memory that runs out is told from the state of a \
                     container alone, which Docker 20.10 on cgroup v1 sometimes loses"
                );
            } else {
                tracing::debug!(%fault, "the Docker daemon's events end");
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES[1]);
        }
    }

    /// Takes all events in, with a new stream after each `renew`. Returns why there are no more.
    async fn follow(&self, path: &str, stream: &mut Stream, renew: Duration) -> Fault {
        loop {
            let ended = async {
                loop {
                    match stream.next().await {
                        Ok(id) => self.kills.add(id),
                        Err(fault) => return fault,
                    }
                }
            };
            if let Ok(fault) = timeout(renew, ended).await {
                return fault;
            }
            let next = match self.open_events(path, OPEN).await {
                Ok(next) => next,
                Err(fault) => return fault,
            };
            // What the old one has brought meanwhile.
            while let Some(Ok(id)) = stream.next().now_or_never() {
                self.kills.add(id);
            }
            *stream = next;
        }
    }

    /// Opens a stream of events: the daemon has said that it tells them from now on.
    pub(super) async fn open_events(
        &self,
        path: &str,
        deadline: Duration,
    ) -> Result<Stream, Fault> {
        let request = async {
            let request = Request::get(path).body(Empty::<Bytes>::new())?;
            let answer = self.transport.send(request).await?;
            let (head, body) = answer.into_parts();
            if head.status != StatusCode::OK {
                return Err(BollardError::DockerResponseServerError {
                    status_code: head.status.as_u16(),
                    message: "no events".to_owned(),
                });
            }
            Ok(Stream {
                body,
                buffer: BytesMut::new(),
            })
        };
        self.ask("events", deadline, request).await
    }
}

/// Events as they come.
#[derive(Debug)]
pub(super) struct Stream {
    body: Incoming,
    /// The beginning of the next one.
    buffer: BytesMut,
}

impl Stream {
    /// The next container in which the kernel killed. Nothing is lost when it is given up.
    async fn next(&mut self) -> Result<ContainerId, Fault> {
        loop {
            if let Some(id) = cut_off(&mut self.buffer)? {
                return Ok(id);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(Fault::Lost(cut(&chain(&error)))),
                None => return Err(Fault::Lost("the stream of events ended".to_owned())),
            }
        }
    }
}

/// One event, as far as it matters here.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "Action")]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
}

/// Takes the first event off that is whole: one is a line.
///
/// # Errors
/// It is none that was asked for.
fn cut_off(buffer: &mut BytesMut) -> Result<Option<ContainerId>, Fault> {
    loop {
        let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else {
            return match buffer.len() <= EVENT {
                true => Ok(None),
                false => Err(Fault::Answer(format!(
                    "an event of more than {EVENT} bytes"
                ))),
            };
        };
        let line = buffer.split_to(end);
        buffer.advance(1);
        if line.trim_ascii().is_empty() {
            continue;
        }
        let event: Event = serde_json::from_slice(&line)
            .map_err(|error| Fault::Answer(format!("no event: {error}")))?;
        let id = event.actor.id;
        let is_id = !id.is_empty() && id.len() <= 64 && id.bytes().all(|it| it.is_ascii_hexdigit());
        if event.action != "oom" || !is_id {
            return Err(Fault::Answer(cut(&format!(
                "an event that was not asked for: {} of {id}",
                event.action
            ))));
        }
        return Ok(Some(ContainerId::from(id)));
    }
}

#[cfg(test)]
mod tests;
