//! The configuration read again, and files opened by their names again.

use std::time::Instant;

use group::{Address, GroupName};
use unixproc::log;

use super::{Daemon, logs_of};
use crate::config::Config;

impl Daemon {
    /// Reads the configuration again and opens all files anew. With an error in the file the old
    /// configuration stays, but files are opened anew all the same.
    pub(super) fn reload(&mut self) {
        self.notify.reloading();
        let now = Instant::now();
        let mut config = "read";
        self.outputs.write(now);
        match self.read_config() {
            Ok(Some((config, addresses))) => {
                self.config = config;
                if self.config.keep.is_none() {
                    self.connect_buses(addresses, now);
                }
            }
            Ok(None) => {}
            Err(errors) => {
                config = "refused";
                for error in errors {
                    log::error("reload-refused", &[("error", &error)]);
                }
            }
        }
        self.outputs.reopen();
        if self.config.keep.is_none() {
            for (name, error) in self.open_outputs() {
                log::error("open-failed", &[("file", &name), ("error", &error)]);
            }
        }
        for kept in &mut self.kept {
            kept.reopen(logs_of(&self.config, kept.group()));
        }
        log::notice("reloaded", &[("config", &config)]);
        self.notify.ready();
    }

    /// The configuration file as it is now; none if there is no file, or all errors.
    fn read_config(&self) -> Result<Option<(Config, Vec<Address>)>, Vec<String>> {
        let Some(path) = &self.config_path else {
            return Ok(None);
        };
        let lines = |errors: conf::Errors| -> Vec<String> {
            errors.to_string().lines().map(str::to_owned).collect()
        };
        let config = conf::read(path, Config::parse).map_err(lines)?;
        let addresses = self
            .addresses(&config)
            .map_err(|error| vec![error.to_string()])?;
        let groups = |config: &Config| -> Vec<GroupName> {
            let logs = config.buses.iter().flat_map(|bus| &bus.logs);
            let mut groups: Vec<GroupName> = logs.map(|log| log.group).collect();
            groups.sort();
            groups.dedup();
            groups
        };
        let same = config.keep == self.config.keep
            && (config.keep.is_none() || groups(&config) == groups(&self.config));
        if !same {
            let message = "other groups with Loggers, or another setting of these, need a restart";
            return Err(vec![format!("{}: {message}", path.display())]);
        }
        Ok(Some((config, addresses)))
    }
}
