use std::time::Instant;

use group::{Address, Event, GroupName, Link, Options, Received};
use mio::{Events, Poll, Token};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let group: GroupName = "greetings".parse()?;
    let options = Options::new(Address::find(None, None)?);
    let mut link = Link::new(options, b"li", Token(0), Instant::now());
    link.join(group);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(16);
    loop {
        let now = Instant::now();
        if link.connect(poll.registry(), now) {
            println!("listening to {group}");
        }
        while let Some(received) = link.receive(now) {
            match received {
                Received::Event(Event::Message(message)) => {
                    println!("{} says {}", message.sender, message.data.escape_ascii());
                }
                Received::Event(_) => {}
                Received::Lost => println!("what is said now is missed"),
            }
        }
        let timeout = link
            .connect_at()
            .map(|at| at.saturating_duration_since(now));
        poll.poll(&mut events, timeout)?;
        for event in &events {
            link.handle_event(event);
        }
    }
}
