//! Purges that are carried out here, and those that clients ask for and all caches confirm.

use std::io;
use std::time::{Duration, Instant};

use purges::{Fate, Purge, Waiting};
use unixproc::log;

use crate::bus::{News, Order as BusOrder};
use crate::cache::Cache;
use crate::config::Config;
use crate::daemon::Daemon;
use crate::shared::{Content, Order, ReturnAddress};

/// Bound: purges that clients have asked for and that are not confirmed yet.
pub(crate) const ORDERS_MAX: usize = 64;

/// Caches have this long to confirm a purge that a client has asked for.
const CONFIRM_TIME: Duration = Duration::from_secs(5);

/// A purge that a client waits for.
#[derive(Debug)]
pub(crate) struct Confirming {
    waiting: Waiting,
    reply: Option<ReturnAddress>,
    deadline: Instant,
}

impl Daemon {
    /// Has a purge carried out by all caches.
    pub(crate) fn take_order(&mut self, order: Order, now: Instant) {
        let Some(bus) = &mut self.bus else {
            // There are no others.
            let config = self.shared.config();
            let done = carry_out(&self.shared.cache, &[order.purge], &config, "PURGE");
            let (status, text) = match done {
                Ok(count) => (200, format!("confirmed, {count} deleted\n")),
                Err(error) => (502, format!("failed: {error}\n")),
            };
            order.reply.send(Content::Purged(status, text));
            return self.start_sweep();
        };
        let many = self.confirming.len() >= ORDERS_MAX;
        let sent = if many { None } else { bus.purge(&order.purge) };
        let (Some(number), Some(own)) = (sent, bus.session_name()) else {
            let text = "the bus is away, or busy: nobody has been told\n".to_owned();
            return order.reply.send(Content::Purged(503, text));
        };
        self.confirming.push(Confirming {
            waiting: Waiting::new(own, bus.group_name(), number, bus.members().to_vec(), now),
            reply: Some(order.reply),
            deadline: now + CONFIRM_TIME,
        });
    }

    /// Tells clients what has become of their purges.
    pub(crate) fn confirm(&mut self, news: &News, now: Instant) {
        for confirming in &mut self.confirming {
            let waiting = &mut confirming.waiting;
            news.events
                .iter()
                .for_each(|event| waiting.handle(event, now));
            if !waiting.is_done() && now < confirming.deadline {
                continue;
            }
            let good = |fate: &Fate| matches!(fate, Fate::Confirmed(..) | Fate::Left);
            let done = waiting.is_done() && waiting.caches.values().all(good);
            let lines = waiting
                .caches
                .iter()
                .map(|(name, fate)| format!("{name} {fate}\n"));
            let text: String = lines.collect();
            if let Some(reply) = confirming.reply.take() {
                reply.send(Content::Purged(if done { 200 } else { 504 }, text));
            }
        }
        self.confirming
            .retain(|confirming| confirming.reply.is_some());
    }
}

/// Does what an order says, and gives the answer.
pub(crate) fn answer_order(cache: &Cache, order: &BusOrder, config: &Config) -> String {
    let result = carry_out(cache, &order.purges, config, &order.sender.to_string());
    match (result, &order.refused) {
        (_, Some(error)) => format!("failed {error}\n"),
        (Err(error), None) => format!("failed {error}\n"),
        (Ok(removed), None) => format!("done {removed}\n"),
    }
}

pub(crate) fn carry_out(
    cache: &Cache,
    purges: &[Purge],
    config: &Config,
    by: &str,
) -> io::Result<u64> {
    let result = cache.purge(purges, config);
    let number = cache.read().rules.last();
    log::info(
        "purged",
        &[
            ("by", &by),
            ("commands", &purges.len()),
            ("number", &number),
        ],
    );
    if let Err(error) = &result {
        log::error("write-failed", &[("file", &"#rules"), ("error", error)]);
    }
    result
}
