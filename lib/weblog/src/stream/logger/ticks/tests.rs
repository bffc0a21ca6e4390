//! Who is given up, and when it counts again.

use super::super::tests::{
    OTHER, SELF, THIRD, header, join, logger, other_joins_in, own_state_of, settle,
};
use super::*;
use crate::stream::control::State;
use bytes::Bytes;

const NOW: Duration = Duration::ZERO;

#[test]
fn who_is_given_up_again_is_on_record_once() {
    let mut logger = logger(Quorum::None);
    assert_eq!(logger.forget("b"), Err(ForgetError::NotOpen));
    join(&mut logger, &[SELF]);
    settle(&mut logger, NOW);
    assert_eq!(logger.forget("a"), Err(ForgetError::TakesPart));
    assert_eq!(logger.forget("x"), Err(ForgetError::Unknown));
    // Two administrators at once: nobody knows of the other one's word yet.
    assert_eq!(logger.forget("b"), Ok(false));
    assert_eq!(logger.forget("b"), Ok(false));
    settle(&mut logger, NOW);
    assert_eq!(logger.position(), 1);
    assert_eq!(logger.take_forgotten_again(), ["b".to_owned()].into());
    assert_eq!(logger.forget("b"), Ok(true));
    assert_eq!(logger.forget("c"), Ok(false));
    settle(&mut logger, NOW);
    assert_eq!(logger.position(), 2);
    assert_eq!(logger.take_forgotten_again(), ["b".to_owned()].into());
    assert!(logger.take_forgotten_again().is_empty());
}

/// The states of a round, and what opens it; the third one has an empty journal.
fn open_with_third(logger: &mut Logger) {
    join(logger, &[SELF, OTHER, THIRD]);
    let own = own_state_of(logger, &mut Vec::new());
    let round = logger.round_id();
    let third = State {
        name: "c".to_owned(),
        promise: 0,
        last_term: 0,
        length: 0,
        hash: 0,
        entry_bytes: 0,
        ..own.clone()
    };
    let record = Control::State {
        round,
        state: third,
    };
    logger.handle_control(NOW, THIRD, &record.encode());
    other_joins_in(logger, &own);
    let hash = own.hash;
    for sender in [OTHER, THIRD] {
        let synced = Control::Synced { round, hash };
        logger.handle_control(NOW, sender, &synced.encode());
    }
    settle(logger, NOW);
    assert!(logger.is_open());
}

#[test]
fn a_logger_that_was_given_up_counts_from_the_round_that_hears_it() {
    for quorum in [Quorum::None, Quorum::Majority] {
        let mut logger = logger(quorum);
        join(&mut logger, &[SELF, OTHER]);
        let own = own_state_of(&mut logger, &mut Vec::new());
        other_joins_in(&mut logger, &own);
        let round = logger.round_id();
        let hash = own.hash;
        let synced = Control::Synced { round, hash };
        logger.handle_control(NOW, OTHER, &synced.encode());
        settle(&mut logger, NOW);
        assert!(logger.is_open());
        // More than what a participant may lack.
        let line = [&[b'x'; 2000][..], b"\n"].concat();
        logger.handle_control(NOW, b"#~p#host", &header(1, 0));
        logger.handle_data(NOW, b"#~p#host", 0, &Bytes::from(line));
        assert_eq!(logger.forget("c"), Ok(false));
        settle(&mut logger, NOW);
        assert!(logger.journal.is_forgotten("c"));
        open_with_third(&mut logger);
        let learns = !logger.participants().contains(&"c");
        assert_eq!(learns, quorum == Quorum::Majority);
        assert!(!logger.journal.is_forgotten("c"));
        assert_eq!(logger.kept_until(), 0, "all is kept for it");
        assert_eq!(
            logger.forget("c"),
            match learns {
                true => Ok(false),
                false => Err(ForgetError::TakesPart),
            }
        );
    }
}
