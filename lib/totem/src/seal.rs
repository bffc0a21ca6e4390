//! Packet headers and sealing: who sent this, in which life or ring, and is it new.
//!
//! ```text
//! 0 version | 1 kind | 2 sealed | 3 zero | 4 sender u32 | 8 session u64 | 16 counter u64 | body | tag
//! ```
//! The header is authenticated with the body. `session` is the sender's incarnation on control
//! packets and the ring's tag on the others. Keys are derived from the cluster's key: one for the
//! control packets of each life of a member, one for each (ring, sender, 2^22 packets). A counter
//! never repeats under a key, because an incarnation and a ring id never repeat and counters only
//! grow within them; the epoch keeps AES-GCM within the limits of RFC 9001, section 6.6.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk};

use crate::config::Key;
use crate::view::{Incarnation, MemberId, View};

/// Bytes before the body.
pub(crate) const HEADER_BYTES: usize = 24;
/// Bytes after the body of a sealed packet.
pub(crate) const TAG_BYTES: usize = 16;

const VERSION: u8 = 1;
/// Packets under one ring key.
const EPOCH_SHIFT: u32 = 22;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Control = 0,
    Data = 1,
    Token = 2,
}

/// What a packet says of itself before it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) sealed: bool,
    pub(crate) sender: MemberId,
    pub(crate) session: u64,
    pub(crate) counter: u64,
}

/// Why a packet was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Not a packet of this protocol.
    Garbage,
    /// Sealed with another key, plain where we seal, or sealed where we are open.
    ForeignKey,
    /// Of a ring that is not ours, or of no member of it.
    ForeignRing,
    /// Seen before, or too old to tell.
    Replayed,
}

impl Header {
    pub(crate) fn parse(datagram: &[u8]) -> Result<Header, Refused> {
        let header = datagram
            .first_chunk::<HEADER_BYTES>()
            .ok_or(Refused::Garbage)?;
        let word = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"));
        let kind = match header[1] {
            0 => Kind::Control,
            1 => Kind::Data,
            2 => Kind::Token,
            _ => return Err(Refused::Garbage),
        };
        if header[0] != VERSION || header[2] > 1 || header[3] != 0 {
            return Err(Refused::Garbage);
        }
        Ok(Header {
            kind,
            sealed: header[2] == 1,
            sender: MemberId(u32::from_le_bytes(
                header[4..8].try_into().expect("4 bytes"),
            )),
            session: word(8),
            counter: word(16),
        })
    }

    fn bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&[VERSION, self.kind as u8, u8::from(self.sealed), 0]);
        bytes[4..8].copy_from_slice(&self.sender.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.session.to_le_bytes());
        bytes[16..].copy_from_slice(&self.counter.to_le_bytes());
        bytes
    }

    fn nonce(&self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[0] = self.kind as u8;
        nonce[4..].copy_from_slice(&self.counter.to_le_bytes());
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Which counters of one sender were seen: the highest and a bitmap below it (RFC 4303, 3.4.3).
#[derive(Clone, Debug)]
struct ReplayWindow {
    highest: u64,
    seen: [u64; ReplayWindow::WORDS],
}

impl ReplayWindow {
    /// Deep enough for the reordering of a whole rotation.
    const WORDS: usize = 64;
    const BITS: u64 = ReplayWindow::WORDS as u64 * 64;

    fn new() -> ReplayWindow {
        ReplayWindow {
            highest: 0,
            seen: [0; ReplayWindow::WORDS],
        }
    }

    /// Counters start at 1.
    fn is_new(&self, counter: u64) -> bool {
        if counter > self.highest {
            return true;
        }
        self.highest - counter < ReplayWindow::BITS
            && self.seen[self.word(counter)] & (1 << (counter % 64)) == 0
    }

    fn note(&mut self, counter: u64) {
        if counter > self.highest {
            let stale = (counter / 64 - self.highest / 64).min(ReplayWindow::WORDS as u64);
            for ahead in 0..stale {
                let word = self.word(counter - 64 * ahead);
                self.seen[word] = 0;
            }
            self.highest = counter;
        }
        let word = self.word(counter);
        self.seen[word] |= 1 << (counter % 64);
    }

    fn word(&self, counter: u64) -> usize {
        (counter / 64) as usize % ReplayWindow::WORDS
    }
}

/// The receiving side of one sender in one ring.
struct RingPeer {
    epoch: u64,
    key: Option<LessSafeKey>,
    data: ReplayWindow,
    token: ReplayWindow,
}

/// Keys and counters of one ring.
struct RingSession {
    view: View,
    tag: u64,
    epoch: u64,
    key: Option<LessSafeKey>,
    counter: u64,
    peers: Vec<RingPeer>,
}

/// The receiving side of the control packets of one member.
struct ControlPeer {
    incarnation: Incarnation,
    key: Option<LessSafeKey>,
    window: ReplayWindow,
}

/// Seals what leaves and opens what arrives.
pub(crate) struct Sealer {
    root: Option<Prk>,
    me: MemberId,
    incarnation: Incarnation,
    control_key: Option<LessSafeKey>,
    control_counter: u64,
    control_peers: BTreeMap<MemberId, ControlPeer>,
    ring: Option<RingSession>,
}

impl Sealer {
    pub(crate) fn new(key: Option<&Key>, me: MemberId, incarnation: Incarnation) -> Sealer {
        let root = key.map(|key| Prk::new_less_safe(HKDF_SHA256, &key.0));
        let control_key = root.as_ref().map(|root| control_key(root, me, incarnation));
        Sealer {
            root,
            me,
            incarnation,
            control_key,
            control_counter: 0,
            control_peers: BTreeMap::new(),
            ring: None,
        }
    }

    /// Length of a sealed packet with a body of this many bytes.
    pub(crate) fn sealed_length(&self, body: usize) -> usize {
        HEADER_BYTES + body + if self.root.is_some() { TAG_BYTES } else { 0 }
    }

    /// From now on ring packets are those of this ring.
    pub(crate) fn enter_ring(&mut self, view: &View) {
        let peers = view.members.iter().map(|_| RingPeer {
            epoch: 0,
            key: None,
            data: ReplayWindow::new(),
            token: ReplayWindow::new(),
        });
        self.ring = Some(RingSession {
            view: view.clone(),
            tag: ring_tag(view),
            epoch: u64::MAX,
            key: None,
            counter: 0,
            peers: peers.collect(),
        });
    }

    /// Appends a sealed control packet to `out`.
    pub(crate) fn seal_control(&mut self, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
        self.control_counter += 1;
        let header = Header {
            kind: Kind::Control,
            sealed: self.root.is_some(),
            sender: self.me,
            session: self.incarnation.0,
            counter: self.control_counter,
        };
        seal(self.control_key.as_ref(), &header, out, body);
    }

    /// Appends a sealed packet of the current ring to `out`.
    pub(crate) fn seal_ring(
        &mut self,
        kind: Kind,
        out: &mut Vec<u8>,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let ring = self.ring.as_mut().expect("a member is always in a ring");
        ring.counter += 1;
        let epoch = ring.counter >> EPOCH_SHIFT;
        if ring.epoch != epoch {
            ring.epoch = epoch;
            ring.key = self
                .root
                .as_ref()
                .map(|root| ring_key(root, &ring.view, self.me, self.incarnation, epoch));
        }
        let header = Header {
            kind,
            sealed: self.root.is_some(),
            sender: self.me,
            session: ring.tag,
            counter: ring.counter,
        };
        seal(ring.key.as_ref(), &header, out, body);
    }

    /// Opens a control packet into `plain`; the sender lives in incarnation `header.session`.
    pub(crate) fn open_control(
        &mut self,
        header: &Header,
        datagram: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        let incarnation = Incarnation(header.session);
        let known = self.control_peers.get_mut(&header.sender);
        let mut known = known.filter(|peer| peer.incarnation == incarnation);
        if known
            .as_ref()
            .is_some_and(|peer| !peer.window.is_new(header.counter))
        {
            return Err(Refused::Replayed);
        }
        if let Some(peer) = known.as_mut() {
            open(peer.key.as_ref(), header, datagram, plain)?;
            peer.window.note(header.counter);
            return Ok(());
        }
        let key = self
            .root
            .as_ref()
            .map(|root| control_key(root, header.sender, incarnation));
        open(key.as_ref(), header, datagram, plain)?;
        // An older life does not push out the window of a newer one.
        if self
            .control_peers
            .get(&header.sender)
            .is_none_or(|peer| peer.incarnation < incarnation)
        {
            let mut window = ReplayWindow::new();
            window.note(header.counter);
            self.control_peers.insert(
                header.sender,
                ControlPeer {
                    incarnation,
                    key,
                    window,
                },
            );
            return Ok(());
        }
        Err(Refused::Replayed)
    }

    /// Opens a packet of the current ring into `plain`; returns the sender's position in it.
    pub(crate) fn open_ring(
        &mut self,
        header: &Header,
        datagram: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<u16, Refused> {
        let ring = self.ring.as_mut().filter(|ring| ring.tag == header.session);
        let ring = ring.ok_or(Refused::ForeignRing)?;
        let position = ring
            .view
            .position(header.sender)
            .ok_or(Refused::ForeignRing)?;
        if header.sender == self.me {
            return Err(Refused::Replayed);
        }
        let incarnation = ring.view.members[position].incarnation;
        let peer = &mut ring.peers[position];
        let window = if header.kind == Kind::Token {
            &mut peer.token
        } else {
            &mut peer.data
        };
        if header.counter == 0 || !window.is_new(header.counter) {
            return Err(Refused::Replayed);
        }
        let epoch = header.counter >> EPOCH_SHIFT;
        if let Some(root) = &self.root
            && (peer.key.is_none() || peer.epoch != epoch)
        {
            let key = ring_key(root, &ring.view, header.sender, incarnation, epoch);
            open(Some(&key), header, datagram, plain)?;
            // Only a packet that opened may move the epoch.
            peer.epoch = epoch;
            peer.key = Some(key);
        } else {
            open(peer.key.as_ref(), header, datagram, plain)?;
        }
        window.note(header.counter);
        Ok(position as u16)
    }
}

fn seal(
    key: Option<&LessSafeKey>,
    header: &Header,
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>),
) {
    let header_bytes = header.bytes();
    out.extend_from_slice(&header_bytes);
    let start = out.len();
    body(out);
    if let Some(key) = key {
        let tag = key
            .seal_in_place_separate_tag(header.nonce(), Aad::from(header_bytes), &mut out[start..])
            .expect("a packet is shorter than the limit of AES-GCM");
        out.extend_from_slice(tag.as_ref());
    }
}

fn open(
    key: Option<&LessSafeKey>,
    header: &Header,
    datagram: &[u8],
    plain: &mut Vec<u8>,
) -> Result<(), Refused> {
    if header.sealed != key.is_some() {
        return Err(Refused::ForeignKey);
    }
    let (head, body) = datagram.split_at(HEADER_BYTES);
    plain.clear();
    let Some(key) = key else {
        plain.extend_from_slice(body);
        return Ok(());
    };
    let (cipher, tag) = body
        .split_last_chunk::<TAG_BYTES>()
        .ok_or(Refused::Garbage)?;
    plain.resize(cipher.len(), 0);
    key.open_separate_gather(header.nonce(), Aad::from(head), cipher, tag, plain)
        .map_err(|_| Refused::ForeignKey)
}

fn control_key(root: &Prk, sender: MemberId, incarnation: Incarnation) -> LessSafeKey {
    derive(
        root,
        &[
            b"covey control 1",
            &sender.0.to_le_bytes(),
            &incarnation.0.to_le_bytes(),
        ],
    )
}

fn ring_key(
    root: &Prk,
    view: &View,
    sender: MemberId,
    incarnation: Incarnation,
    epoch: u64,
) -> LessSafeKey {
    derive(
        root,
        &[
            b"covey ring 1",
            &view.ring.counter.to_le_bytes(),
            &view.ring.representative.0.to_le_bytes(),
            &view.ring.incarnation.0.to_le_bytes(),
            &sender.0.to_le_bytes(),
            &incarnation.0.to_le_bytes(),
            &epoch.to_le_bytes(),
        ],
    )
}

fn derive(root: &Prk, info: &[&[u8]]) -> LessSafeKey {
    let okm = root
        .expand(info, &AES_256_GCM)
        .expect("one key is a legal length");
    LessSafeKey::new(UnboundKey::from(okm))
}

/// Names a ring in 64 bits (splitmix64's finaliser over the parts of its id). The key of a sealed
/// ring is bound to the whole id; the tag only routes.
fn ring_tag(view: &View) -> u64 {
    let ring = view.ring;
    let mut tag = 0;
    for part in [
        ring.counter,
        u64::from(ring.representative.0),
        ring.incarnation.0,
    ] {
        tag = crate::random::mix(tag ^ part);
    }
    tag
}
