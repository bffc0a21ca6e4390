//! Every play, one test each.

#[test]
fn membership() {
    tests::play("membership.sh");
}

#[test]
fn daemon() {
    tests::play("daemon.sh");
}

#[test]
fn defaults() {
    tests::play("defaults.sh");
}

#[test]
fn groupctl() {
    tests::play("groupctl.sh");
}

#[test]
fn demo() {
    tests::play("demo.sh");
}

#[test]
fn segments() {
    tests::play("segments.sh");
}

#[test]
fn sealed() {
    tests::play("sealed.sh");
}

#[test]
fn sessions() {
    tests::play("sessions.sh");
}

#[test]
fn greedy() {
    tests::play("greedy.sh");
}

#[test]
fn flood() {
    tests::play("flood.sh");
}

#[test]
fn files() {
    tests::play("files.sh");
}

#[test]
fn protocol() {
    tests::play("protocol.sh");
}

#[test]
fn logs() {
    tests::play("logs.sh");
}

#[test]
fn publisher() {
    tests::play("publisher.sh");
}

#[test]
fn historic() {
    tests::play("historic.sh");
}

#[test]
fn mistakes() {
    tests::play("mistakes.sh");
}

#[test]
fn inputs() {
    tests::play("inputs.sh");
}

#[test]
fn full_state() {
    tests::play("full-state.sh");
}

#[test]
fn kept_commands() {
    tests::play("kept-commands.sh");
}

#[test]
fn segments_gone() {
    tests::play("segments-gone.sh");
}

#[test]
fn times() {
    tests::play("times.sh");
}

#[test]
fn loggers() {
    tests::play("loggers.sh");
}

#[test]
fn backlog() {
    tests::play("backlog.sh");
}

#[test]
fn spool() {
    tests::play("spool.sh");
}

#[test]
fn takeover() {
    tests::play("takeover.sh");
}

#[test]
fn takeover_many() {
    tests::play("takeover-many.sh");
}

#[test]
fn takeover_faults() {
    tests::play("takeover-faults.sh");
}

#[test]
fn takeover_config() {
    tests::play("takeover-config.sh");
}

#[test]
fn takeover_links() {
    tests::play("takeover-links.sh");
}

#[test]
fn takeover_trace() {
    tests::play("takeover-trace.sh");
}

#[test]
fn takeover_notify() {
    tests::play("takeover-notify.sh");
}

#[test]
fn takeover_cascade() {
    tests::play("takeover-cascade.sh");
}

#[test]
fn takeover_talk() {
    tests::play("takeover-talk.sh");
}

#[test]
fn takeover_six() {
    tests::play("takeover-six.sh");
}

#[test]
fn takeover_status() {
    tests::play("takeover-status.sh");
}

#[test]
fn takeover_announce() {
    tests::play("takeover-announce.sh");
}

#[test]
fn takeover_tools() {
    tests::play("takeover-tools.sh");
}

#[test]
fn cache() {
    tests::play("cache.sh");
}

#[test]
fn cache_purges() {
    tests::play("cache-purges.sh");
}

#[test]
fn cache_hostile() {
    tests::play("cache-hostile.sh");
}

#[test]
fn cache_store() {
    tests::play("cache-store.sh");
}

#[test]
fn cache_origins() {
    tests::play("cache-origins.sh");
}

#[test]
fn cache_rules() {
    tests::play("cache-rules.sh");
}

#[test]
fn cache_cold() {
    tests::play("cache-cold.sh");
}

#[test]
fn cache_slow() {
    tests::play("cache-slow.sh");
}

#[test]
fn cache_limit() {
    tests::play("cache-limit.sh");
}

#[test]
fn cache_confirm() {
    tests::play("cache-confirm.sh");
}

#[test]
fn cache_sidecar() {
    tests::play("cache-sidecar.sh");
}

#[test]
fn cache_hot() {
    tests::play("cache-hot.sh");
}

#[test]
fn cache_config() {
    tests::play("cache-config.sh");
}

#[test]
fn cache_wire() {
    tests::play("cache-wire.sh");
}

#[test]
fn cache_purged() {
    tests::play("cache-purged.sh");
}

#[test]
fn purged_web() {
    tests::play("purged-web.sh");
}

#[test]
fn cache_conformance() {
    tests::play("cache-conformance.sh");
}

#[test]
fn online() {
    tests::play("online.sh");
}

#[test]
fn online_options() {
    tests::play("online-options.sh");
}

#[test]
fn online_hostile() {
    tests::play("online-hostile.sh");
}

#[test]
fn online_replicas() {
    tests::play("online-replicas.sh");
}

#[test]
fn lines() {
    tests::play("lines.sh");
}

#[test]
fn torture() {
    tests::play("torture.sh");
}

#[test]
fn screen_logmon() {
    tests::play("screen-logmon.sh");
}

#[test]
fn online_examples() {
    tests::play("online-examples.sh");
}

#[test]
fn screen_logtop() {
    tests::play("screen-logtop.sh");
}
