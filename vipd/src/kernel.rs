//! The kernel's side: addresses and interfaces by netlink, frames by packet sockets.

mod watch;
mod wire;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

pub use watch::Watch;
pub use wire::{Kind, Wire};

use crate::netlink::{self, Change, Link, LinkAddress, Reply, TAG};

/// How long an address lasts if it is not refreshed: the last resort when all of vipd is dead.
const LIFETIME_SECONDS: u32 = 5;

/// The kernel answers at once; this is for a kernel that does not.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Bound: larger than any datagram of a list.
const DATAGRAM_BYTES: usize = 64 << 10;

/// Bound: requests on their way, so that the answers fit into the socket's buffer.
const BATCH: usize = 64;

/// What vipd asks of the kernel, each request answered before the next.
#[derive(Debug)]
pub struct Kernel {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Kernel {
    /// Opens the socket.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn open() -> io::Result<Kernel> {
        let socket = netlink_socket()?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Kernel {
            socket,
            sequence: 0,
            buffer: vec![0; DATAGRAM_BYTES],
        })
    }

    /// Adds sets of addresses, of each set all or none. An address that is there with our tag is
    /// taken as it is.
    ///
    /// # Errors
    /// For each set the first that the kernel had; an address that somebody else has added is
    /// `AlreadyExists`.
    pub fn add(&mut self, sets: &[Vec<LinkAddress>]) -> Vec<io::Result<()>> {
        let all: Vec<LinkAddress> = sets.iter().flatten().copied().collect();
        let mut results = match self.change(&all, Change::Add(LIFETIME_SECONDS)) {
            Ok(results) => results.into_iter(),
            Err(error) => {
                let failed = |_| Err(io::Error::new(error.kind(), error.to_string()));
                return sets.iter().map(failed).collect();
            }
        };
        sets.iter()
            .map(|set| {
                let results: Vec<_> = results.by_ref().take(set.len()).collect();
                self.complete(set, results)
            })
            .collect()
    }

    /// [Adds](Self::add), unless a guardian has removed all that is ours: `fenced` asks for its word,
    /// before and behind the kernel's work. Behind such a word nothing stays that was added here; what
    /// the kernel has refused is left alone, as it may be somebody else's.
    ///
    /// None if there was such a word.
    ///
    /// # Errors
    /// What was added cannot be removed again.
    pub fn add_unless(
        &mut self,
        sets: &[Vec<LinkAddress>],
        mut fenced: impl FnMut() -> bool,
    ) -> io::Result<Option<Vec<io::Result<()>>>> {
        if fenced() {
            return Ok(None);
        }
        let results = self.add(sets);
        if !fenced() {
            return Ok(Some(results));
        }
        let added = sets.iter().zip(&results);
        let added = added.filter(|(_, result)| result.is_ok());
        let added: Vec<LinkAddress> = added.flat_map(|(set, _)| set).copied().collect();
        self.remove(&added)?;
        Ok(None)
    }

    /// Takes what was there already, and takes back a set of which something cannot be added.
    fn complete(
        &mut self,
        set: &[LinkAddress],
        mut results: Vec<io::Result<()>>,
    ) -> io::Result<()> {
        if results
            .iter()
            .any(|result| is(result, ErrorKind::AlreadyExists))
        {
            let own = self.tagged()?;
            for (result, at) in results.iter_mut().zip(set) {
                if is(result, ErrorKind::AlreadyExists) && own.contains(at) {
                    let refresh = Change::Refresh(LIFETIME_SECONDS);
                    *result = self.change(&[*at], refresh)?.pop().unwrap_or(Ok(()));
                }
            }
        }
        let done = set
            .iter()
            .zip(&results)
            .filter(|(_, result)| result.is_ok());
        let done: Vec<LinkAddress> = done.map(|(&at, _)| at).collect();
        let failure = results.into_iter().find_map(Result::err);
        if failure.is_some() {
            self.remove(&done)?;
        }
        failure.map_or(Ok(()), Err)
    }

    /// Makes addresses last for another lifetime; what has vanished comes back.
    ///
    /// # Errors
    /// The first that the kernel had; the others are refreshed all the same.
    pub fn refresh(&mut self, addresses: &[LinkAddress]) -> io::Result<()> {
        let results = self.change(addresses, Change::Refresh(LIFETIME_SECONDS))?;
        results
            .into_iter()
            .find_map(Result::err)
            .map_or(Ok(()), Err)
    }

    /// Removes addresses; those that are not there any more are no error.
    ///
    /// # Errors
    /// The first that the kernel had.
    pub fn remove(&mut self, addresses: &[LinkAddress]) -> io::Result<()> {
        let gone = |error: &io::Error| {
            matches!(
                error.raw_os_error(),
                Some(libc::EADDRNOTAVAIL | libc::ENODEV)
            )
        };
        let results = self.change(addresses, Change::Remove)?;
        let failure = results
            .into_iter()
            .filter_map(Result::err)
            .find(|error| !gone(error));
        failure.map_or(Ok(()), Err)
    }

    /// Removes every address with our tag; gives their number.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn purge(&mut self) -> io::Result<usize> {
        let tagged = self.tagged()?;
        self.remove(&tagged)?;
        Ok(tagged.len())
    }

    /// The addresses with our tag.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn tagged(&mut self) -> io::Result<Vec<LinkAddress>> {
        let own = |reply| match reply {
            Reply::Address(at, Some(TAG)) => Some(at),
            _ => None,
        };
        Ok(self
            .list(netlink::list_addresses)?
            .into_iter()
            .filter_map(own)
            .collect())
    }

    /// The interfaces by name.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn links(&mut self) -> io::Result<BTreeMap<String, Link>> {
        let link = |reply| match reply {
            Reply::Link(link) => Some((link.name.clone(), link)),
            _ => None,
        };
        Ok(self
            .list(netlink::list_links)?
            .into_iter()
            .filter_map(link)
            .collect())
    }

    /// Makes one change to each address; gives what became of each.
    fn change(
        &mut self,
        addresses: &[LinkAddress],
        change: Change,
    ) -> io::Result<Vec<io::Result<()>>> {
        let mut results = Vec::with_capacity(addresses.len());
        for batch in addresses.chunks(BATCH) {
            let first = self.sequence.wrapping_add(1);
            let mut requests = Vec::new();
            for at in batch {
                self.sequence = self.sequence.wrapping_add(1);
                requests.extend(netlink::change(self.sequence, at, change));
            }
            self.socket.write_all(&requests)?;
            let mut answers = vec![None; batch.len()];
            while answers.iter().any(Option::is_none) {
                for reply in self.receive()? {
                    if let Reply::Status { sequence, error } = reply
                        && let Some(answer) = answers.get_mut(sequence.wrapping_sub(first) as usize)
                    {
                        *answer = Some(error);
                    }
                }
            }
            results.extend(answers.into_iter().flatten().map(status));
        }
        Ok(results)
    }

    /// Asks for a list until it comes in one piece.
    fn list(&mut self, request: fn(u32) -> Vec<u8>) -> io::Result<Vec<Reply>> {
        // Bound: interfaces do not change for ever.
        for _ in 0..10 {
            self.sequence = self.sequence.wrapping_add(1);
            self.socket.write_all(&request(self.sequence))?;
            let mut list = Vec::new();
            while !matches!(list.last(), Some(Reply::Done | Reply::Status { .. })) {
                list.extend(self.receive()?);
            }
            if let Some(Reply::Status { error, .. }) = list.last() {
                status(*error)?;
            }
            if !list.contains(&Reply::Interrupted) {
                return Ok(list);
            }
        }
        Err(ErrorKind::Interrupted.into())
    }

    fn receive(&mut self) -> io::Result<Vec<Reply>> {
        loop {
            match self.socket.read(&mut self.buffer) {
                Ok(length) => return Ok(netlink::replies(&self.buffer[..length])),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn status(error: i32) -> io::Result<()> {
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn is(result: &io::Result<()>, kind: ErrorKind) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == kind)
}

fn netlink_socket() -> io::Result<Socket> {
    let protocol = Protocol::from(libc::NETLINK_ROUTE);
    Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(protocol))
}
