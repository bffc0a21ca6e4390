//! The screen as it looks.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row as Cells, Table};

use super::{Mode, Moment, Screen};
use crate::intake::{Filter, Intake};
use crate::tally::{Counts, Item, Row, Tally};
use crate::view::sorted;

const HELP: &str = "\
d  next item: url host referer agent status vhost user server
n  other numbers: rates and bytes, or classes of status
s  sort by, then: r requests  R requests/s  b bytes  B bytes/s  2 3 4 5 a class
f  filter, then: a add  c clear all  s show all
t  show inside a row or not, then: u r h s a v n w
p  pause        space  refresh now        up down  move the marker
right  look into the row   left  back     h ?  this help   q  quit";

const ITEMS: &str = "u url  r referer  h host  s status  a agent  v vhost  n user  w server";

impl Screen {
    /// Draws everything.
    pub(crate) fn draw(
        &mut self,
        frame: &mut Frame,
        tally: &Tally,
        intake: &Intake,
        moment: &Moment,
    ) {
        let [head, state, body] = Layout::vertical([
            Constraint::Length(6),
            Constraint::Length(1),
            Constraint::Min(0),
        ])
        .areas(frame.area());
        let header = header(tally, intake, moment, self.paused);
        frame.render_widget(Paragraph::new(header), head);
        let state_line = self.state(intake, &moment.trouble);
        frame.render_widget(Paragraph::new(state_line), state);
        match (&self.mode, &self.within) {
            (Mode::Help, _) => frame.render_widget(Paragraph::new(HELP), body),
            (Mode::Filters, _) => {
                let lines: Vec<_> = intake.filters.iter().map(filter_line).collect();
                let text = match lines.is_empty() {
                    true => "no filters".to_owned(),
                    false => lines.join("\n"),
                };
                frame.render_widget(Paragraph::new(text), body);
            }
            (_, Some((item, name))) => self.draw_inside(frame, body, tally, *item, name),
            (_, None) => self.draw_rows(frame, body, tally),
        }
    }

    fn draw_rows(&mut self, frame: &mut Frame, body: Rect, tally: &Tally) {
        let count = usize::from(body.height.saturating_sub(1));
        let rows = sorted(tally.rows(self.item), self.sort(), count);
        self.marker = self.marker.min(rows.len().max(1) - 1);
        let table = self.table(self.item, &rows, Some(self.marker));
        self.names = rows.into_iter().map(|row| row.name.to_vec()).collect();
        frame.render_widget(table, body);
    }

    /// The row that is looked into, and below it what it has inside, by each chosen item.
    fn draw_inside(&self, frame: &mut Frame, body: Rect, tally: &Tally, item: Item, name: &[u8]) {
        let gone = Row {
            name,
            counts: Counts::default(),
            span: 1,
        };
        let row = tally.find(item, name).unwrap_or(gone);
        let chosen = |inside: &Item| *inside != item && self.inside[*inside as usize];
        let items: Vec<Item> = Item::ALL.into_iter().filter(chosen).collect();
        let mut heights = vec![Constraint::Length(2)];
        heights.extend(items.iter().map(|_| Constraint::Fill(1)));
        let areas = Layout::vertical(heights).split(body);
        frame.render_widget(self.table(item, &[row], None), areas[0]);
        for (inside, area) in items.into_iter().zip(&areas[1..]) {
            let count = usize::from(area.height.saturating_sub(1));
            let rows = sorted(tally.rows_within(inside, item, name), self.sort(), count);
            frame.render_widget(self.table(inside, &rows, None), *area);
        }
    }

    fn table(&self, item: Item, rows: &[Row], marker: Option<usize>) -> Table<'static> {
        let titles = match self.classes {
            false => ["REQS", "REQ/S", "KB", "KB/S"],
            true => ["2xx", "3xx", "4xx", "5xx"],
        };
        let lines = rows.iter().enumerate().map(|(at, row)| {
            let numbers = match self.classes {
                false => rates(row),
                true => [2, 3, 4, 5].map(|class| row.counts.classes[class].to_string()),
            };
            let (sign, style) = match marker == Some(at) {
                true => ("*", Style::new().add_modifier(Modifier::REVERSED)),
                false => (" ", Style::new()),
            };
            cells(numbers, sign.to_owned() + &printable(row.name)).style(style)
        });
        let mut widths = vec![Constraint::Length(8); 4];
        widths.push(Constraint::Min(10));
        let title = format!(" {}", item.name().to_uppercase());
        let head = cells(titles.map(str::to_owned), title);
        Table::new(lines, widths).header(head.style(Style::new().add_modifier(Modifier::BOLD)))
    }

    /// The line between the sums and the rows: what is typed, or what is in effect.
    fn state(&self, intake: &Intake, trouble: &str) -> String {
        match &self.mode {
            Mode::Sort => {
                "sort by: r requests  R requests/s  b bytes  B bytes/s  2 3 4 5 a class".to_owned()
            }
            Mode::Filter => "filter: a add  c clear all  s show all".to_owned(),
            Mode::FilterItem => format!("filter by: {ITEMS}"),
            Mode::Inside => format!("inside: {ITEMS}"),
            Mode::Pattern(item, text) => format!("{} (! negates): {text}_", item.name()),
            Mode::Rows | Mode::Help | Mode::Filters => {
                let mut parts = vec![self.message.clone(), trouble.to_owned()];
                parts.extend(intake.filters.iter().map(filter_line));
                parts.retain(|part| !part.is_empty());
                parts.join("  ")
            }
        }
    }
}

fn filter_line(filter: &Filter) -> String {
    let sign = if filter.negated { "!" } else { "" };
    format!("{} {sign}/{}/", filter.item.name(), filter.pattern)
}

fn cells(numbers: [String; 4], name: String) -> Cells<'static> {
    let numbers = numbers.map(|text| Cell::from(format!("{text:>8}")));
    Cells::new(numbers.into_iter().chain([Cell::from(name)]))
}

fn header(tally: &Tally, intake: &Intake, moment: &Moment, paused: bool) -> Vec<Line<'static>> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let Moment {
        clock,
        last_hit,
        uptime,
        ..
    } = moment;
    let last_hit = last_hit.as_deref().unwrap_or("-");
    let days = uptime / 86_400;
    let [hours, minutes, seconds] = [uptime / 3600 % 24, uptime / 60 % 60, uptime % 60];
    let runtime = format!("logtop runtime: {days:2} days, {hours:02}:{minutes:02}:{seconds:02}");
    let state = if paused { "paused" } else { "" };
    let window = format!("R ({:>3}s):", tally.span());
    vec![
        Line::from(format!(
            "last hit: {last_hit:<9}{runtime:>35}{state:>12}{clock:>12}"
        )),
        Line::styled(sums("All:", &tally.all, uptime + 1), bold),
        Line::from(classes(&tally.all)),
        Line::styled(sums(&window, &tally.window, tally.span()), bold),
        Line::from(classes(&tally.window)),
        Line::from(format!(
            "lines: {}  not parsed: {}  cut: {}  late: {}  filtered: {}  left early: {}",
            intake.lines, intake.unparsed, intake.cut, intake.late, intake.filtered, tally.early
        )),
    ]
}

fn sums(name: &str, counts: &Counts, seconds: u64) -> String {
    let requests = counts.requests;
    let bytes = counts.bytes as f64;
    format!(
        "{name:<10}{requests:>9} reqs ({:>6.1}/s){:>11} ({:>8}/s){:>11}/req",
        requests as f64 / seconds as f64,
        size(bytes),
        size(bytes / seconds as f64),
        size(bytes / requests.max(1) as f64),
    )
}

/// Requests by class, and which part of the four they are.
fn classes(counts: &Counts) -> String {
    let all = counts.classes[2..=5].iter().sum::<u64>().max(1);
    let class = |(class, width): (usize, usize)| {
        let requests = counts.classes[class];
        let part = match requests as f64 * 100.0 / all as f64 {
            part if requests == all => format!("{part:.0}"),
            part => format!("{part:.1}"),
        };
        format!("{class}xx: {requests:>width$} ({part:>4}%)")
    };
    [(2, 7), (3, 7), (4, 5), (5, 5)].map(class).join(" ")
}

fn size(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut number, mut unit) = (bytes, 0);
    while number >= 1000.0 && unit + 1 < UNITS.len() {
        number /= 1000.0;
        unit += 1;
    }
    format!("{number:.1} {}", UNITS[unit])
}

fn rates(row: &Row) -> [String; 4] {
    let per_second = |number: f64| format!("{:.1}", number / row.span as f64);
    let kilobytes = row.counts.bytes as f64 / 1e3;
    [
        row.counts.requests.to_string(),
        per_second(row.counts.requests as f64),
        format!("{kilobytes:.0}"),
        per_second(kilobytes),
    ]
}

/// Names come from strangers: nothing of them may steer a terminal.
fn printable(name: &[u8]) -> String {
    String::from_utf8_lossy(name).escape_debug().to_string()
}
