use ratatui::Terminal;
use ratatui::backend::TestBackend;
use weblog::format::Format;

use super::*;
use crate::tally::Limits;

const LINES: &[u8] =
    b"h1 - - [10/Oct/2000:13:55:36 -0700] \"GET /a HTTP/1.0\" 200 5000 \"-\" \"x\"\n\
    h2 - - [10/Oct/2000:13:55:36 -0700] \"GET /a HTTP/1.0\" 200 5000 \"-\" \"x\"\n\
    h2 - - [10/Oct/2000:13:55:36 -0700] \"GET /\x1b[31m HTTP/1.0\" 503 - \"-\" \"y\"\n";

const WIDTH: u16 = 80;

/// Rows of the screen above those of the table, its head among them.
const HEAD: usize = 8;

struct Play {
    screen: Screen,
    intake: Intake,
    tally: Tally,
    terminal: Terminal<TestBackend>,
}

impl Play {
    fn new() -> Play {
        let mut play = Play {
            screen: Screen::new(Item::Url),
            intake: Intake::new(&Format::combined(), false),
            tally: Tally::new(Limits {
                seconds: Some(10),
                hits: 100,
                rows: 100,
            }),
            terminal: Terminal::new(TestBackend::new(WIDTH, 19)).unwrap(),
        };
        play.feed(1);
        play
    }

    fn feed(&mut self, second: u64) {
        self.intake.take("www1", LINES, second, &mut self.tally);
    }

    /// Presses keys; gives the screen without blanks at the ends of its lines.
    fn press(&mut self, keys: &[KeyCode]) -> Vec<String> {
        for key in keys {
            self.screen.press(*key, &mut self.intake, &mut self.tally);
        }
        let Play {
            screen,
            intake,
            tally,
            terminal,
        } = self;
        let moment = Moment {
            clock: "12:00:01".into(),
            last_hit: Some("12:00:00".into()),
            uptime: 90_061,
            trouble: String::new(),
        };
        terminal
            .draw(|frame| screen.draw(frame, tally, intake, &moment))
            .unwrap();
        let buffer = terminal.backend().buffer();
        let row = |y| {
            let cells = (0..WIDTH).map(|x| buffer[(x, y)].symbol());
            cells.collect::<String>().trim_end().to_owned()
        };
        (0..19).map(row).collect()
    }

    /// Presses keys; gives the names of the rows as they stand below the head.
    fn names(&mut self, text: &str) -> Vec<String> {
        let screen = self.press(&keys(text));
        let rows = screen[HEAD..].iter().filter(|row| !row.is_empty());
        rows.map(|row| row[36..].to_owned()).collect()
    }
}

fn keys(text: &str) -> Vec<KeyCode> {
    let key = |letter| match letter {
        '\n' => KeyCode::Enter,
        '>' => KeyCode::Right,
        '<' => KeyCode::Left,
        'V' => KeyCode::Down,
        '^' => KeyCode::Up,
        letter => KeyCode::Char(letter),
    };
    text.chars().map(key).collect()
}

#[test]
fn the_head_is_that_of_apachetop() {
    let mut play = Play::new();
    play.tally.advance(2);
    let head = "\
last hit: 12:00:00   logtop runtime:  1 days, 01:01:01                12:00:01
All:              3 reqs (   0.0/s)    10.0 kB (   0.1 B/s)     3.3 kB/req
2xx:       2 (66.7%) 3xx:       0 ( 0.0%) 4xx:     0 ( 0.0%) 5xx:     1 (33.3%)
R (  2s):         3 reqs (   1.5/s)    10.0 kB (  5.0 kB/s)     3.3 kB/req
2xx:       2 (66.7%) 3xx:       0 ( 0.0%) 4xx:     0 ( 0.0%) 5xx:     1 (33.3%)
lines: 3  not parsed: 0  cut: 0  late: 0  filtered: 0  left early: 0

    REQS    REQ/S       KB     KB/S  URL
       2      1.0       10      5.0 */a
       1      0.5        0      0.0  /\\u{1b}[31m";
    let screen = play.press(&[]);
    assert_eq!(screen[..10].join("\n"), head);
    assert!(play.press(&keys("p"))[0].contains("  paused  "));
    assert!(!play.press(&keys("p"))[0].contains("paused"));
}

#[test]
fn numbers_and_what_they_are_sorted_by() {
    let mut play = Play::new();
    let escape = r" /\u{1b}[31m";
    assert_eq!(play.names("n"), ["*/a", escape]);
    let screen = play.press(&keys("s5"));
    assert_eq!(screen[HEAD - 1], "     2xx      3xx      4xx      5xx  URL");
    assert_eq!(
        screen[HEAD],
        r"       0        0        0        1 */\u{1b}[31m"
    );
    // Each kind of numbers has an order of its own.
    assert_eq!(play.names("n"), ["*/a", escape]);
    assert_eq!(play.names("n"), [r"*/\u{1b}[31m", " /a"]);
    for key in ["r", "R", "b", "B", "2"] {
        let screen = play.press(&keys(&format!("s5s{key}")));
        assert_eq!(screen[HEAD].split('*').nth(1), Some("/a"), "{key}");
        assert_eq!(screen[HEAD - 1].contains("REQ/S"), key != "2", "{key}");
    }
    assert!(play.press(&keys("s"))[HEAD - 2].starts_with("sort by: r requests"));
}

#[test]
fn a_new_row_has_a_higher_rate() {
    let mut play = Play::new();
    let line =
        &b"h3 - - [10/Oct/2000:13:55:36 -0700] \"GET /new HTTP/1.0\" 200 1 \"-\" \"x\"\n"[..];
    play.intake.take("www1", line, 8, &mut play.tally);
    assert_eq!(play.names("sR")[0], "*/new");
    assert_eq!(play.names("sr")[0], "*/a");
}

#[test]
fn every_item_is_one_key_away() {
    let mut play = Play::new();
    for (title, first) in [
        ("HOST", "*h2"),
        ("REFERER", "*-"),
        ("AGENT", "*x"),
        ("STATUS", "*200"),
        ("VHOST", "*-"),
        ("USER", "*-"),
        ("SERVER", "*www1"),
        ("URL", "*/a"),
    ] {
        assert_eq!(play.names("d")[0], first);
        assert!(play.press(&[])[HEAD - 1].ends_with(&format!(" {title}")));
    }
}

#[test]
fn the_marker_goes_up_and_down() {
    let mut play = Play::new();
    play.press(&[]);
    assert_eq!(play.names("VV"), [" /a", r"*/\u{1b}[31m"]);
    assert_eq!(play.names("^^"), ["*/a", r" /\u{1b}[31m"]);
}

#[test]
fn into_a_row_and_back() {
    let mut play = Play::new();
    play.press(&[]);
    let inside = [" /a", " HOST", " h1", " h2", " REFERER", " -"];
    assert_eq!(play.names(">"), inside);
    assert_eq!(play.names("t")[..1], [" /a"]);
    // Each part can be taken away, and others added.
    assert_eq!(play.names("r"), [" /a", " HOST", " h1", " h2"]);
    assert_eq!(play.names("thtw"), [" /a", " SERVER", " www1"]);
    // A row of a page has no pages inside.
    assert_eq!(play.names("tu"), [" /a", " SERVER", " www1"]);
    assert_eq!(play.names("<")[0], "*/a");
    // Of the second host: what it asks for.
    assert_eq!(play.names("tud"), ["*h2", " h1"]);
    let pages = [" h2", " URL", r" /\u{1b}[31m", " /a", " SERVER", " www1"];
    assert_eq!(play.names(">"), pages);
    // It stays when its hits have left, as an empty one.
    play.tally.advance(100);
    assert!(play.press(&[])[HEAD].trim_start().starts_with("0 "));
}

#[test]
fn filters_by_key() {
    let mut play = Play::new();
    let state = |play: &mut Play, text: &str| play.press(&keys(text))[HEAD - 2].clone();
    assert_eq!(state(&mut play, "fau!/b"), "url (! negates): !/b_");
    play.press(&[KeyCode::Backspace]);
    assert_eq!(state(&mut play, "a\n"), "url !//a/");
    play.feed(1);
    assert_eq!(play.names(""), [r"*/\u{1b}[31m"]);
    assert!(state(&mut play, "fau(\n").contains("regex parse error"));
    assert_eq!(state(&mut play, "faw!www2\n"), "url !//a/  server !/www2/");
    let screen = play.press(&keys("fs"));
    assert_eq!(screen[HEAD - 1..=HEAD], ["url !//a/", "server !/www2/"]);
    assert_eq!(state(&mut play, "xfc"), "");
    assert_eq!(play.press(&keys("fs"))[HEAD - 1], "no filters");
    let items = [
        "url", "referer", "host", "status", "agent", "vhost", "user", "server",
    ];
    for (letter, name) in "urhsavnw".chars().zip(items) {
        let text = state(&mut play, &format!("xfa{letter}"));
        assert_eq!(text, format!("{name} (! negates): _"));
        play.press(&[KeyCode::Esc]);
    }
}

#[test]
fn help_refresh_and_quit() {
    let mut play = Play::new();
    for key in ["h", "?"] {
        assert!(play.press(&keys(key))[HEAD - 1].starts_with("d  next item"));
        assert!(play.press(&keys("x"))[HEAD - 1].ends_with(" URL"));
    }
    let (intake, tally) = (&mut play.intake, &mut play.tally);
    let mut wish = |key| play.screen.press(KeyCode::Char(key), intake, tally);
    assert_eq!(wish(' '), Wish::Refresh);
    assert_eq!(wish('x'), Wish::Nothing);
    assert_eq!(wish('q'), Wish::Quit);
}
