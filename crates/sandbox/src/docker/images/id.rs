//! An image by its ID.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::docker::daemon::ImageFacts;

/// An image on the daemon: its ID, with what has to be known of it to make a container.
#[derive(Debug, Clone)]
pub(crate) struct ImageId(Arc<ImageFacts>);

impl ImageId {
    /// `sha256:…`
    pub(crate) fn as_str(&self) -> &str {
        &self.0.id
    }

    /// What the image brings along.
    pub(crate) fn facts(&self) -> &ImageFacts {
        &self.0
    }
}

impl From<ImageFacts> for ImageId {
    fn from(facts: ImageFacts) -> Self {
        Self(Arc::new(facts))
    }
}

impl PartialEq for ImageId {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ImageId {}

impl Hash for ImageId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.id)
    }
}
