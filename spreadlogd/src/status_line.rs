//! What this program publishes of itself in the group `covey.status`: a line of JSON.

use std::time::Duration;

use group::{GroupName, Link, Service};
use serde_json::Value;

/// How often; and at once when something changes that others wait for.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

/// Publishes a status, if there is a session.
pub(crate) fn publish(link: &mut Link, status: &Value) {
    let group: GroupName = status::STATUS_GROUP.parse().expect("a group's name");
    if let Some(session) = link.session() {
        // A session that is lost is noticed when it is read.
        let _ = session.multicast(Service::Fifo, &[group], 0, status.to_string().as_bytes());
    }
}
