//! The logger's side: one journal, kept together with the other loggers of a list.
//!
//! | stage  | on                                          | then                              |
//! |--------|---------------------------------------------|-----------------------------------|
//! | any    | reset, valid `Strike` or `Rejoin`           | `State`, gather                   |
//! | gather | a `State` of each logger that is not struck | sync, or wait if they are too few |
//! | sync   | own journal is the best one, on disk        | `Synced`                          |
//! | sync   | `Go` of the first participant               | open                              |
//! | open   | data of an anchored publisher               | accepted, synced, `Durable`       |
//! | any    | transitional signal                         | ended, until the next membership  |
//!
//! The stage and what is judged by it are functions of the messages of the view, so that all
//! loggers of a view, those that do not take part included, go through them together.

mod action;
mod catchup;
mod commit;
mod config;
mod follow;
mod list;
mod live;
mod round;
mod serve;
#[cfg(test)]
mod tests;
mod ticks;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::StreamId;
use super::control::{Control, Marks, RoundId, State, ViewId};
use super::journal::{Journal, Prefix, Record, Stretch};
use super::view::{Loggers, SessionName};
pub use action::LoggerAction;
use catchup::Fetch;
pub use config::{LoggerConfig, Quorum};
use follow::Follow;
pub use list::Misfit;
use live::LiveRate;
use round::Round;
use serve::Serve;
pub use ticks::ForgetError;

/// What a logger has counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoggerCounts {
    /// Batches that became entries, in full or in part.
    pub accepted_batches: u64,
    /// Batches that were here already.
    pub repeated_batches: u64,
    /// Messages of sequenced publishers that had no anchor, or came outside an open round.
    pub ignored_messages: u64,
    /// Messages whose type contradicted their place; the publisher's anchor fell.
    pub bad_hints: u64,
    /// Records that made no sense.
    pub bad_records: u64,
    /// Headers that were refused because too many publishers are known.
    pub refused_headers: u64,
    /// Times that a peer's journal contradicted what is committed here: a disk has changed what
    /// was on it. This logger does not take part any more.
    pub diverged: u64,
    /// Entries of peers that they had removed before this logger could have them.
    pub missed_entries: u64,
    /// Times that the peers had removed entries without which this logger cannot go on. It does not
    /// take part any more.
    pub too_late: u64,
    /// Records of live traffic that were kept while this logger caught up.
    pub kept_records: u64,
    /// Times that one could not be kept.
    pub unkept_records: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Away,
    Gather,
    Wait,
    Sync,
    Open,
    Ended,
}

/// A publisher's place in its stream.
#[derive(Debug)]
struct Anchor {
    stream: StreamId,
    /// Where its next message starts.
    next: u64,
    /// What is there of a batch of several messages.
    partial: Vec<u8>,
}

/// A sync under way, and what it covers.
#[derive(Clone, Debug)]
struct Syncing {
    file_bytes: u64,
    prefix: Prefix,
    round: RoundId,
    index: u64,
    marks: Marks,
}

/// The state of one log group's logger.
#[derive(Debug)]
pub struct Logger {
    config: LoggerConfig,
    journal: Journal,
    /// The own private group.
    session: SessionName,
    loggers: Loggers,
    view: ViewId,
    number: u32,
    stage: Stage,
    states: BTreeMap<SessionName, State>,
    struck: BTreeSet<SessionName>,
    /// Loggers of the last round that do not count, and those of them that nobody was told of.
    /// Bound: one for each logger of the view.
    misfits: Vec<(Misfit, String, SessionName)>,
    new_misfits: Vec<(Misfit, String, SessionName)>,
    /// Loggers that were given up once more, of which nobody was told. Bound: one for each name of
    /// the list.
    forgotten_again: BTreeSet<String>,
    round: Option<Round>,
    /// Bound: [`commit::ANCHORS_MAX`].
    anchors: BTreeMap<SessionName, Anchor>,
    /// What is to be fetched; the first one is asked for. Bound: one for each peer.
    fetches: VecDeque<Fetch>,
    /// Bound: one for each logger of the view.
    serves: BTreeMap<SessionName, Serve>,
    follow: Follow,
    next_fetch: u32,
    live: LiveRate,
    /// What each logger of the list has said to have of the others' journals.
    peer_marks: BTreeMap<String, Marks>,
    tick_at: Duration,
    second: u64,
    syncing: Option<Syncing>,
    sync_at: Option<Duration>,
    /// The file is on disk up to here, and has to be up to there.
    synced_bytes: u64,
    needed_bytes: u64,
    /// Where it stands in the file that the journal is no draft any more, if this logger has noted
    /// it; before it is on disk so far, nothing is written into files.
    complete_bytes: u64,
    /// What this journal has of the others on its disk, as of this round's last sync.
    synced_marks: Marks,
    /// Count of the entries that are on disk, and of those that are to be in the output files.
    synced_length: u64,
    told_commit: u64,
    /// Since when others are waited for.
    waiting: BTreeMap<SessionName, Duration>,
    /// When to ask to take part again, or to say that this logger is alive.
    speak_at: Duration,
    /// Bound: what one call makes, the caller takes all.
    actions: VecDeque<LoggerAction>,
    counts: LoggerCounts,
    #[cfg(test)]
    pub(super) flaw: Option<Flaw>,
}

/// Bugs that tests plant to see that they are found.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    CommitBeforeSync,
    AcknowledgedByOne,
    DedupeBy16Bits,
    CatchupOutOfOrder,
    ProvisionalTailKept,
    KeptOutOfPlace,
}

impl Logger {
    /// A logger with an empty journal.
    pub fn new(config: LoggerConfig) -> Logger {
        Logger {
            journal: Journal::new(config.quorum == Quorum::Majority),
            config,
            session: SessionName::default(),
            loggers: Loggers::default(),
            view: ViewId::default(),
            number: 0,
            stage: Stage::Away,
            states: BTreeMap::new(),
            struck: BTreeSet::new(),
            misfits: Vec::new(),
            new_misfits: Vec::new(),
            forgotten_again: BTreeSet::new(),
            round: None,
            anchors: BTreeMap::new(),
            fetches: VecDeque::new(),
            serves: BTreeMap::new(),
            follow: Follow::default(),
            next_fetch: 0,
            live: LiveRate::default(),
            peer_marks: BTreeMap::new(),
            tick_at: Duration::ZERO,
            second: 0,
            syncing: None,
            sync_at: None,
            synced_bytes: 0,
            needed_bytes: 0,
            complete_bytes: 0,
            synced_marks: Marks::new(),
            synced_length: 0,
            told_commit: 0,
            waiting: BTreeMap::new(),
            speak_at: Duration::ZERO,
            actions: VecDeque::new(),
            counts: LoggerCounts::default(),
            #[cfg(test)]
            flaw: None,
        }
    }

    /// The journal's file begins at this offset: what stood before was removed.
    pub fn begin_at(&mut self, at: u64) {
        self.journal.begin_at(at);
    }

    /// Takes the next bytes of the journal's file, before anything else; gives how many of them
    /// were whole records. What is left when no more bytes come is a torn record: the file is to be
    /// cut there, and synced.
    pub fn replay(&mut self, bytes: &Bytes) -> usize {
        let taken = self.journal.replay(bytes);
        self.synced_bytes = self.journal.file_bytes();
        self.needed_bytes = self.synced_bytes;
        self.synced_length = self.journal.length();
        self.told_commit = self.committed();
        taken
    }

    /// The position up to which entries belong into the output files.
    pub fn committed(&self) -> u64 {
        let draft = self.journal.is_draft() || self.synced_bytes < self.complete_bytes;
        match draft {
            true => 0,
            false => self.journal.commit().min(self.synced_length),
        }
    }

    /// A session has begun, with this private group; it is to join the log group, then the
    /// control group.
    pub fn handle_connected(&mut self, session: &[u8]) {
        self.session = session.into();
    }

    /// The session is lost.
    pub fn handle_disconnected(&mut self) {
        self.stage = Stage::Away;
        self.loggers.clear();
        self.end_round();
        self.struck.clear();
    }

    /// A membership of the control group, which the session is in; `network` if it was not caused
    /// by a session that came or went.
    pub fn handle_membership(
        &mut self,
        now: Duration,
        view: ViewId,
        members: &[SessionName],
        network: bool,
    ) {
        if self.loggers.change(members, network) || self.stage == Stage::Ended {
            self.view = view;
            self.struck.clear();
            self.begin_round(now, 0);
        } else {
            self.anchors.retain(|session, _| members.contains(session));
        }
        self.schedule(now);
    }

    /// The transitional signal of the control group: what follows, others may not have.
    pub fn handle_transition(&mut self) {
        if self.stage != Stage::Away {
            self.stage = Stage::Ended;
        }
    }

    /// A message of the control group.
    pub fn handle_control(&mut self, now: Duration, sender: &[u8], data: &Bytes) {
        match Control::decode(data) {
            None => self.counts.bad_records += 1,
            Some(Control::Header { stream, offset }) => self.handle_header(sender, stream, offset),
            Some(Control::Gap {
                stream,
                start,
                end,
                lines,
            }) => self.handle_gap(sender, stream, start, end, lines),
            Some(record) if self.loggers.contains(sender) => {
                self.handle_record(now, sender, record)
            }
            Some(_) => {}
        }
        self.schedule(now);
    }

    /// A message of the log group.
    pub fn handle_data(&mut self, now: Duration, sender: &[u8], hint: u16, data: &Bytes) {
        self.live.count(now, data.len());
        self.accept_message(sender, hint, data);
        self.schedule(now);
    }

    /// A message to the own private group.
    pub fn handle_private(&mut self, now: Duration, sender: &[u8], data: &Bytes) {
        if !self.loggers.contains(sender) {
            return;
        }
        match Control::decode(data) {
            Some(Control::Fetch { id, position, hash }) => self.serve(sender, id, position, hash),
            Some(Control::More { id, offset }) => self.grant(sender, id, offset),
            Some(answer) => self.handle_answer(now, sender, answer),
            None => self.counts.bad_records += 1,
        }
        self.schedule(now);
    }

    /// What was appended before the [`Sync`](LoggerAction::Sync) is on disk.
    pub fn handle_synced(&mut self, now: Duration) {
        if let Some(syncing) = self.syncing.take() {
            self.finish_sync(syncing);
        }
        self.schedule(now);
    }

    /// The clock on the wall shows this second of the epoch; to be told before anything else that
    /// happens.
    pub fn set_clock(&mut self, second: u64) {
        self.second = second;
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.strike_silent(now);
        self.urge_fetch(now);
        self.tick(now);
        self.speak(now);
        self.schedule(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called at the latest.
    pub fn poll_timeout(&self) -> Option<Duration> {
        if self.stage == Stage::Away {
            return self.sync_at;
        }
        let waiting = self.waiting.values().map(|&since| since + round::SILENCE);
        let asked = self.fetches.front().map(Fetch::due_at);
        let speak = self.must_speak().then_some(self.speak_at);
        let tick = self.is_open().then_some(self.tick_at);
        let times = [self.sync_at, asked, speak, tick];
        times.into_iter().flatten().chain(waiting).min()
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<LoggerAction> {
        self.actions.pop_front()
    }

    /// Count of entries in the journal.
    pub fn position(&self) -> u64 {
        self.journal.length()
    }

    /// Where in the journal's file the entries after a position are, and maybe some before it; none
    /// if they are not there.
    pub fn stretch(&self, position: u64) -> Option<Stretch> {
        self.journal.stretch(position)
    }

    /// Count of the entries that are not in the journal's file any more, or never were.
    pub fn first_position(&self) -> u64 {
        self.journal.first_position()
    }

    /// Count of the entries up to the end of the first segment; 0 if it is the only one.
    pub fn first_segment_end(&self) -> u64 {
        self.journal.first_segment_end()
    }

    /// Lets go of entries before a position, but not of what a peer is being given; gives the offset
    /// where the file may begin from now on.
    pub fn remove_before(&mut self, position: u64) -> u64 {
        let given = self.serves.values().map(Serve::next);
        let position = given.fold(position, u64::min);
        self.journal.remove_before(position, self.synced_bytes)
    }

    /// Whether batches are accepted now.
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open && self.takes_part()
    }

    /// Whether this logger has left for good, because its journal is not that of the others.
    pub fn is_unfit(&self) -> bool {
        self.counts.diverged > 0 || self.counts.too_late > 0
    }

    /// How many bytes publishers have given up.
    pub fn gap_bytes(&self) -> u64 {
        self.journal.gap_bytes()
    }

    /// The names of those who take part in the round; none if there is none.
    pub fn participants(&self) -> Vec<&str> {
        let round = self.round.iter();
        let all = round.flat_map(|round| round.participants.values());
        all.map(|participant| participant.name.as_str()).collect()
    }

    /// What was counted.
    pub fn counts(&self) -> LoggerCounts {
        self.counts
    }

    fn round_id(&self) -> RoundId {
        RoundId {
            view: self.view,
            number: self.number,
        }
    }

    /// Appends an entry or a promise, which others will be told about when it is on disk.
    fn append(&mut self, record: &Record) {
        if record.is_entry() && self.journal.wants_segment() {
            self.actions.push_back(LoggerAction::Segment);
            for record in self.journal.segment_head() {
                self.note(&record);
            }
        }
        self.note(record);
        self.needed_bytes = self.journal.file_bytes();
    }

    /// Has the files written as far as entries stay and are on disk.
    fn tell_commit(&mut self) {
        let position = self.committed();
        if position > self.told_commit {
            self.told_commit = position;
            self.actions.push_back(LoggerAction::Committed(position));
        }
    }

    /// Appends what may as well be lost.
    fn note(&mut self, record: &Record) {
        let bytes = self.journal.append(record);
        // What is taken back is not on disk any more, whatever comes in its place.
        let whole = self.journal.whole();
        self.synced_length = self.synced_length.min(whole.length);
        if let Some(syncing) = &mut self.syncing
            && syncing.prefix.length > whole.length
        {
            syncing.prefix = whole;
        }
        self.actions.push_back(LoggerAction::Append(bytes));
    }

    fn multicast(&mut self, record: Control) {
        self.actions
            .push_back(LoggerAction::Control(record.encode()));
    }

    fn send(&mut self, to: &[u8], record: Control) {
        self.actions.push_back(LoggerAction::Send {
            to: to.into(),
            data: record.encode(),
        });
    }
}
