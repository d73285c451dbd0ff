//! Volumes, and reading out of containers that never ran.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, ListVolumesOptionsBuilder, RemoveVolumeOptionsBuilder,
};
use bytes::Bytes;
use domain::error::{Error, ErrorCode};
use futures::{Stream, StreamExt};

use super::{ContainerId, Daemon, Fault};
use crate::docker::profile::VolumeName;

/// How long the daemon may take; a removal deletes every file of it.
const QUICK: Duration = Duration::from_secs(10);
const SLOW: Duration = Duration::from_secs(60);

/// A volume, as listed.
#[derive(Debug, Clone)]
pub(crate) struct FoundVolume {
    /// Its name.
    pub(crate) name: VolumeName,
    /// What was written on it when it was made.
    pub(crate) labels: HashMap<String, String>,
    /// When it was made, in seconds since 1970, by the daemon's clock.
    pub(crate) created: i64,
}

impl Daemon {
    /// Makes a volume with the daemon's own driver.
    ///
    /// # Errors
    /// `unavailable`; it may be there.
    pub(crate) async fn create_volume(
        &self,
        name: &VolumeName,
        labels: HashMap<String, String>,
    ) -> domain::Result<()> {
        let request = VolumeCreateRequest {
            name: Some(name.as_str().to_owned()),
            driver: Some("local".to_owned()),
            labels: Some(labels),
            ..VolumeCreateRequest::default()
        };
        let made = self.ask(
            "volume_create",
            QUICK,
            self.shared.api.create_volume(request),
        );
        made.await
            .map(drop)
            .map_err(|fault| fault.of("volume_create"))
    }

    /// Removes a volume; says whether it is gone. One that a container uses stays.
    pub(crate) async fn remove_volume(&self, name: &VolumeName) -> Result<bool, Fault> {
        let options = RemoveVolumeOptionsBuilder::new().build();
        let request = self.shared.api.remove_volume(name.as_str(), Some(options));
        match self.ask("volume_remove", SLOW, request).await {
            Ok(()) => Ok(true),
            Err(fault) if fault.is_not_found() => Ok(true),
            Err(Fault::Refused { status: 409, .. }) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Looks whether a volume is there.
    ///
    /// # Errors
    /// `unavailable`: it is not, or the daemon does not say.
    pub(crate) async fn need_volume(&self, name: &VolumeName) -> domain::Result<()> {
        match self.has_volume(name).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let message = "the installed packages are gone from the Docker daemon";
                Err(Error::new(ErrorCode::Unavailable, message)
                    .with_fix("try again: they are installed anew"))
            }
            Err(fault) => Err(fault.of("volume_inspect")),
        }
    }

    /// Whether a volume is there.
    pub(crate) async fn has_volume(&self, name: &VolumeName) -> Result<bool, Fault> {
        let request = self.shared.api.inspect_volume(name.as_str());
        match self.ask("volume_inspect", QUICK, request).await {
            Ok(_) => Ok(true),
            Err(fault) if fault.is_not_found() => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// All volumes with this label (`key=value`).
    pub(crate) async fn volumes(&self, label: &str) -> Result<Vec<FoundVolume>, Fault> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let request = self.shared.api.list_volumes(Some(options));
        let all = self.ask("volume_list", QUICK, request).await?;
        Ok(all
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(found)
            .collect())
    }

    /// What is at a place of a container, as a tar archive. Only for containers that never ran.
    pub(crate) fn archive(
        &self,
        id: &ContainerId,
        path: &str,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        let options = DownloadFromContainerOptionsBuilder::new()
            .path(path)
            .build();
        let pieces = self
            .shared
            .api
            .download_from_container(id.as_str(), Some(options));
        pieces.map(|piece| piece.map_err(io::Error::other))
    }
}

fn found(volume: bollard::models::Volume) -> FoundVolume {
    let created = volume.created_at;
    FoundVolume {
        name: volume.name.into(),
        labels: volume.labels,
        created: created
            .and_then(|text| text.parse::<jiff::Timestamp>().ok())
            .map_or(0, |moment| moment.as_second()),
    }
}
