use group::{Address, Event, GroupName, Options, Service, Session};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut options = Options::new(Address::find(None, None)?);
    options.name = Some("example".parse()?);
    let mut session = Session::connect(options)?;

    let group: GroupName = "greetings".parse()?;
    session.join(group)?;
    session.multicast(Service::Agreed, &[group], 0, b"hello")?;

    // Members get their own messages, too, in their place among those of the others.
    let Event::Message(message) = session.receive()? else {
        return Err("memberships were not asked for".into());
    };
    println!("{} says {}", message.sender, message.data.escape_ascii());
    session.disconnect()?;
    Ok(())
}
