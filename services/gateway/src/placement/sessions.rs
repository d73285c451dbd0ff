//! Sessions over several executors: a handle names the one that has it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::runner::EngineKind;
use domain::session::{self, CommandResult, Exec, Listing, SessionInfo, SessionSpec};
use domain::{Call, CallContext, Error, ErrorCode, Result, RunStream, SessionId, Sessions};
use futures::{StreamExt as _, stream};
use tokio::time::{Instant, timeout};

use super::executor::Executor;
use super::{Placement, may_be_done_elsewhere, no_executor};

/// Most executors that are asked for a place for a new session.
const ASKED: usize = 4;
/// How many executors are asked for their sessions at once, and how long one may take.
const LISTS_AT_ONCE: usize = 16;
const LIST_WITHIN: Duration = Duration::from_secs(3);

/// The sessions of a caller on all executors.
#[derive(Debug, Default)]
pub struct SessionsFound {
    /// Oldest first.
    pub sessions: Vec<SessionInfo>,
    /// How many executors could not be asked: they may have more.
    pub not_asked: usize,
}

impl Placement {
    /// Asks every executor that has containers for the caller's sessions.
    ///
    /// # Errors
    /// `permission_denied`; `unavailable` when none answers.
    pub async fn find_sessions(&self, context: &CallContext) -> Result<SessionsFound> {
        let executors = self.executors.load_full();
        let docker = Some(EngineKind::Docker);
        let mut able = executors.to_vec();
        able.retain(|one| one.can_run(docker));
        let mut context = context.clone();
        context.budget = context.budget.min(LIST_WITHIN);
        let context = &context;
        let mut answers = stream::iter(able)
            .map(|executor| async move {
                let asked = timeout(LIST_WITHIN, executor.sessions().sessions(context)).await;
                let answer = asked.unwrap_or_else(|_| Err(Error::unavailable("executor")));
                if let Err(error) = &answer {
                    tracing::warn!(executor = executor.address(), %error,
                        "cannot list the sandbox sessions of an executor");
                }
                answer
            })
            .buffer_unordered(LISTS_AT_ONCE);
        let mut found = SessionsFound::default();
        let (mut answered, mut failure) = (0, None);
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(list) => {
                    answered += 1;
                    found.sessions.extend(list);
                }
                Err(error) if error.code() == ErrorCode::PermissionDenied => return Err(error),
                Err(error) => {
                    found.not_asked += 1;
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if answered == 0 => return Err(error),
            _ => {}
        }
        found.sessions.sort_by_key(|info| info.created_at);
        // One executor may be known by two addresses.
        let mut seen = std::collections::HashSet::new();
        found.sessions.retain(|info| seen.insert(info.id.clone()));
        Ok(found)
    }

    /// The executors that may have a session: the one that its handle names, or, as long as nobody
    /// knows who that is, those whose names are not known.
    ///
    /// # Errors
    /// `not_found`: that executor is no more; `unavailable`: nobody can say so now.
    fn holders(&self, id: &SessionId) -> Result<Vec<Arc<Executor>>> {
        let name = id.executor();
        let executors = self.executors.load();
        let mut unnamed = Vec::new();
        for executor in executors.iter() {
            match executor.is_named(&name) {
                Some(true) => return Ok(vec![Arc::clone(executor)]),
                Some(false) => {}
                None => unnamed.push(Arc::clone(executor)),
            }
        }
        if !unnamed.is_empty() {
            return Ok(unnamed);
        }
        if executors.is_empty() || !self.directory_is_current() {
            return Err(Error::new(
                ErrorCode::Unavailable,
                "the executor of this sandbox session cannot be reached now",
            )
            .with_fix("try again in a few seconds"));
        }
        Err(gone())
    }

    /// Does something at the executor of a session. Where several may be it, each is asked in turn:
    /// a handle is refused everywhere else before anything is done.
    async fn at_holder<T, F>(
        &self,
        id: &SessionId,
        context: &CallContext,
        work: impl Fn(Arc<Executor>, CallContext) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let started = Instant::now();
        let mut refusal: Option<Error> = None;
        for executor in self.holders(id)? {
            let mut context = context.clone();
            context.budget = context.budget.saturating_sub(started.elapsed());
            match work(Arc::clone(&executor), context).await {
                Ok(done) => {
                    executor.learn_name(id.executor());
                    return Ok(done);
                }
                Err(error)
                    if error.code() == ErrorCode::NotFound || may_be_done_elsewhere(&error) =>
                {
                    refusal = Some(match refusal.take() {
                        Some(before) if says_more(&before, &error) => before,
                        _ => error,
                    });
                }
                Err(error) => return Err(error),
            }
        }
        Err(refusal.unwrap_or_else(no_executor))
    }
}

/// Whether of two executors' answers the first says more of a session: one that cannot be reached may
/// have it, and one that says more than that there is none knows it.
fn says_more(one: &Error, other: &Error) -> bool {
    let weight = |error: &Error| match error.code() {
        ErrorCode::NotFound if error.message() == session::unknown().message() => 0,
        ErrorCode::NotFound => 1,
        _ => 2,
    };
    weight(one) > weight(other)
}

/// The answer for a session whose executor is in no directory any more.
fn gone() -> Error {
    Error::not_found(
        "there is no such sandbox session; if there was, its executor has ended or restarted, and the \
         session and its files are gone",
    )
    .with_fix("make a new one with sandbox.initialize")
}

#[async_trait]
impl Sessions for Placement {
    async fn open(&self, context: &CallContext, spec: SessionSpec) -> Result<SessionInfo> {
        let started = Instant::now();
        let mut refused_by = Vec::new();
        let mut refusal = None;
        while refused_by.len() < ASKED {
            let Some(executor) = self.choose(Some(EngineKind::Docker), &refused_by) else {
                break;
            };
            let mut context = context.clone();
            context.budget = context.budget.saturating_sub(started.elapsed());
            let opening = executor.sessions().open(&context, spec.clone());
            let error = match executor.doing(opening).await {
                Ok(info) => {
                    executor.learn_name(info.id.executor());
                    return Ok(info);
                }
                Err(error) => error,
            };
            let full = error.code() == ErrorCode::LimitExceeded;
            if !full && !may_be_done_elsewhere(&error) {
                return Err(error);
            }
            tracing::debug!(executor = executor.address(), refusal = %error,
                "trying another executor for a session");
            refusal = Some(error);
            refused_by.push(executor);
        }
        Err(refusal.unwrap_or_else(no_executor))
    }

    async fn exec(
        &self,
        context: &CallContext,
        id: &SessionId,
        exec: Exec,
    ) -> Result<Vec<CommandResult>> {
        self.at_holder(id, context, |executor, context| {
            let exec = exec.clone();
            async move {
                let work = executor.sessions().exec(&context, id, exec);
                executor.doing(work).await
            }
        })
        .await
    }

    async fn run(&self, context: &CallContext, id: &SessionId, call: Call) -> Result<RunStream> {
        self.at_holder(id, context, |executor, context| {
            let call = call.clone();
            async move { executor.run_in(&context, id, call).await }
        })
        .await
    }

    async fn write(
        &self,
        context: &CallContext,
        id: &SessionId,
        path: &str,
        content: Vec<u8>,
    ) -> Result<()> {
        self.at_holder(id, context, |executor, context| {
            let content = content.clone();
            async move {
                let work = executor.sessions().write(&context, id, path, content);
                executor.doing(work).await
            }
        })
        .await
    }

    async fn read(&self, context: &CallContext, id: &SessionId, path: &str) -> Result<Vec<u8>> {
        self.at_holder(id, context, |executor, context| async move {
            let work = executor.sessions().read(&context, id, path);
            executor.doing(work).await
        })
        .await
    }

    async fn list(&self, context: &CallContext, id: &SessionId, path: &str) -> Result<Listing> {
        self.at_holder(id, context, |executor, context| async move {
            let work = executor.sessions().list(&context, id, path);
            executor.doing(work).await
        })
        .await
    }

    async fn stop(&self, context: &CallContext, id: &SessionId) -> Result<()> {
        self.at_holder(id, context, |executor, context| async move {
            let work = executor.sessions().stop(&context, id);
            executor.doing(work).await
        })
        .await
    }

    async fn sessions(&self, context: &CallContext) -> Result<Vec<SessionInfo>> {
        Ok(self.find_sessions(context).await?.sessions)
    }
}
