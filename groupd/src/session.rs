//! One client: its handshake, its requests, what is queued for it.
//!
//! Everything that a client may do wrong ends here, as [`Step::Over`]; what comes out is good to be
//! ordered. The protocol itself is in the crate `group`, which clients are built on too.

use std::io;

use bytes::Bytes;
use group::handshake::{DaemonHandshake, DaemonStep, Greeting, Reject};
use group::name::{DaemonName, Name, PrivateName};
use group::wire::{Frame, FrameDecoder, Limits, Request};

use crate::output::Output;
use crate::stream::Stream;

/// A client's connection.
pub(crate) struct Session {
    pub(crate) stream: Stream,
    pub(crate) output: Output,
    phase: Phase,
    /// The socket may have input.
    readable: bool,
    /// The other side has said that nothing follows: there will be no edge for the end.
    hung_up: bool,
    /// There will be no more input.
    ended: bool,
    /// The session stands in the line of those that have something to be done.
    pub(crate) in_line: bool,
}

enum Phase {
    Handshake {
        handshake: DaemonHandshake,
        name: Option<PrivateName>,
        membership: bool,
    },
    /// All is said but the daemon's last word, until the groups take the session.
    Accepted {
        reply: Bytes,
        private_group: Name,
        leftover: Bytes,
    },
    Open {
        private_group: Name,
        decoder: FrameDecoder,
    },
}

/// What a session wants next.
pub(crate) enum Step {
    /// Nothing, until its socket has input.
    Idle,
    /// It has had its share of this turn; there may be more.
    Later,
    /// To be given this name, or any; to be answered by [`Session::admit`].
    Name(Option<PrivateName>),
    /// This has to be written.
    Reply(Bytes),
    /// To be made known under this name, and then to be [opened](Session::open).
    Known { name: PrivateName, membership: bool },
    /// A request, checked.
    Request(Request, Frame),
    /// It has ended; the reason is for the log, the byte for the client.
    Over {
        reason: &'static str,
        reply: Option<Reject>,
    },
}

impl Session {
    /// A connection just accepted by the daemon of this name.
    pub(crate) fn new(stream: Stream, daemon: DaemonName) -> Session {
        let output = Output::new(&stream);
        let handshake = DaemonHandshake::new(daemon);
        let phase = Phase::Handshake {
            handshake,
            name: None,
            membership: false,
        };
        Session {
            stream,
            output,
            phase,
            readable: true,
            hung_up: false,
            ended: false,
            in_line: false,
        }
    }

    /// The socket has input, the last if the other side has `hung_up`.
    pub(crate) fn mark_readable(&mut self, hung_up: bool) {
        self.readable = true;
        self.hung_up |= hung_up;
    }

    /// The private name that the session has, or has been promised.
    pub(crate) fn name(&self) -> Option<PrivateName> {
        match &self.phase {
            Phase::Handshake { name, .. } => *name,
            Phase::Accepted { private_group, .. } | Phase::Open { private_group, .. } => {
                group::name::split_private_group(private_group).map(|(name, _)| name)
            }
        }
    }

    /// Its private group; empty before the handshake is done.
    pub(crate) fn private_group(&self) -> Name {
        match &self.phase {
            Phase::Handshake { .. } => Name::EMPTY,
            Phase::Accepted { private_group, .. } | Phase::Open { private_group, .. } => {
                *private_group
            }
        }
    }

    /// Whether the handshake is done.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Gives the session a name that is free.
    pub(crate) fn admit(&mut self, given: PrivateName) -> Step {
        let Phase::Handshake {
            handshake, name, ..
        } = &mut self.phase
        else {
            panic!("admit() answers Step::Name");
        };
        *name = Some(given);
        let step = handshake.admit(given);
        self.handshake_step(step)
    }

    /// Ends the handshake of a session that is known; this has to be written before all else.
    pub(crate) fn open(&mut self) -> Bytes {
        let Phase::Accepted {
            reply,
            private_group,
            leftover,
        } = &self.phase
        else {
            panic!("open() answers Step::Known");
        };
        let (reply, private_group) = (reply.clone(), *private_group);
        let mut decoder = FrameDecoder::for_requests(Limits::DAEMON);
        decoder.feed(leftover);
        self.phase = Phase::Open {
            private_group,
            decoder,
        };
        reply
    }

    /// What a client gets whose time for the handshake is over.
    pub(crate) fn give_up(&self) -> Option<Reject> {
        match &self.phase {
            Phase::Handshake { handshake, .. } => handshake.give_up(),
            Phase::Accepted { .. } => Some(Reject::NotUnique),
            Phase::Open { .. } => None,
        }
    }

    /// The next thing to be done for the session. `reads` is how often the socket may be read before
    /// the session has to let others have a turn; `buffer` is scratch.
    pub(crate) fn next(&mut self, reads: &mut u32, buffer: &mut [u8]) -> Step {
        loop {
            if let Phase::Open {
                decoder,
                private_group,
            } = &mut self.phase
            {
                match decoder.next_frame() {
                    Ok(Some(frame)) => return request(frame, private_group),
                    Ok(None) => {}
                    Err(_) => {
                        return Step::Over {
                            reason: "illegal-message",
                            reply: None,
                        };
                    }
                }
            }
            if let Phase::Accepted { .. } = self.phase {
                return Step::Idle;
            }
            if self.ended {
                return Step::Over {
                    reason: "closed",
                    reply: self.give_up(),
                };
            }
            if !self.readable {
                return Step::Idle;
            }
            if *reads == 0 {
                return Step::Later;
            }
            *reads -= 1;
            let count = self.read(buffer);
            match &mut self.phase {
                _ if count == 0 => {}
                Phase::Open { decoder, .. } => decoder.feed(&buffer[..count]),
                Phase::Accepted { .. } => unreachable!("it is not read from, see the top"),
                Phase::Handshake { handshake, .. } => {
                    let step = handshake.feed(&buffer[..count]);
                    if step != DaemonStep::NeedMore {
                        return self.handshake_step(step);
                    }
                }
            }
        }
    }

    /// Reads once, and notes what that says about the next read.
    fn read(&mut self, buffer: &mut [u8]) -> usize {
        match self.stream.read(buffer) {
            Ok(0) => {
                self.ended = true;
                0
            }
            Ok(count) => {
                // A stream socket gives all it has: less than was asked for means that it is empty,
                // and that the next byte makes an edge.
                self.readable = self.hung_up || count == buffer.len();
                count
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                0
            }
            Err(_) => {
                self.ended = true;
                0
            }
        }
    }

    fn handshake_step(&mut self, step: DaemonStep) -> Step {
        let Phase::Handshake {
            membership, name, ..
        } = &mut self.phase
        else {
            panic!("a handshake is over once");
        };
        match step {
            DaemonStep::NeedMore => Step::Idle,
            DaemonStep::Greeted(Greeting {
                name,
                membership: wanted,
                ..
            }) => {
                *membership = wanted;
                Step::Name(name)
            }
            DaemonStep::Reply(reply) => Step::Reply(reply),
            DaemonStep::Reject(reject) => Step::Over {
                reason: "handshake-refused",
                reply: Some(reject),
            },
            DaemonStep::Accepted {
                reply,
                private_group,
                leftover,
            } => {
                let known = Step::Known {
                    name: name.expect("a session is admitted with a name"),
                    membership: *membership,
                };
                self.phase = Phase::Accepted {
                    reply,
                    private_group,
                    leftover,
                };
                known
            }
        }
    }
}

/// A client's message is its own, or the stream is not to be trusted.
fn request(frame: Frame, private_group: &Name) -> Step {
    match frame.header.request() {
        Some(request) if frame.header.name == *private_group => Step::Request(request, frame),
        Some(_) => Step::Over {
            reason: "foreign-sender",
            reply: None,
        },
        None => Step::Over {
            reason: "illegal-message",
            reply: None,
        },
    }
}
