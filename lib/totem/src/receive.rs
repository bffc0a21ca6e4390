//! What comes: a datagram is opened, and its content goes where it belongs.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::event::Notice;
use crate::mutant::{Mutant, planted};
use crate::node::{State, Totem};
use crate::seal::{Header, Kind, Refused};
use crate::time::Time;
use crate::view::{Incarnation, ViewMember};
use crate::wire::{Control, Token};

impl Totem {
    /// Takes one datagram as it was received.
    pub fn handle_packet(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) {
        if self.leaving_now() {
            return;
        }
        let result = Header::parse(datagram).and_then(|header| match header.kind {
            Kind::Control => self.handle_control_packet(now, &header, from, datagram),
            Kind::Data | Kind::Token => self.handle_ring_packet(now, &header, datagram),
        });
        match result {
            Ok(()) => {}
            Err(Refused::Garbage) => self.stats.garbage += 1,
            Err(Refused::ForeignRing) => self.stats.foreign_ring += 1,
            Err(Refused::Replayed) => self.stats.replayed += 1,
            Err(Refused::ForeignKey) => {
                self.stats.foreign_key += 1;
                self.notice(Notice::ForeignKey { from });
            }
        }
    }

    fn handle_control_packet(
        &mut self,
        now: Time,
        header: &Header,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), Refused> {
        let sender = ViewMember {
            id: header.sender,
            incarnation: Incarnation(header.session),
        };
        if sender == self.me {
            return Ok(());
        }
        if self.rank(sender.id).is_none() {
            self.stats.unknown_sender += 1;
            return self.handle_stranger(header, from, datagram);
        }
        let mut plain = std::mem::take(&mut self.scratch);
        let opened = self.sealer.open_control(header, datagram, &mut plain);
        let control = opened.and_then(|()| Control::get(&plain).map_err(|_| Refused::Garbage));
        self.scratch = plain;
        let control = control?;
        if sender.id == self.me.id {
            let ours_is_newer = self.me.incarnation > sender.incarnation;
            self.notice(Notice::DuplicateMember {
                from,
                ours_is_newer,
            });
            return Ok(());
        }
        match control {
            Control::Hello(hello) => {
                self.compare_address(sender.id, from.ip());
                self.handle_hello(now, sender, hello);
            }
            Control::Form(form) => self.handle_form(now, sender, form),
            Control::FormAck { ring, pass } => self.handle_form_ack(sender, ring, pass),
            Control::Leave { ring } => self.handle_leave(now, sender, ring),
            Control::Suspect { ring, member } => self.handle_suspect(now, sender, ring, member),
            Control::Probe { nonce } => self.send(sender.id, Control::ProbeAnswer { nonce }),
            Control::ProbeAnswer { nonce } => self.handle_probe_answer(now, sender, nonce),
            Control::Kick { ring } => self.handle_kick(now, ring),
        }
        Ok(())
    }

    /// Tells of who has our key and is not in our configuration. What comes from anybody is not
    /// worth a word.
    fn handle_stranger(
        &mut self,
        header: &Header,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), Refused> {
        if self.config.key.is_some() {
            let mut plain = Vec::new();
            self.sealer.open_control(header, datagram, &mut plain)?;
            self.notice(Notice::Stranger { from });
        }
        Ok(())
    }

    fn handle_ring_packet(
        &mut self,
        now: Time,
        header: &Header,
        datagram: &[u8],
    ) -> Result<(), Refused> {
        if self.frozen && self.state != State::Recover && !planted(Mutant::SnapshotNotFrozen) {
            self.stats.foreign_ring += 1;
            return Ok(());
        }
        match header.kind {
            Kind::Token => {
                let mut plain = std::mem::take(&mut self.scratch);
                let opened = self.sealer.open_ring(header, datagram, &mut plain);
                let token = opened.and_then(|position| {
                    Token::get(&plain)
                        .map(|token| (position, token))
                        .map_err(|_| Refused::Garbage)
                });
                self.scratch = plain;
                let (position, token) = token?;
                self.handle_token(now, position, token);
            }
            _ => {
                // Kept by the store, in slices: this is its one allocation.
                let mut plain = Vec::new();
                let position = self.sealer.open_ring(header, datagram, &mut plain)?;
                self.handle_data(now, position, Bytes::from(plain), datagram)?;
            }
        }
        Ok(())
    }
}
