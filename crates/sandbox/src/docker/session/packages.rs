//! Packages that come while a session is open.

use std::io;

use bytes::Bytes;
use domain::error::Result;
use futures::stream::BoxStream;
use serde::Serialize;
use tokio::time::Instant;

use super::actor::{Actor, Body, Done, Ending, Reply, answer, unanswered};
use super::end::Cause;
use super::line::{Message, Tell};
use crate::output::broken;

#[derive(Serialize)]
struct Head {
    target: &'static str,
    most: u64,
}

/// Has the agent unpack a tar into a folder of the workspace.
///
/// # Errors
/// The session ends.
pub(super) async fn serve(
    actor: &mut Actor,
    target: &'static str,
    most: u64,
    tar: BoxStream<'static, io::Result<Bytes>>,
    until: Instant,
    mut reply: Reply<()>,
) -> Result<(), Cause> {
    let operation = actor.begin(Tell::Unpack, &Head { target, most });
    let nothing = |_: Message| Err(broken("a message out of turn"));
    let late = (until, true);
    let ending = actor
        .operate(operation, Body::Stream(tar), late, &mut reply, nothing)
        .await?;
    let unpacked = match ending {
        Ending::Done(Done { error: None, .. }) => Ok(()),
        ending => Err(unanswered(ending)),
    };
    answer(reply, unpacked);
    Ok(())
}
