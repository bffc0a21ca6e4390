//! What `simulate` says of a seed that breaks a rule, and that it can be replayed from that.

use std::process::{Command, Output};

fn simulate(words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simulate"));
    command.args(words.split(' '));
    command.output().expect("simulate starts")
}

fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_seed_that_breaks_a_rule_is_told_and_replayed_to_the_same_end() {
    let found = simulate("--seeds 20 --plant safe-by-one-visit");
    assert_eq!(found.status.code(), Some(1));
    let told = lines(&found);
    let [.., broken, hint] = &told[..] else {
        panic!("nothing told: {told:?}");
    };
    assert!(broken.starts_with("seed "), "{broken}");
    let hint = hint.strip_prefix("replay it with: simulate ").expect(hint);

    let planted = format!("{hint} --plant safe-by-one-visit");
    let replays = [simulate(&planted), simulate(&planted)];
    for replay in &replays {
        assert_eq!(replay.status.code(), Some(1));
    }
    let history = lines(&replays[0]);
    assert!(told.contains(history.last().unwrap()), "the same rule");
    assert!(history.iter().any(|line| line.starts_with("trace ")));
    assert!(history.len() > 1000, "only {} lines", history.len());
    assert!(history == lines(&replays[1]), "two replays differ");

    assert_eq!(simulate(hint).status.code(), Some(0), "without the bug");
}
