//! `send`: one message from the command line or stdin.

use std::io::{self, Read};

use group::wire::TOOL_DATA_MAX;
use unixproc::exit::{DONE, Failure};

use crate::args::{Place, Send};

pub(crate) fn run(place: &Place, args: &Send) -> Result<u8, Failure> {
    if args.group.as_bytes().is_empty() {
        return Err(Failure::usage("a group's name must not be empty"));
    }
    let data = match &args.message {
        Some(message) if message != "-" => message.clone().into_bytes(),
        _ => read_stdin()?,
    };
    if data.len() > TOOL_DATA_MAX {
        let message = format!("a message must have at most {TOOL_DATA_MAX} bytes");
        return Err(Failure::fatal(message));
    }
    let mut session = place.connect(false)?;
    session
        .multicast(args.service, &[args.group], args.mess_type, &data)
        .and_then(|()| session.disconnect())
        .map_err(Failure::fatal)?;
    Ok(DONE)
}

/// Reads all of stdin, or one byte more than a message may have.
fn read_stdin() -> Result<Vec<u8>, Failure> {
    let mut data = Vec::new();
    io::stdin()
        .take(TOOL_DATA_MAX as u64 + 1)
        .read_to_end(&mut data)
        .map_err(|error| Failure::fatal(format!("cannot read stdin: {error}")))?;
    Ok(data)
}
