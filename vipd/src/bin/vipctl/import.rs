//! Turns the vrrp part of a keepalived.conf into a wackamole.conf.
//!
//! Each `vrrp_instance` becomes a set: its `virtual_ipaddress` and `virtual_ipaddress_excluded`
//! move together, and `vrrp_sync_group` puts instances into one set. A `vrrp_script` that is tracked
//! becomes a check. What has no counterpart is named in a comment.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

/// Bound: words of a file.
const WORDS_MAX: usize = 1_000_000;

/// A word, a brace, or the end of a line: keepalived's statements end with their line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Open,
    Close,
    End,
}

/// A statement, with the block behind it.
#[derive(Debug, Default)]
struct Statement {
    words: Vec<String>,
    block: Vec<Statement>,
}

/// One `vrrp_instance`.
#[derive(Debug, Default)]
struct Instance {
    name: String,
    interface: String,
    addresses: Vec<String>,
    /// Names of scripts.
    tracked: Vec<String>,
    /// What `Failback` is to be.
    failback: Option<String>,
    lost: Vec<String>,
}

/// The text of a wackamole.conf that does what the vrrp part of this text does.
///
/// # Errors
/// There is no such part, or it cannot be read.
pub(crate) fn import(text: &str) -> Result<String, String> {
    let mut tokens = tokens(text)?.into_iter();
    let statements = block(&mut tokens, 0)?;
    let instances = statements
        .iter()
        .filter(|of| of.words[0] == "vrrp_instance");
    let instances: Vec<Instance> = instances.map(instance).collect::<Result<_, _>>()?;
    if instances.is_empty() {
        return Err("there is no vrrp_instance".to_owned());
    }
    let groups = sync_groups(&statements);
    let mut sets: BTreeMap<String, Vec<&Instance>> = BTreeMap::new();
    for instance in &instances {
        let group = groups.get(&instance.name).cloned();
        // No name of an instance has a blank.
        let key = group.map_or_else(|| instance.name.clone(), |group| format!(" {group}"));
        sets.entry(key).or_default().push(instance);
    }
    let mut output = String::from(
        "# From a keepalived.conf; the same file for every host.\n\
         Spread = 4803\nGroup = wack1\nControl = /run/vipd/control\n\nVirtualInterfaces {\n",
    );
    for members in sets.values() {
        let addresses = members.iter().flat_map(|instance| &instance.addresses);
        let addresses: Vec<&str> = addresses.map(String::as_str).collect();
        writeln!(output, "    {{ {} }}", addresses.join(" ")).expect("a String takes all");
    }
    output += "}\n";
    if let Some(failback) = instances.iter().find_map(|of| of.failback.as_ref()) {
        writeln!(output, "Failback = {failback}").expect("a String takes all");
    }
    let scripts = statements.iter().filter(|of| of.words[0] == "vrrp_script");
    for script in scripts {
        let name = script.words.get(1).cloned().unwrap_or_default();
        if instances.iter().any(|of| of.tracked.contains(&name)) {
            output += &check(&name, script);
        }
    }
    for instance in &instances {
        for lost in &instance.lost {
            writeln!(output, "# {}: {lost}", instance.name).expect("a String takes all");
        }
    }
    Ok(output)
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    for line in text.lines() {
        let line = line.split(['#', '!']).next().unwrap_or_default();
        let spaced = line.replace('{', " { ").replace('}', " } ");
        tokens.extend(spaced.split_whitespace().map(|word| match word {
            "{" => Token::Open,
            "}" => Token::Close,
            word => Token::Word(word.trim_matches('"').to_owned()),
        }));
        tokens.push(Token::End);
        if tokens.len() > WORDS_MAX {
            return Err("the file is too long".to_owned());
        }
    }
    Ok(tokens)
}

fn block(tokens: &mut std::vec::IntoIter<Token>, depth: u32) -> Result<Vec<Statement>, String> {
    // Bound: keepalived has four levels.
    if depth > 16 {
        return Err("blocks are too deep".to_owned());
    }
    let mut statements = Vec::new();
    let mut words = Vec::new();
    let end = |words: &mut Vec<String>, statements: &mut Vec<Statement>| {
        if !words.is_empty() {
            statements.push(Statement {
                words: std::mem::take(words),
                block: Vec::new(),
            });
        }
    };
    loop {
        match tokens.next() {
            Some(Token::Word(word)) => words.push(word),
            Some(Token::End) => {
                // The brace may stand on the next line.
                let brace = tokens.as_slice().iter().find(|token| **token != Token::End);
                if brace != Some(&Token::Open) {
                    end(&mut words, &mut statements);
                }
            }
            Some(Token::Open) => {
                let block = block(tokens, depth + 1)?;
                if words.is_empty() {
                    return Err("a block has no name".to_owned());
                }
                let words = std::mem::take(&mut words);
                statements.push(Statement { words, block });
            }
            Some(Token::Close) if depth > 0 => {
                end(&mut words, &mut statements);
                return Ok(statements);
            }
            Some(Token::Close) => return Err("unexpected '}'".to_owned()),
            None if depth > 0 => return Err("missing '}' at the end".to_owned()),
            None => {
                end(&mut words, &mut statements);
                return Ok(statements);
            }
        }
    }
}

/// Which group each instance moves with.
fn sync_groups(statements: &[Statement]) -> BTreeMap<String, String> {
    let groups = statements
        .iter()
        .filter(|of| of.words[0] == "vrrp_sync_group");
    let members = groups.flat_map(|of| {
        let name = of.words.get(1).cloned().unwrap_or_default();
        let lists = of.block.iter().filter(|list| list.words[0] == "group");
        let members = lists
            .flat_map(|list| &list.block)
            .flat_map(|line| &line.words);
        members.map(move |member| (member.clone(), name.clone()))
    });
    members.collect()
}

fn instance(of: &Statement) -> Result<Instance, String> {
    let mut instance = Instance {
        name: of
            .words
            .get(1)
            .cloned()
            .ok_or("a vrrp_instance has no name")?,
        ..Instance::default()
    };
    let value = |of: &Statement| of.words.get(1).cloned().unwrap_or_default();
    for line in &of.block {
        if line.words[0] == "interface" {
            instance.interface = value(line);
        }
    }
    for line in &of.block {
        match line.words[0].as_str() {
            "interface" | "virtual_router_id" | "advert_int" | "garp_master_delay" => {}
            "virtual_ipaddress" | "virtual_ipaddress_excluded" => {
                for address in &line.block {
                    let address = attached(&instance, &address.words)?;
                    instance.addresses.push(address);
                }
            }
            "state" | "priority" => {
                let what = line.words.join(" ");
                instance
                    .lost
                    .push(format!("{what}: see Prefer and Preference"));
            }
            "nopreempt" => instance.failback = Some("never".to_owned()),
            "preempt_delay" => instance.failback = Some(format!("after {}", seconds(&value(line)))),
            "track_script" => {
                let names = line.block.iter().map(|of| of.words[0].clone());
                instance.tracked.extend(names);
            }
            "track_file" | "track_process" | "track_interface" => {
                instance.lost.push(format!("{}: see Check", line.words[0]));
            }
            "authentication" => {
                instance
                    .lost
                    .push("authentication: Key in groupd's spread.conf".to_owned());
            }
            "notify" | "notify_master" | "notify_backup" | "notify_fault" | "notify_stop" => {
                instance
                    .lost
                    .push(format!("{}: see OnAcquire, OnRelease", line.words[0]));
            }
            other => instance.lost.push(format!("{other} has no counterpart")),
        }
    }
    if instance.addresses.is_empty() {
        return Err(format!("vrrp_instance {} has no addresses", instance.name));
    }
    Ok(instance)
}

/// A `vrrp_script` as a `Check`, or as a comment that says why it is none.
fn check(name: &str, script: &Statement) -> String {
    let of = |keyword: &str| {
        let line = script.block.iter().find(|of| of.words[0] == keyword);
        line.map(|of| of.words[1..].to_vec())
    };
    let first = |keyword: &str| of(keyword).and_then(|words| words.first().cloned());
    let command = of("script").unwrap_or_default();
    let is_absolute = command.first().is_some_and(|path| path.starts_with('/'));
    let plain =
        |word: &String| !word.contains(['"', '\'', '\\', '$', '`', '|', '>', '<', ';', '&']);
    if !is_absolute || !command.iter().all(plain) || name.len() > 32 {
        let command = command.join(" ");
        return format!("# vrrp_script {name}: no program by its path, see Check: {command}\n");
    }
    let interval = first("interval").unwrap_or_else(|| "1".to_owned());
    let timeout = first("timeout").unwrap_or_else(|| interval.clone());
    let count = |keyword: &str| {
        let count = first(keyword).and_then(|text| text.parse::<u32>().ok());
        count.unwrap_or(1).clamp(1, 1000)
    };
    format!(
        "Check {name} {{ Exec {{ {} }} Interval = {} Timeout = {} Rise = {} Fall = {} }}\n",
        command.join(" "),
        seconds(&interval),
        seconds(&timeout),
        count("rise"),
        count("fall")
    )
}

/// A number of seconds, perhaps with a fraction, as a time; a second if it is none.
fn seconds(text: &str) -> String {
    let seconds = text.parse::<f64>().unwrap_or(1.0).clamp(0.001, 86_400.0);
    match (seconds * 1000.0).round() as u64 {
        whole if whole % 1000 == 0 => format!("{}s", whole / 1000),
        milliseconds => format!("{milliseconds}ms"),
    }
}

/// `192.0.2.1/24 dev eth0 ...` as `eth0:192.0.2.1/32`: how a public address is best held.
fn attached(instance: &Instance, words: &[String]) -> Result<String, String> {
    let text = &words[0];
    let address = text
        .split_once('/')
        .map_or(text.as_str(), |(address, _)| address);
    let address: IpAddr = address
        .parse()
        .map_err(|_| format!("vrrp_instance {}: {text:?} is no address", instance.name))?;
    let device = words.iter().position(|word| word == "dev");
    let interface = device
        .and_then(|at| words.get(at + 1))
        .unwrap_or(&instance.interface);
    if interface.is_empty() {
        return Err(format!("vrrp_instance {} has no interface", instance.name));
    }
    let bits = if address.is_ipv4() { 32 } else { 128 };
    Ok(format!("{interface}:{address}/{bits}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use vipd::balance::Failback;
    use vipd::config::{Config, Probe};

    use super::*;

    const SAMPLE: &str = r#"
global_defs { router_id x }
vrrp_script web {
    script "/usr/bin/curl -f http://127.0.0.1/"
    interval 0.5
    fall 3
    weight -20
}
vrrp_script shell { script "killall -0 haproxy" }
vrrp_script unused { script /bin/true }
vrrp_sync_group G1 {
    group {
        inside
        outside
    }
}
vrrp_instance inside {
    state MASTER
    interface eth0
    virtual_router_id 51
    priority 100   # comment
    virtual_ipaddress { 10.0.0.1/24 }
}
vrrp_instance outside
{
    interface eth1
    nopreempt
    virtual_ipaddress {
        192.0.2.1/24 dev eth2 label eth2:1
        2001:db8::1
    }
}
vrrp_instance alone {
    interface eth0
    track_script {
        web weight 2
        shell
    }
    virtual_ipaddress { 10.0.0.9 }
}
"#;

    #[test]
    fn what_comes_out_is_read_by_vipd() {
        let output = import(SAMPLE).unwrap();
        let config = Config::parse("f", &output).unwrap_or_else(|errors| panic!("{errors}"));
        let sets: Vec<String> = config
            .sets
            .iter()
            .map(|set| {
                set.addresses
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        assert_eq!(
            sets,
            [
                "eth0:10.0.0.1/32 eth2:192.0.2.1/32 eth1:2001:db8::1/128",
                "eth0:10.0.0.9/32"
            ]
        );
        assert_eq!(config.failback, Failback::Never);
        let [check] = &config.checks[..] else {
            panic!("{output}");
        };
        let command = ["/usr/bin/curl", "-f", "http://127.0.0.1/"].map(str::to_owned);
        assert_eq!(check.probe, Probe::Exec(command.to_vec()));
        let half = Duration::from_millis(500);
        assert_eq!((check.interval, check.timeout), (half, half));
        assert_eq!((check.name.as_str(), check.rise, check.fall), ("web", 1, 3));
        assert!(output.contains("# vrrp_script shell: no program by its path"));
        assert!(output.contains("# inside: state MASTER: see Prefer"));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (text, error) in [
            ("global_defs { }", "there is no vrrp_instance"),
            ("vrrp_instance a {", "missing '}' at the end"),
            ("}", "unexpected '}'"),
            (
                "vrrp_instance a { interface e }",
                "vrrp_instance a has no addresses",
            ),
            (
                "vrrp_instance a {\ninterface e\nvirtual_ipaddress {\nx\n}\n}",
                "vrrp_instance a: \"x\" is no address",
            ),
        ] {
            assert_eq!(import(text).unwrap_err(), error, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(at in 0usize..600, with in "[{}\\n #!a-z]{0,6}") {
            let mut text = SAMPLE.to_owned();
            let at = at.min(text.len());
            text.insert_str(at, &with);
            let _ = import(&text);
        }
    }
}
