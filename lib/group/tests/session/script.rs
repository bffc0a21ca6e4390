//! Daemons that are scripts: they expect bytes and write bytes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use group::wire::{ByteOrder, FrameDecoder, Header, Hint, Kind, Limits, Request, encode_message};
use group::{Address, GroupName, Name, Options};

/// Far more than any of this takes; a test that hangs fails instead.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Listens, and runs `script` on a thread of its own.
pub(crate) fn daemon<T: Send + 'static>(
    script: impl FnOnce(TcpListener) -> T + Send + 'static,
) -> (Options, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut options = Options::new(Address::Tcp {
        host: "127.0.0.1".into(),
        port,
    });
    options.name = Some("alice".parse().unwrap());
    options.timeout = PATIENCE;
    (options, thread::spawn(move || script(listener)))
}

pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Plays the captured handshake, the answers cut in two.
pub(crate) fn greet(stream: &mut (impl Read + Write), membership: u8) {
    assert_eq!(
        read_bytes(stream, 10),
        [&[4, 4, 0, membership, 5][..], b"alice"].concat()
    );
    stream.write_all(b"\x05NU").unwrap();
    stream.write_all(b"LL ").unwrap();
    let choice = read_bytes(stream, 90);
    assert_eq!(choice[..5], *b"NULL\0");
    stream.write_all(b"\x01\x04\x04").unwrap();
    stream.write_all(b"\x00\x10#alice#localhost").unwrap();
}

pub(crate) fn read_bytes(stream: &mut impl Read, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Reads until the client has shut its side down, and gives all requests.
pub(crate) fn read_requests(stream: &mut impl Read) -> Vec<(Request, Vec<Name>, Bytes)> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let mut decoder = FrameDecoder::for_requests(Limits::DAEMON);
    decoder.feed(&bytes);
    let mut requests = Vec::new();
    while let Some(frame) = decoder.next_frame().unwrap() {
        assert_eq!(frame.header.name, name("#alice#localhost"));
        let request = frame.header.request().unwrap();
        requests.push((request, frame.groups.iter().collect(), frame.data));
    }
    assert_eq!(decoder.buffered_bytes(), 0);
    requests
}

pub(crate) fn message(data: &'static [u8]) -> Vec<u8> {
    let hint = Hint::new(7, ByteOrder::Big);
    let header = Header {
        kind: Kind::AGREED_MESS,
        order: ByteOrder::NATIVE,
        name: name("#bob#b"),
        group_count: 1,
        hint,
        data_length: data.len() as u32,
    };
    let mut bytes = Vec::new();
    encode_message(&mut bytes, &header, [name("grp1").to_field()], data);
    bytes
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn group(text: &str) -> GroupName {
    text.parse().unwrap()
}
