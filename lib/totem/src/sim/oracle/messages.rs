//! The messages of a run: what was sent, and where it was ordered.

use crate::event::Service;
use crate::sim::trace::{Lane, MessageId, ProcessId};
use crate::view::ViewMember;

/// What is known of a message.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    pub(super) hash: u64,
    pub(super) service: Service,
    /// Ring of the sender when it submitted, and how much of its order it had delivered.
    pub(super) ring: u32,
    pub(super) cursor: u32,
    /// Ring it was ordered in, once anybody has delivered it.
    pub(super) placed: Option<u32>,
    /// Place in the order of that ring, once anybody has delivered it in the regular part.
    pub(super) position: Option<u32>,
}

/// All messages of the run.
#[derive(Default)]
pub(super) struct Messages {
    senders: Vec<Sender>,
}

struct Sender {
    member: ViewMember,
    lanes: [Vec<Sent>; 2],
}

impl Messages {
    /// The next process, in the order of their numbers.
    pub(super) fn add_sender(&mut self, member: ViewMember) {
        self.senders.push(Sender {
            member,
            lanes: Default::default(),
        });
    }

    pub(super) fn add(&mut self, id: MessageId, sent: Sent) {
        let lane = &mut self.senders[id.process.0 as usize].lanes[id.lane as usize];
        assert_eq!(
            id.sequence as usize,
            lane.len(),
            "messages of a lane are numbered in order"
        );
        lane.push(sent);
    }

    /// How many messages a process submitted on a lane.
    pub(super) fn count(&self, process: ProcessId, lane: Lane) -> usize {
        self.senders[process.0 as usize].lanes[lane as usize].len()
    }

    pub(super) fn get(&self, id: MessageId) -> Option<&Sent> {
        self.senders.get(id.process.0 as usize)?.lanes[id.lane as usize].get(id.sequence as usize)
    }

    /// The message, which was sent.
    pub(super) fn get_mut(&mut self, id: MessageId) -> &mut Sent {
        &mut self.senders[id.process.0 as usize].lanes[id.lane as usize][id.sequence as usize]
    }

    pub(super) fn sender(&self, id: MessageId) -> Option<ViewMember> {
        self.senders
            .get(id.process.0 as usize)
            .map(|sender| sender.member)
    }

    pub(super) fn position(&self, id: MessageId) -> Option<u32> {
        self.get(id).and_then(|sent| sent.position)
    }

    pub(super) fn is_safe(&self, id: MessageId) -> bool {
        self.get(id)
            .is_some_and(|sent| sent.service == Service::Safe)
    }
}
