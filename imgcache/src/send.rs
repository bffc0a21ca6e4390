//! Bodies on their way to clients.

use std::io;
use std::sync::Arc;

use imgcache::chunked;

use crate::client::{Client, Phase, Progress, Source};
use crate::disk::Task;
use crate::fetch::State;
use crate::server::{Server, Work};

/// Bytes that one client is sent in one turn.
const TURN_BYTES: u64 = 1 << 20;

/// Bytes of a file that are looked at, or read, before they are sent.
const WINDOW: u64 = 1 << 20;

impl Server {
    /// Sends as much as the client takes, and one turn allows.
    pub(crate) fn send(&mut self, id: usize, client: &mut Client) -> io::Result<Progress> {
        let mut turn = 0;
        // The body of a request may still be on its way to the origin.
        if client.fetch.is_some() && !self.upload(client) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Phase::Sending(Source::Body(body, range)) = &client.phase {
            let (body, mut rest) = (Arc::clone(body), range.clone());
            if client.flush_with(&body, &mut rest, self.now)? {
                return Ok(Progress::Done);
            }
            client.phase = Phase::Sending(Source::Body(body, rest));
            return Ok(Progress::Blocked);
        }
        loop {
            if !client.flush(self.now)? {
                return Ok(Progress::Blocked);
            }
            if turn >= TURN_BYTES {
                return Ok(Progress::More);
            }
            let Phase::Sending(source) = &mut client.phase else {
                return Ok(Progress::Done);
            };
            match source {
                Source::Output | Source::Body(..) => return Ok(Progress::Done),
                Source::Entry(entry, range) => {
                    let at = range.start;
                    if at >= client.warm_until {
                        client.warm_until = range.end.min(at + WINDOW);
                        if entry.is_cold(at..client.warm_until, self.turn) {
                            return self.warm(id, client);
                        }
                    }
                    let before = client.sent;
                    match client.send_file(client.warm_until - at, self.now)? {
                        Progress::More => turn += client.sent - before,
                        progress => return Ok(progress),
                    }
                }
                // Bound: it is no longer than what one turn allows.
                Source::Prepared(..) => match client.send_file(u64::MAX, self.now)? {
                    Progress::More => {}
                    progress => return Ok(progress),
                },
                Source::Fetch { .. } => match self.send_fetched(id, client)? {
                    Some(count) => turn += count,
                    None => return Ok(Progress::Blocked),
                },
            }
        }
    }

    /// Has the disk's threads read what comes next, as sendfile(2) would wait for it.
    fn warm(&mut self, id: usize, client: &mut Client) -> io::Result<Progress> {
        let Phase::Sending(Source::Entry(entry, range)) = &client.phase else {
            return Ok(Progress::More);
        };
        let (entry, range) = (Arc::clone(entry), range.clone());
        let task = Task::Warm {
            entry: Arc::clone(&entry),
            bytes: range.start..client.warm_until,
            reply: self.return_address(id, client),
        };
        if self.shared.disk.submit(task).is_err() {
            return Err(io::Error::other("too much waits for the disk"));
        }
        client.phase = Phase::Warming(entry, range);
        Ok(Progress::Blocked)
    }

    /// Moves what has come from the origin into the output: how much, or none if nothing has come.
    fn send_fetched(&mut self, id: usize, client: &mut Client) -> io::Result<Option<u64>> {
        let Phase::Sending(Source::Fetch { at, end, chunked }) = &mut client.phase else {
            return Ok(Some(0));
        };
        let fetch = client
            .fetch
            .and_then(|id| Some((id, self.fetches.get(id)?.as_ref()?)));
        let Some((fetch_id, fetch)) = fetch else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let left = end.map_or(u64::MAX, |end| end - *at);
        // Who has got all of an object finds it in its place: the last byte comes behind its name.
        let held = u64::from(fetch.state == State::Committing);
        let there = fetch.spool.length().saturating_sub(held + *at);
        let room = self.scratch.len().min(left.min(there) as usize);
        let count = match room {
            0 => 0,
            _ => fetch.spool.read(*at, &mut self.scratch[..room])?,
        };
        if count == 0 {
            return match fetch.state {
                State::Done => {
                    if *chunked {
                        client.output.extend_from_slice(chunked::LAST);
                    }
                    client.phase = Phase::Sending(Source::Output);
                    Ok(Some(0))
                }
                _ if left == 0 => {
                    client.phase = Phase::Sending(Source::Output);
                    Ok(Some(0))
                }
                // What was promised cannot be kept: the client must see it.
                State::Failed => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(None),
            };
        }
        match chunked {
            true => chunked::encode(&self.scratch[..count], &mut client.output),
            false => client.output.extend_from_slice(&self.scratch[..count]),
        }
        *at += count as u64;
        let at = *at;
        client.sent += count as u64;
        self.trim(fetch_id, id, at);
        Ok(Some(count as u64))
    }

    /// Frees memory of a body that all its clients have got.
    fn trim(&mut self, fetch_id: usize, client: usize, at: u64) {
        let Some(Some(fetch)) = self.fetches.get_mut(fetch_id) else {
            return;
        };
        let others = fetch.readers.iter().filter(|&&other| other != client);
        let position = |&other: &usize| match self.clients.get(other)?.as_ref()?.phase {
            Phase::Sending(Source::Fetch { at, .. }) => Some(at),
            _ => Some(0),
        };
        let least = others.filter_map(position).min().unwrap_or(at).min(at);
        let was_full = fetch.spool.is_full();
        fetch.spool.trim(least);
        if was_full && !fetch.spool.is_full() {
            self.ready.push_back(Work::Fetch(fetch_id));
        }
    }
}
