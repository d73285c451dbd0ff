//! The audit log as a part of the process.

use std::sync::Arc;

use bootstrap::config::{AuditConfig, AuditOnFailure, Profile, PublicConfig};
use bootstrap::{App, OnFailure as TaskFailure, StartError};
use domain::audit::{Action, Actor, Archive, Outcome, Record};
use tokio::time::Instant;

use super::{AuditLog, AuditSettings, ON_DISK_WITHIN, OnFailure};

/// Opens the log and starts its task, where the configuration or the profile wants one.
///
/// # Errors
/// The file cannot be used.
pub(crate) fn start(public: &PublicConfig, app: &App) -> Result<AuditLog, StartError> {
    let AuditConfig {
        enabled,
        file,
        max_event,
        max_file,
        max_files,
        on_failure,
    } = &public.audit;
    if !enabled.unwrap_or(public.profile == Profile::Enterprise) {
        return Ok(AuditLog::default());
    }
    let settings = AuditSettings {
        file: file.clone(),
        max_event_bytes: usize::try_from(max_event.0)?,
        max_file_bytes: max_file.0,
        max_files: *max_files,
        on_failure: match on_failure {
            AuditOnFailure::Deny => OnFailure::Deny,
            AuditOnFailure::Allow => OnFailure::Allow,
        },
        version: bootstrap::VERSION,
    };
    let (log, task) = AuditLog::open(settings, Arc::clone(&app.metrics))?;
    tracing::info!(file = %file.display(), "calls and changes are recorded in the audit log");
    app.tasks
        .last("audit log", TaskFailure::Essential, |closing| {
            task.run(closing)
        });
    record_profiles(&log, app);
    Ok(log)
}

/// A profile of the process is taken only once its record is on the disk.
fn record_profiles(log: &AuditLog, app: &App) {
    let log = log.clone();
    app.profiles.record_with(move |profile| {
        let mut record = Record::of_system(Action::ServiceProfile, Outcome::Success)
            .with("kind", profile.kind)
            .with("seconds", profile.length.as_secs());
        record.actor = Actor::admin_token();
        record.request_id = Some(profile.request_id);
        let log = log.clone();
        Box::pin(async move {
            let deadline = Instant::now() + ON_DISK_WITHIN;
            let recorded = log.record_on_disk(record, deadline).await;
            recorded.map_err(|error| error.to_string())
        })
    });
}

/// Begins to ship the log to the registry, where there is one.
pub(crate) fn ship(log: &AuditLog, archive: Arc<dyn Archive>, app: &App) {
    if let Some(task) = log.shipping(archive) {
        app.tasks
            .last("audit shipping", TaskFailure::Log, |closing| {
                task.run(closing)
            });
    }
}
