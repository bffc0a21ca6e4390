//! The screen's state and its keys, which are ApacheTop's.

mod draw;
#[cfg(test)]
mod tests;

use crossterm::event::KeyCode;
use regex::bytes::Regex;

use crate::intake::{Filter, Intake};
use crate::tally::{Item, Tally};
use crate::view::Sort;

/// Longest pattern of a filter.
const PATTERN_BYTES_MAX: usize = 200;

/// What the user looks at.
#[derive(Debug)]
pub(crate) struct Screen {
    item: Item,
    /// Whether rows show classes of status.
    classes: bool,
    /// What rows are sorted by, when they show rates and bytes, and when they show classes.
    sorts: [Sort; 2],
    /// Which of the rows on the screen the marker is on.
    marker: usize,
    /// Whether each item is shown inside a row, if the row is not of that item.
    inside: [bool; Item::ALL.len()],
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
    /// The next key says what rows are sorted by.
    Sort,
    /// The next key says what to do with filters.
    Filter,
    /// The filters in effect, all of them.
    Filters,
    /// The next key says what is shown inside a row, or no more.
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
    /// Draw all of it again.
    Clear,
    Quit,
}

/// What else a screen tells.
#[derive(Debug)]
pub(crate) struct Moment {
    /// The time of day.
    pub(crate) clock: String,
    /// The time of the last hit.
    pub(crate) last_hit: Option<String>,
    /// Seconds since the start.
    pub(crate) uptime: u64,
    /// What the reader must know of where the lines come from.
    pub(crate) trouble: String,
}

impl Screen {
    pub(crate) fn new(item: Item) -> Screen {
        let mut inside = [false; Item::ALL.len()];
        for item in [Item::Url, Item::Referer, Item::Host] {
            inside[item as usize] = true;
        }
        Screen {
            item,
            classes: false,
            sorts: [Sort::Requests, Sort::Class(2)],
            marker: 0,
            inside,
            within: None,
            mode: Mode::Rows,
            paused: false,
            names: Vec::new(),
            message: String::new(),
        }
    }

    fn sort(&self) -> Sort {
        self.sorts[usize::from(self.classes)]
    }

    /// Handles a key; filters begin with an empty window.
    pub(crate) fn press(&mut self, key: KeyCode, intake: &mut Intake, tally: &mut Tally) -> Wish {
        self.message.clear();
        match std::mem::replace(&mut self.mode, Mode::Rows) {
            Mode::Rows => return self.press_in_rows(key),
            // Any key leaves them.
            Mode::Help | Mode::Filters => {}
            Mode::Sort => {
                if let Some(sort) = letter(key).and_then(Sort::of_key) {
                    // What rows are sorted by is shown.
                    self.classes = matches!(sort, Sort::Class(_));
                    self.sorts[usize::from(self.classes)] = sort;
                }
            }
            Mode::Filter => match key {
                KeyCode::Char('a') => self.mode = Mode::FilterItem,
                KeyCode::Char('s') => self.mode = Mode::Filters,
                KeyCode::Char('c') => {
                    intake.filters.clear();
                    tally.clear();
                }
                _ => {}
            },
            Mode::FilterItem => {
                if let Some(item) = item_of(key) {
                    self.mode = Mode::Pattern(item, String::new());
                }
            }
            Mode::Inside => {
                if let Some(item) = item_of(key) {
                    self.inside[item as usize] ^= true;
                }
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
                self.within = None;
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
            }
            KeyCode::Left => self.within = None,
            _ => return Wish::Nothing,
        }
        Wish::Refresh
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
}

fn letter(key: KeyCode) -> Option<char> {
    match key {
        KeyCode::Char(letter) => Some(letter),
        _ => None,
    }
}

/// The item that a letter stands for, in the menus of filters and of what a row shows inside.
fn item_of(key: KeyCode) -> Option<Item> {
    Some(match letter(key)? {
        'u' => Item::Url,
        'r' => Item::Referer,
        'h' => Item::Host,
        's' => Item::Status,
        'a' => Item::Agent,
        'v' => Item::Vhost,
        'n' => Item::User,
        'w' => Item::Server,
        _ => return None,
    })
}
