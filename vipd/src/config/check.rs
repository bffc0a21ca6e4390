//! `Check`: what is looked at to know whether this host is well.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use conf::{Error, Reader, Word};

use super::sets::attached;
use super::value::{command, time};

/// Bound: checks in a file.
pub(super) const CHECKS_MAX: usize = 64;

/// Bound: characters of a name.
const NAME_MAX: usize = 32;

const KEYWORDS: [&str; 9] = [
    "Exec", "Tcp", "Http", "File", "Gateway", "Interval", "Timeout", "Rise", "Fall",
];

/// Something to look at again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// For people.
    pub name: String,
    /// What is looked at.
    pub probe: Probe,
    /// How often.
    pub interval: Duration,
    /// How long a look may take.
    pub timeout: Duration,
    /// Good looks in a row that make the host well again.
    pub rise: u32,
    /// Bad looks in a row that make it sick.
    pub fall: u32,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A program that exits with 0.
    Exec(Vec<String>),
    /// Somebody listens there.
    Tcp(SocketAddr),
    /// A web server answers there with a status from 200 to 399.
    Http {
        /// Where it listens.
        address: SocketAddr,
        /// What its `Host` is told to be.
        host: String,
        /// What is asked for.
        path: String,
    },
    /// There is no such file; its first line says what is wrong.
    File(PathBuf),
    /// A neighbour answers on the wire.
    Gateway {
        /// The interface that leads to it.
        interface: String,
        /// Its address.
        address: IpAddr,
    },
}

/// `Check NAME { Tcp = 127.0.0.1:80 Interval = 1s Timeout = 500ms Rise = 2 Fall = 3 }`
pub(super) fn read(reader: &mut Reader, keyword: &Word) -> Result<Check, Error> {
    let name = reader.word("Check")?;
    if name.text.chars().count() > NAME_MAX {
        let message = format!("a Check has a name of at most {NAME_MAX} characters");
        reader.note(name.error(message));
    }
    reader.open(keyword)?;
    let mut check = Check {
        name: name.text.clone(),
        probe: Probe::File(PathBuf::new()),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
    };
    let mut probes = 0;
    while let Some(keyword) = reader.keyword() {
        match statement(reader, &keyword, &mut check) {
            Ok(is_probe) => probes += usize::from(is_probe),
            Err(error) => {
                probes += 1;
                reader.reject(error);
            }
        }
    }
    if probes != 1 {
        return Err(name.error(format!(
            "Check {:?} needs one of Exec, Tcp, Http, File and Gateway",
            name.text
        )));
    }
    Ok(check)
}

/// Reads one statement of a check; gives whether it says what is looked at.
fn statement(reader: &mut Reader, keyword: &Word, check: &mut Check) -> Result<bool, Error> {
    let is = |word: &&&str| word.eq_ignore_ascii_case(&keyword.text);
    let known = KEYWORDS
        .iter()
        .find(is)
        .ok_or_else(|| keyword.unknown(&KEYWORDS))?;
    if *known == "Exec" {
        check.probe = Probe::Exec(command(reader, keyword)?);
        return Ok(true);
    }
    let word = reader.value(keyword)?;
    match *known {
        "Interval" => check.interval = time(&word, known)?,
        "Timeout" => check.timeout = time(&word, known)?,
        "Rise" => check.rise = word.integer("Rise", 1..=1000)?,
        "Fall" => check.fall = word.integer("Fall", 1..=1000)?,
        "Tcp" => check.probe = Probe::Tcp(socket_address(&word, &word.text)?),
        "Http" => check.probe = http(&word)?,
        "File" => check.probe = Probe::File(PathBuf::from(&word.text)),
        _ => {
            // The bits are those of a single host.
            let bits = if word.text.matches(':').count() > 1 {
                128
            } else {
                32
            };
            let text = format!("{}/{bits}", word.text);
            let gateway = attached(&Word {
                text,
                ..word.clone()
            })
            .map_err(|_| {
                word.error(format!(
                    "Gateway takes INTERFACE:ADDRESS, such as eth0:192.0.2.1, got {:?}",
                    word.text
                ))
            })?;
            check.probe = Probe::Gateway {
                interface: gateway.interface,
                address: gateway.address,
            };
        }
    }
    Ok(matches!(*known, "Tcp" | "Http" | "File" | "Gateway"))
}

fn http(word: &Word) -> Result<Probe, Error> {
    let url = word.text.strip_prefix("http://").ok_or_else(|| {
        word.error(format!(
            "Http takes http://ADDRESS:PORT/PATH, got {:?}",
            word.text
        ))
    })?;
    let (host, path) = match url.find('/') {
        Some(at) => url.split_at(at),
        None => (url, "/"),
    };
    let with_port = match host.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, 80).to_string(),
        Err(_) => host.to_owned(),
    };
    Ok(Probe::Http {
        address: socket_address(word, &with_port)?,
        host: host.to_owned(),
        path: path.to_owned(),
    })
}

/// No name: a resolver that does not answer would look like a service that does not.
fn socket_address(word: &Word, text: &str) -> Result<SocketAddr, Error> {
    text.parse().map_err(|_| {
        word.error(format!(
            "expected ADDRESS:PORT, such as 127.0.0.1:80 or [::1]:80, got {text:?}"
        ))
    })
}
