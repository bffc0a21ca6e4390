//! What a kept log says of itself: in the log, and in the group `covey.status`.

use std::time::Instant;

use serde_json::json;
use unixproc::log;
use weblog::stream::Misfit;

use super::KeptLog;
use super::progress::Progress;
use super::writer::Writer;
use crate::status_line;

impl KeptLog {
    /// Logs which loggers do not count as their files are, when that becomes known.
    pub(super) fn report_misfits(&mut self) {
        for (misfit, name, session) in self.logger.take_misfits() {
            let event = match misfit {
                Misfit::OtherList => "loggers-differ",
                Misfit::NameTaken => "name-taken",
            };
            let session = String::from_utf8_lossy(&session);
            let fields: log::Fields = &[
                ("group", &self.group),
                ("name", &name),
                ("session", &session),
            ];
            log::error(event, fields);
        }
    }

    /// Logs which loggers were given up again: of those no other record is made.
    pub(super) fn report_forgotten(&mut self) {
        for name in self.logger.take_forgotten_again() {
            let fields: log::Fields = &[("group", &self.group), ("name", &name)];
            log::notice("logger-already-forgotten", fields);
        }
    }

    /// Publishes the status if it is due.
    pub(super) fn publish_status(&mut self, now: Instant) {
        if now < self.status_at {
            return;
        }
        self.status_at = now + status_line::INTERVAL;
        let progress = self.writer.as_ref().map(Writer::progress);
        let committed = self.logger.committed();
        let written = progress.map_or(committed, Progress::position);
        let counts = self.logger.counts();
        let status = json!({
            "program": "spreadlogd",
            "name": self.keep.name,
            "group": self.group.to_string(),
            "open": self.logger.is_open(),
            "loggers": self.logger.participants(),
            "position": self.logger.position(),
            "lag": committed.saturating_sub(written),
            "lines": self.lines_read,
            "written_bytes": progress.map_or(0, Progress::written_bytes),
            "queued_bytes": self.disk.queued_bytes(),
            "gap_bytes": self.logger.gap_bytes(),
            "missed_entries": counts.missed_entries,
        });
        status_line::publish(&mut self.link, &status);
    }

    /// Writes a line about the group into the log.
    pub(crate) fn log_status(&self) {
        let progress = self.writer.as_ref().map(Writer::progress);
        let counts = self.logger.counts();
        log::notice(
            "status",
            &[
                ("group", &self.group),
                ("connected", &self.link.is_connected()),
                ("open", &self.logger.is_open()),
                ("loggers", &self.logger.participants().join(",")),
                ("position", &self.logger.position()),
                ("committed", &self.logger.committed()),
                ("written", &progress.map_or(0, Progress::position)),
                ("checkpoint", &progress.map_or(0, Progress::checkpoint)),
                ("lines", &self.lines_read),
                ("time", &self.logger.time()),
                ("queued-bytes", &self.disk.queued_bytes()),
                ("repeated-batches", &counts.repeated_batches),
                ("ignored-messages", &counts.ignored_messages),
                ("bad-records", &counts.bad_records),
                ("refused-headers", &counts.refused_headers),
                ("missed-entries", &counts.missed_entries),
                ("kept-records", &counts.kept_records),
                ("unkept-records", &counts.unkept_records),
                ("gap-bytes", &self.logger.gap_bytes()),
            ],
        );
    }
}
