//! Loggers that do not count.

use std::time::Duration;

use crate::stream::control::{Control, State};
use crate::stream::logger::tests::{OTHER, SELF, THIRD, join, logger, own_state_of};
use crate::stream::logger::{Logger, LoggerConfig, Misfit, Quorum};

/// Tells a logger, which is in the group with these, what each of them says of itself.
fn hear_states(logger: &mut Logger, states: &[(&[u8], &str, &LoggerConfig)]) {
    let members: Vec<&[u8]> = states.iter().map(|(session, ..)| *session).collect();
    join(logger, &members);
    let own = own_state_of(logger, &mut Vec::new());
    let round = logger.round_id();
    for (session, name, config) in states {
        let state = State {
            name: (*name).to_owned(),
            list: config.list_hash(),
            ..own.clone()
        };
        let record = Control::State { round, state };
        logger.handle_control(Duration::ZERO, session, &record.encode());
    }
}

#[test]
fn a_name_counts_once_and_every_logger_sees_who_has_it_too() {
    let mut logger = logger(Quorum::None);
    let config = logger.config.clone();
    hear_states(
        &mut logger,
        &[
            (SELF, "a", &config),
            (OTHER, "b", &config),
            (THIRD, "b", &config),
        ],
    );
    assert_eq!(logger.participants(), ["a", "b"]);
    let third = (Misfit::NameTaken, "b".to_owned(), THIRD.into());
    assert_eq!(logger.take_misfits(), [third]);
    assert_eq!(logger.take_misfits(), []);
}

#[test]
fn of_loggers_with_two_lists_one_part_waits() {
    let own = |quorum| logger(quorum).config;
    let mut longer = own(Quorum::None);
    longer.loggers.push("d".to_owned());
    // The order of the names does not matter.
    let mut turned = own(Quorum::None);
    turned.loggers.reverse();
    for (second, third, taking_part) in [
        (&turned, &longer, &["a", "b"][..]),
        (&longer, &longer, &[]),
        (&own(Quorum::Majority), &own(Quorum::None), &["a", "c"]),
    ] {
        let mut logger = logger(Quorum::None);
        let config = logger.config.clone();
        let states = [
            (SELF, "a", &config),
            (OTHER, "b", second),
            (THIRD, "c", third),
        ];
        hear_states(&mut logger, &states);
        assert_eq!(logger.participants(), taking_part);
        let differ = logger.take_misfits().into_iter().map(|(misfit, name, _)| {
            assert_eq!(misfit, Misfit::OtherList);
            name
        });
        let differ: Vec<String> = differ.collect();
        let expected = ["b", "c"]
            .into_iter()
            .filter(|name| !taking_part.contains(name));
        assert_eq!(differ, expected.collect::<Vec<_>>());
    }
    // Of two, each alone with its list, both see the same one as the one that waits.
    let open = [own(Quorum::None), longer.clone()].map(|config| {
        let mut logger = Logger::new(config);
        let (one, other) = (own(Quorum::None), &longer);
        hear_states(&mut logger, &[(SELF, "a", &one), (OTHER, "b", other)]);
        logger.participants().len()
    });
    assert_eq!(open.iter().sum::<usize>(), 1, "{open:?}");
}
