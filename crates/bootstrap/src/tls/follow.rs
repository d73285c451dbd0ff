//! Looking whether files changed: every few seconds, and at once when the process is asked to.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use telemetry::Metrics;
use tokio::sync::watch;
use tokio::time::sleep;

use super::files::{FileProblem, NamedFile};
use super::material::{Material, TlsFiles};
use crate::reload::Reload;
use crate::run::{App, StartError};
use crate::tasks::OnFailure;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// A certificate and its key are two files: the second may come a moment after the first.
const SECOND_LOOK: Duration = Duration::from_millis(300);

/// Reads the files of an endpoint, makes `T` of them, and makes it anew whenever they change.
///
/// # Errors
/// A [`FileProblem`], or what `make` refused, for the files as they are now.
pub fn follow_tls<T: Send + Sync + 'static>(
    files: TlsFiles,
    app: &App,
    make: impl Fn(&Material) -> Result<T, rustls::Error> + Send + 'static,
) -> Result<watch::Receiver<Arc<T>>, StartError> {
    let endpoint = files.endpoint;
    let metrics = Arc::clone(&app.metrics);
    let named = files.all();
    let read = move || {
        let material = files.read()?;
        let made = make(&material).map_err(|why| {
            files
                .certificate
                .problem(why.to_string(), "write a certificate for this service")
        })?;
        let expiry = metrics.certificate_expiry.with_label_values(&[endpoint]);
        expiry.set(material.not_after);
        Ok::<_, FileProblem>(Arc::new(made))
    };
    let seen = fingerprint(&named);
    let (sender, receiver) = watch::channel(read()?);
    let change = move || {
        sender.send_replace(read()?);
        Ok(())
    };
    spawn(app, endpoint, (named, seen), change);
    Ok(receiver)
}

/// A file of text that is in use.
#[derive(Debug)]
pub struct TextFile<'a> {
    /// What the log and the metrics call it, for example `signing_key`.
    pub what: &'static str,
    /// The file.
    pub file: NamedFile,
    /// Whether nobody else may read it.
    pub private: bool,
    /// The text that is in use, without its last line end.
    pub in_use: &'a str,
}

/// Hands the text of a file to `change` whenever it is another one.
pub fn follow_text(
    TextFile {
        what,
        file,
        private,
        in_use,
    }: TextFile<'_>,
    app: &App,
    change: impl Fn(&str) -> Result<(), String> + Send + 'static,
) {
    let named = vec![file.clone()];
    let seen = fingerprint(&named);
    let same = file
        .read()
        .is_ok_and(|now| now.trim_ascii_end() == in_use.trim_end().as_bytes());
    let change = move || {
        let bytes = if private {
            file.read_private()
        } else {
            file.read()
        };
        let text = String::from_utf8(bytes?)
            .map_err(|_| file.problem("is not text", "write it in UTF-8"))?;
        change(&text).map_err(|why| file.problem(why, "write it as the documentation shows"))
    };
    // It may have changed since it was read with the configuration.
    let seen = if same { seen } else { seen.wrapping_add(1) };
    spawn(app, what, (named, seen), change);
}

fn spawn(
    app: &App,
    what: &'static str,
    (files, seen): (Vec<NamedFile>, u64),
    change: impl FnMut() -> Result<(), FileProblem> + Send + 'static,
) {
    let follower = Follower {
        what,
        seen,
        files,
        change,
        reload: app.reload.clone(),
        metrics: Arc::clone(&app.metrics),
    };
    app.tasks.spawn(
        "files that may change",
        OnFailure::Essential,
        follower.run(),
    );
}

struct Follower<F> {
    what: &'static str,
    files: Vec<NamedFile>,
    /// Of what is in use, or of what was refused and told.
    seen: u64,
    change: F,
    reload: Reload,
    metrics: Arc<Metrics>,
}

impl<F: FnMut() -> Result<(), FileProblem>> Follower<F> {
    async fn run(mut self) -> Result<(), std::convert::Infallible> {
        loop {
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                () = self.reload.asked() => {}
            }
            self.look().await;
        }
    }

    async fn look(&mut self) {
        if fingerprint(&self.files) == self.seen {
            return;
        }
        let mut outcome = (self.change)();
        if outcome.is_err() {
            sleep(SECOND_LOOK).await;
            outcome = (self.change)();
        }
        self.seen = fingerprint(&self.files);
        let label = if outcome.is_ok() { "ok" } else { "failed" };
        let reloads = &self.metrics.reloads;
        reloads.with_label_values(&[self.what, label]).inc();
        match outcome {
            Ok(()) => tracing::info!(what = self.what, "read again: the files have changed"),
            Err(problem) => tracing::error!(
                what = self.what,
                %problem,
                "changed files cannot be used; what was in use stays in use"
            ),
        }
    }
}

/// Changes when the content, the mode or the presence of a file does. Times are not looked at: a
/// restored or mounted file may be older than the one before.
fn fingerprint(files: &[NamedFile]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        let private = file.check_private().is_ok();
        (file.read().ok(), private).hash(&mut hasher);
    }
    hasher.finish()
}
