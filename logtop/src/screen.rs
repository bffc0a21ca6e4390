//! The screen and its keys, which are ApacheTop's.

use crossterm::event::KeyCode;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row, Table};
use regex::bytes::Regex;

use crate::intake::{Filter, Intake};
use crate::tally::{Counts, Item, Tally};
use crate::view::{Sort, sorted};

/// Longest pattern of a filter.
const PATTERN_BYTES_MAX: usize = 200;

const HELP: &str = "\
d  next item: url host referer agent status vhost user server
n  other numbers: rates and bytes, or classes of status
s  sort by, then: r requests  b bytes  2 3 4 5 a class
f  filter, then: a add  c clear
t  what a row shows inside, then: u url  r referer  h host
p  pause        space  refresh now
up down  move   right  look into the row   left  back
h ?  this help  q  quit";

/// What the user looks at.
#[derive(Debug)]
pub(crate) struct Screen {
    item: Item,
    sort: Sort,
    classes: bool,
    marker: usize,
    /// What is shown inside a row; none for what is most often wanted.
    inside: Option<Item>,
    /// The row that is looked into, and the item that it is of.
    within: Option<(Item, Vec<u8>)>,
    mode: Mode,
    pub(crate) paused: bool,
    /// Rows as they are on the screen, for the keys that are about one.
    names: Vec<Vec<u8>>,
    message: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Mode {
    Rows,
    Help,
    Sort,
    Filter,
    /// The next key says what a row shows inside.
    Inside,
    /// The next key says which item the filter is about.
    FilterItem,
    /// Its pattern is typed; a first `!` negates it.
    Pattern(Item, String),
}

/// What a key asks of the program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Nothing,
    Refresh,
    Quit,
}

impl Screen {
    pub(crate) fn new(item: Item) -> Screen {
        Screen {
            item,
            sort: Sort::Requests,
            classes: false,
            marker: 0,
            inside: None,
            within: None,
            mode: Mode::Rows,
            paused: false,
            names: Vec::new(),
            message: String::new(),
        }
    }

    /// Handles a key; filters begin with an empty window.
    pub(crate) fn press(&mut self, key: KeyCode, intake: &mut Intake, tally: &mut Tally) -> Wish {
        self.message.clear();
        match std::mem::replace(&mut self.mode, Mode::Rows) {
            Mode::Rows => return self.press_in_rows(key),
            Mode::Help => {}
            Mode::Sort => match key {
                KeyCode::Char('r' | 'R') => self.sort = Sort::Requests,
                KeyCode::Char('b' | 'B') => self.sort = Sort::Bytes,
                KeyCode::Char(digit @ '2'..='5') => {
                    self.sort = Sort::Class(digit as usize - '0' as usize);
                }
                _ => {}
            },
            Mode::Filter => match key {
                KeyCode::Char('a') => self.mode = Mode::FilterItem,
                KeyCode::Char('c') => {
                    intake.filters.clear();
                    tally.clear();
                }
                _ => {}
            },
            Mode::FilterItem => {
                let item = match key {
                    KeyCode::Char('u') => Item::Url,
                    KeyCode::Char('r') => Item::Referer,
                    KeyCode::Char('h') => Item::Host,
                    KeyCode::Char('s') => Item::Status,
                    KeyCode::Char('a') => Item::Agent,
                    KeyCode::Char('v') => Item::Vhost,
                    KeyCode::Char('n') => Item::User,
                    KeyCode::Char('w') => Item::Server,
                    _ => return Wish::Refresh,
                };
                self.mode = Mode::Pattern(item, String::new());
            }
            Mode::Inside => {
                self.inside = match key {
                    KeyCode::Char('u') => Some(Item::Url),
                    KeyCode::Char('r') => Some(Item::Referer),
                    KeyCode::Char('h') => Some(Item::Host),
                    _ => return Wish::Refresh,
                };
                self.look_inside();
            }
            Mode::Pattern(item, text) => self.type_pattern(key, item, text, intake, tally),
        }
        Wish::Refresh
    }

    fn press_in_rows(&mut self, key: KeyCode) -> Wish {
        match key {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Char('d') => {
                self.item = self.item.next();
                self.marker = 0;
            }
            KeyCode::Char('n') => self.classes = !self.classes,
            KeyCode::Char('s') => self.mode = Mode::Sort,
            KeyCode::Char('f') => self.mode = Mode::Filter,
            KeyCode::Char('t') => self.mode = Mode::Inside,
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Char('h' | '?') => self.mode = Mode::Help,
            KeyCode::Char(' ') => {}
            KeyCode::Up => self.marker = self.marker.saturating_sub(1),
            KeyCode::Down => self.marker = (self.marker + 1).min(self.names.len().max(1) - 1),
            KeyCode::Right if self.within.is_none() => {
                let Some(name) = self.names.get(self.marker) else {
                    return Wish::Nothing;
                };
                self.within = Some((self.item, name.clone()));
                self.look_inside();
            }
            KeyCode::Left => {
                if let Some((item, _)) = self.within.take() {
                    self.item = item;
                    self.marker = 0;
                }
            }
            _ => return Wish::Nothing,
        }
        Wish::Refresh
    }

    /// Shows what is wanted of the row that is looked into, if there is one.
    fn look_inside(&mut self) {
        let Some((of, _)) = self.within else {
            return;
        };
        // Of a page one wants to know who asks for it, of all else which pages.
        let usual = match of {
            Item::Url => Item::Host,
            _ => Item::Url,
        };
        self.item = self.inside.filter(|item| *item != of).unwrap_or(usual);
        self.marker = 0;
    }

    fn type_pattern(
        &mut self,
        key: KeyCode,
        item: Item,
        mut text: String,
        intake: &mut Intake,
        tally: &mut Tally,
    ) {
        match key {
            KeyCode::Enter => {
                let (negated, pattern) = match text.strip_prefix('!') {
                    Some(pattern) => (true, pattern),
                    None => (false, text.as_str()),
                };
                match Regex::new(pattern) {
                    Ok(pattern) => {
                        intake.filters.push(Filter {
                            item,
                            negated,
                            pattern,
                        });
                        tally.clear();
                    }
                    Err(error) => self.message = error.to_string().replace('\n', " "),
                }
                return;
            }
            KeyCode::Esc => return,
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Char(letter) if text.len() < PATTERN_BYTES_MAX => text.push(letter),
            _ => {}
        }
        self.mode = Mode::Pattern(item, text);
    }

    /// Draws everything; `trouble` is what the reader must know of the source.
    pub(crate) fn draw(
        &mut self,
        frame: &mut Frame,
        tally: &Tally,
        intake: &Intake,
        span: u64,
        trouble: &str,
    ) {
        let [head, state, body] = Layout::vertical([
            Constraint::Length(4),
            Constraint::Length(1),
            Constraint::Min(0),
        ])
        .areas(frame.area());
        frame.render_widget(Paragraph::new(header(tally, intake, span)), head);
        frame.render_widget(Paragraph::new(self.state(intake, trouble)), state);
        if self.mode == Mode::Help {
            return frame.render_widget(Paragraph::new(HELP), body);
        }
        let within = self
            .within
            .as_ref()
            .map(|(item, name)| (*item, name.as_slice()));
        let count = usize::from(body.height.saturating_sub(1));
        let rows = sorted(tally.rows(self.item, within), self.sort, count);
        self.marker = self.marker.min(rows.len().max(1) - 1);
        let table = self.table(&rows, span);
        self.names = rows.into_iter().map(|row| row.0.to_vec()).collect();
        frame.render_widget(table, body);
    }

    fn table(&self, rows: &[(&[u8], Counts)], span: u64) -> Table<'static> {
        let titles = match self.classes {
            false => ["REQS", "REQ/S", "KB", "KB/S", self.item.name()],
            true => ["2xx", "3xx", "4xx", "5xx", self.item.name()],
        };
        let lines = rows.iter().enumerate().map(|(at, (name, counts))| {
            let mut cells = match self.classes {
                false => numbers(counts, span),
                true => [2, 3, 4, 5].map(|class| counts.classes[class].to_string()),
            }
            .map(|text| format!("{text:>8}"))
            .to_vec();
            cells.push(printable(name));
            let style = match at == self.marker {
                true => Style::new().add_modifier(Modifier::REVERSED),
                false => Style::new(),
            };
            Row::new(cells.into_iter().map(Cell::from)).style(style)
        });
        let mut widths = vec![Constraint::Length(8); 4];
        widths.push(Constraint::Min(10));
        let head = titles.map(|title| format!("{title:>8}"));
        Table::new(lines, widths)
            .header(Row::new(head).style(Style::new().add_modifier(Modifier::BOLD)))
    }

    /// The line between the sums and the rows: what is typed, or what is in effect.
    fn state(&self, intake: &Intake, trouble: &str) -> String {
        match &self.mode {
            Mode::Sort => "sort by: r requests  b bytes  2 3 4 5 a class".to_owned(),
            Mode::Filter => "filter: a add  c clear".to_owned(),
            Mode::FilterItem => {
                "filter by: u url  r referer  h host  s status  a agent  v vhost  n user  w server"
                    .to_owned()
            }
            Mode::Inside => "inside a row show: u url  r referer  h host".to_owned(),
            Mode::Pattern(item, text) => format!("{} (! negates): {text}_", item.name()),
            Mode::Rows | Mode::Help => {
                let mut parts = Vec::new();
                if let Some((item, name)) = &self.within {
                    parts.push(format!("{}: {}", item.name(), printable(name)));
                }
                for Filter {
                    item,
                    negated,
                    pattern,
                } in &intake.filters
                {
                    let sign = if *negated { "!" } else { "" };
                    parts.push(format!("{} {sign}/{pattern}/", item.name()));
                }
                if self.paused {
                    parts.push("paused".to_owned());
                }
                parts.extend([self.message.as_str(), trouble].map(str::to_owned));
                parts.retain(|part| !part.is_empty());
                parts.join("  ")
            }
        }
    }
}

fn header(tally: &Tally, intake: &Intake, span: u64) -> Vec<Line<'static>> {
    let line = |name: String, counts: &Counts, seconds: Option<u64>| {
        let rate = seconds.map_or(String::new(), |seconds| {
            let per_second = counts.requests as f64 / seconds as f64;
            format!(" ({per_second:.1}/s)")
        });
        let size = counts.bytes as f64 / 1e6;
        let classes = [2, 3, 4, 5].map(|class| format!("  {class}xx: {}", counts.classes[class]));
        format!(
            "{name} {} reqs{rate}  {size:.1} MB{}",
            counts.requests,
            classes.concat()
        )
    };
    let doubtful = format!(
        "lines: {}  not parsed: {}  cut: {}  late: {}  filtered: {}  left early: {}",
        intake.lines, intake.unparsed, intake.cut, intake.late, intake.filtered, tally.early
    );
    vec![
        Line::from("logtop   h: help   q: quit"),
        Line::from(line("All:".to_owned(), &tally.all, None)),
        Line::from(line(format!("R ({span}s):"), &tally.window, Some(span))),
        Line::from(doubtful),
    ]
}

fn numbers(counts: &Counts, span: u64) -> [String; 4] {
    let per_second = |number: f64| format!("{:.1}", number / span as f64);
    let kilobytes = counts.bytes as f64 / 1e3;
    [
        counts.requests.to_string(),
        per_second(counts.requests as f64),
        format!("{kilobytes:.0}"),
        per_second(kilobytes),
    ]
}

/// Names come from strangers: nothing of them may steer a terminal.
fn printable(name: &[u8]) -> String {
    String::from_utf8_lossy(name).escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use weblog::format::Format;

    use super::*;
    use crate::tally::Limits;

    const LINES: &[u8] =
        b"h1 - - [10/Oct/2000:13:55:36 -0700] \"GET /a HTTP/1.0\" 200 5000 \"-\" \"x\"\n\
        h2 - - [10/Oct/2000:13:55:36 -0700] \"GET /a HTTP/1.0\" 200 5000 \"-\" \"x\"\n\
        h2 - - [10/Oct/2000:13:55:36 -0700] \"GET /\x1b[31m HTTP/1.0\" 503 - \"-\" \"y\"\n";

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
                terminal: Terminal::new(TestBackend::new(70, 9)).unwrap(),
            };
            play.feed();
            play
        }

        fn feed(&mut self) {
            self.intake.take("www1", LINES, 1, &mut self.tally);
        }

        /// Presses keys and gives the screen's rows below the head, without blanks at their ends.
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
            terminal
                .draw(|frame| screen.draw(frame, tally, intake, 1, ""))
                .unwrap();
            let buffer = terminal.backend().buffer();
            let cells = |y: u16| {
                (0..70)
                    .map(move |x| buffer[(x, y)].symbol())
                    .collect::<String>()
            };
            (4..9).map(|y| cells(y).trim_end().to_owned()).collect()
        }
    }

    fn keys(text: &str) -> Vec<KeyCode> {
        text.chars()
            .map(|c| {
                if c == '\n' {
                    KeyCode::Enter
                } else {
                    KeyCode::Char(c)
                }
            })
            .collect()
    }

    #[test]
    fn rows_and_numbers() {
        let mut play = Play::new();
        let rows = play.press(&[]);
        assert_eq!(rows[1], "    REQS    REQ/S       KB     KB/S      url");
        assert_eq!(rows[2], "       2      2.0       10     10.0 /a");
        assert_eq!(rows[3], "       1      1.0        0      0.0 /\\u{1b}[31m");
        let rows = play.press(&keys("ns5"));
        assert_eq!(rows[2], "       0        0        0        1 /\\u{1b}[31m");
        assert_eq!(
            play.press(&keys("d"))[1].trim_end(),
            "     2xx      3xx      4xx      5xx     host"
        );
    }

    #[test]
    fn into_a_row_and_back() {
        let mut play = Play::new();
        play.press(&[]);
        let rows = play.press(&[KeyCode::Right]);
        assert_eq!(rows[0], "url: /a");
        assert!(rows[2].ends_with(" h1") && rows[3].ends_with(" h2") && rows[4].is_empty());
        assert!(play.press(&[KeyCode::Left])[2].ends_with(" /a"));
    }

    #[test]
    fn what_a_row_shows_inside() {
        let mut play = Play::new();
        play.press(&[]);
        assert!(play.press(&keys("t"))[0].starts_with("inside a row show: u url"));
        play.press(&keys("r"));
        let rows = play.press(&[KeyCode::Right]);
        assert_eq!(rows[0], "url: /a");
        assert!(
            rows[1].ends_with(" referer") && rows[2].ends_with(" -"),
            "{rows:?}"
        );
        assert!(play.press(&keys("th"))[1].ends_with(" host"));
        // A row of a page has no pages inside.
        assert!(play.press(&keys("tu"))[1].ends_with(" host"));
        play.press(&[KeyCode::Left]);
        assert!(play.press(&keys("tx"))[2].ends_with(" /a"));
    }

    #[test]
    fn filters_by_key() {
        let mut play = Play::new();
        assert_eq!(play.press(&keys("fau!^/a"))[0], "url (! negates): !^/a_");
        assert_eq!(play.press(&keys("\n"))[0], "url !/^/a/");
        play.feed();
        let rows = play.press(&[]);
        assert!(rows[2].contains("31m") && rows[3].is_empty(), "{rows:?}");
        assert!(play.press(&keys("fau(\n"))[0].contains("regex parse error"));
        assert_eq!(play.press(&keys("fc"))[0], "");
        assert_eq!(play.press(&keys("faw!www1\n"))[0], "server !/www1/");
    }

    #[test]
    fn help_pause_and_quit() {
        let mut play = Play::new();
        assert!(play.press(&keys("h"))[1].starts_with("d  next item"));
        assert_eq!(play.press(&keys("xp"))[0], "paused");
        let Play {
            screen,
            intake,
            tally,
            ..
        } = &mut play;
        assert_eq!(screen.press(KeyCode::Char('q'), intake, tally), Wish::Quit);
    }
}
