//! The directives of spread.conf: Spread's own, and groupd's additions.
//!
//! What Spread 4 and 5 accept is accepted. What means nothing to groupd is noted for the log, but
//! an access rule that groupd does not have is an error: nobody may believe it in force.

use std::path::PathBuf;
use std::time::Duration;

use conf::{Dialect, Error, Errors, Reader, Word};
use group::{Address, AddressError};
use totem::config::FailureDetection;

use super::segment::{self, address_and_port};
use super::{Config, Settings, Timeouts};

/// How the value of an ignored directive looks.
#[derive(Clone, Copy)]
enum Shape {
    Value,
    OptionalValue,
    Block,
}

/// Directives of groupd that take effect, and Spread's that do.
const EFFECTIVE: [&str; 16] = [
    "Spread_Segment",
    "FailureDetection",
    "Key",
    "SpreadSocket",
    "Socket",
    "SocketMode",
    "SocketGroup",
    "ListenTCP",
    "SessionQueueBytes",
    "QueueBytes",
    "StateDir",
    "DatagramSize",
    "Offload",
    "AllowedAuthMethods",
    "RequiredAuthMethods",
    "AccessControlPolicy",
];

/// Spread's timeouts, in the order of [`Timeouts`].
const TIMEOUTS: [&str; 9] = [
    "TokenTimeout",
    "HurryTimeout",
    "AliveTimeout",
    "JoinTimeout",
    "RepTimeout",
    "SegTimeout",
    "GatherTimeout",
    "FormTimeout",
    "LookupTimeout",
];

/// Directives that mean nothing here, and why.
const IGNORED: [(&str, Shape, &str); 19] = [
    ("DebugFlags", Shape::Block, LOG),
    ("EventPriority", Shape::Value, LOG),
    ("EventLogFile", Shape::Value, LOG),
    ("EventTimeStamp", Shape::OptionalValue, LOG),
    ("EventPreciseTimeStamp", Shape::OptionalValue, LOG),
    (
        "DangerousMonitor",
        Shape::Value,
        "there is no monitor port, see groupctl(8)",
    ),
    ("SocketPortReuse", Shape::Value, "a port is never shared"),
    ("RuntimeDir", Shape::Value, IDENTITY),
    ("DaemonUser", Shape::Value, IDENTITY),
    ("DaemonGroup", Shape::Value, IDENTITY),
    (
        "MaxSessionMessages",
        Shape::Value,
        "queues are bounded in bytes, see SessionQueueBytes",
    ),
    ("Window", Shape::Value, WINDOW),
    ("PersonalWindow", Shape::Value, WINDOW),
    (
        "AcceleratedRing",
        Shape::Value,
        "the ring is always the accelerated one",
    ),
    ("AcceleratedWindow", Shape::Value, WINDOW),
    (
        "DebugInitialSequence",
        Shape::OptionalValue,
        "sequence numbers never wrap",
    ),
    ("LinkProtocol", Shape::Value, "Spread never used it"),
    ("RouteMatrix", Shape::Block, "Spread never used it"),
    ("WideAreaNetwork", Shape::Value, "see FailureDetection"),
];
const LOG: &str = "the log goes to stderr, see -v and -q";
const IDENTITY: &str = "groupd keeps the identity that it is started with";
const WINDOW: &str = "the window follows what receivers can hold";

/// Reads the text of a file called `name`.
///
/// Errors: all that is wrong with it, with lines.
pub(crate) fn parse(name: &str, text: &str) -> Result<Config, Errors> {
    let mut config = Config {
        segments: Vec::new(),
        daemons: Vec::new(),
        settings: Settings::default(),
    };
    let mut timeouts = [None; TIMEOUTS.len()];
    let mut reader = Reader::new(name, text, Dialect::SPREAD);
    while let Some(keyword) = reader.keyword() {
        if let Err(error) = statement(&mut reader, &keyword, &mut config, &mut timeouts) {
            reader.reject(error);
        }
    }
    // What is missing may be what was wrong before.
    if !reader.has_errors()
        && let Err(error) = segment::check(&config)
    {
        reader.note(error);
    }
    match all_or_none(&timeouts) {
        Ok(timeouts) => config.settings.timeouts = timeouts,
        Err(error) => reader.note(error),
    }
    for note in &mut config.settings.ignored {
        note.insert_str(0, &format!("{name}:"));
    }
    reader.finish()?;
    Ok(config)
}

/// Reads one statement behind its keyword.
fn statement(
    reader: &mut Reader,
    keyword: &Word,
    config: &mut Config,
    timeouts: &mut [Option<Duration>; TIMEOUTS.len()],
) -> Result<(), Error> {
    let name = keyword.text.as_str();
    if name == "Spread_Segment" {
        return segment::read(reader, keyword, config);
    }
    if EFFECTIVE.contains(&name) {
        let value = reader.value(keyword)?;
        return setting(name, &value, &mut config.settings);
    }
    if let Some(index) = TIMEOUTS.iter().position(|&timeout| timeout == name) {
        // Spread's range: 1 to 6 digits.
        let milliseconds = reader.value(keyword)?.integer(name, 1..=999_999_u64)?;
        timeouts[index] = Some(Duration::from_millis(milliseconds));
        return Ok(());
    }
    if name == "ActiveIPVersion" {
        let value = reader.value(keyword)?;
        return match value.text.as_str() {
            "IPv4" => Ok(()),
            other => Err(value.error(format!("ActiveIPVersion must be IPv4, got {other:?}"))),
        };
    }
    let Some((_, shape, why)) = IGNORED.iter().find(|(ignored, ..)| *ignored == name) else {
        let ignored = IGNORED.iter().map(|(name, ..)| *name);
        let allowed: Vec<&str> = EFFECTIVE
            .into_iter()
            .chain(TIMEOUTS)
            .chain(ignored)
            .collect();
        return Err(keyword.unknown(&allowed));
    };
    ignore(reader, keyword, *shape)?;
    config
        .settings
        .ignored
        .push(format!("{}: {name} has no effect: {why}", keyword.line));
    Ok(())
}

/// Passes over the value of a directive that means nothing.
fn ignore(reader: &mut Reader, keyword: &Word, shape: Shape) -> Result<(), Error> {
    let equals = reader.equals();
    match shape {
        Shape::Value if !equals => Err(keyword.error(format!(
            "expected '=' and a value behind {:?}",
            keyword.text
        ))),
        Shape::OptionalValue if !equals => Ok(()),
        Shape::Value | Shape::OptionalValue => reader.word(&keyword.text).map(drop),
        Shape::Block => {
            reader.open(keyword)?;
            while reader.item(&keyword.text).is_some() {}
            Ok(())
        }
    }
}

/// Takes the value of one directive that has an effect.
fn setting(name: &str, value: &Word, settings: &mut Settings) -> Result<(), Error> {
    match name {
        "FailureDetection" => {
            settings.failure_detection = value.choice(
                name,
                &[
                    ("fast", FailureDetection::Fast),
                    ("normal", FailureDetection::Normal),
                    ("wan", FailureDetection::Wan),
                ],
            )?;
        }
        "Key" => {
            path(name, value)?;
            settings.key = Some(value.clone());
        }
        "SpreadSocket" => settings.spread_socket = value.boolean(name)?,
        "Socket" => settings.socket = Some(address(value)?),
        "SocketMode" => settings.socket_mode = Some(mode(value)?),
        "SocketGroup" => settings.socket_group = Some(value.clone()),
        "ListenTCP" => {
            let (address, port) = address_and_port(value)?;
            let Some(port) = port else {
                return Err(value.error(format!(
                    "ListenTCP must be ADDRESS:PORT, got {:?}",
                    value.text
                )));
            };
            settings
                .listen_tcp
                .push(std::net::SocketAddrV4::new(address, port));
        }
        "SessionQueueBytes" => {
            settings.session_queue_bytes = value.integer(name, 262_144..=1 << 30)?;
        }
        "QueueBytes" => settings.queue_bytes = value.integer(name, 1 << 20..=1 << 36)?,
        "StateDir" => settings.state_dir = Some(path(name, value)?),
        "DatagramSize" => settings.datagram_bytes = value.integer(name, 512..=65_000)?,
        "Offload" => settings.offload = value.boolean(name)?,
        "AllowedAuthMethods" | "RequiredAuthMethods" if value.text.trim() != "NULL" => {
            return Err(value.error(format!(
                "{name} must be NULL: groupd guards its sockets with SocketMode, SocketGroup and \
                 ListenTCP, got {:?}",
                value.text
            )));
        }
        "AccessControlPolicy" if value.text != "PERMIT" => {
            return Err(value.error(format!("{name} must be PERMIT, got {:?}", value.text)));
        }
        "AllowedAuthMethods" | "RequiredAuthMethods" | "AccessControlPolicy" => {}
        other => unreachable!("{other} is in EFFECTIVE and has no arm here"),
    }
    Ok(())
}

fn address(value: &Word) -> Result<Address, Error> {
    let parsed = value.text.parse();
    parsed.map_err(|error: AddressError| value.error(format!("Socket: {error}")))
}

fn path(name: &str, value: &Word) -> Result<PathBuf, Error> {
    match value.text.starts_with('/') {
        true => Ok(PathBuf::from(&value.text)),
        false => Err(value.error(format!(
            "{name} must be an absolute path, got {:?}",
            value.text
        ))),
    }
}

fn mode(value: &Word) -> Result<u32, Error> {
    match u32::from_str_radix(&value.text, 8) {
        Ok(mode) if mode <= 0o777 && value.text.len() <= 4 => Ok(mode),
        _ => Err(value.error(format!(
            "SocketMode must be octal, 0 to 0777, got {:?}",
            value.text
        ))),
    }
}

/// Spread wants all nine, as they depend on each other.
fn all_or_none(given: &[Option<Duration>; TIMEOUTS.len()]) -> Result<Option<Timeouts>, Error> {
    if given.iter().all(Option::is_none) {
        return Ok(None);
    }
    let missing: Vec<&str> = TIMEOUTS
        .into_iter()
        .zip(given)
        .filter(|(_, value)| value.is_none())
        .map(|(name, _)| name)
        .collect();
    let &[
        Some(token),
        Some(hurry),
        Some(alive),
        Some(join),
        Some(rep),
        Some(seg),
        Some(gather),
        Some(form),
        Some(lookup),
    ] = given
    else {
        let missing = missing.join(", ");
        return Err(Error::new(
            0,
            format!("all nine timeouts or none, missing: {missing}"),
        ));
    };
    Ok(Some(Timeouts {
        token,
        hurry,
        alive,
        join,
        rep,
        seg,
        gather,
        form,
        lookup,
    }))
}
