//! When what was accepted is put on the disk.

use std::time::Duration;

use bytes::Bytes;

use crate::stream::logger::tests::{PUBLISHER, SELF, header, join, logger, settle};
use crate::stream::logger::{Logger, LoggerAction, Quorum};

#[test]
fn lines_that_come_within_the_commit_interval_share_a_sync() {
    let mut logger = logger(Quorum::None);
    logger.config.sync_interval = Duration::from_millis(5);
    join(&mut logger, &[SELF, PUBLISHER]);
    settle(&mut logger, Duration::ZERO);
    logger.handle_control(Duration::ZERO, PUBLISHER, &header(1, 0));
    let syncs = |logger: &mut Logger| {
        let actions = std::iter::from_fn(|| logger.poll_action());
        actions
            .filter(|action| *action == LoggerAction::Sync)
            .count()
    };
    let line = Bytes::from_static(b"line\n");
    for index in 0..4 {
        let now = Duration::from_millis(u64::from(index));
        logger.handle_data(now, PUBLISHER, index * 5, &line);
        logger.handle_timeout(now);
        assert_eq!(syncs(&mut logger), 0);
    }
    let due = Duration::from_millis(5);
    assert_eq!(logger.poll_timeout(), Some(due));
    logger.handle_timeout(due);
    assert_eq!(syncs(&mut logger), 1);
}
