//! The store on a real file system.

use std::fs;
use std::path::PathBuf;

use imgcache::freshness::{Policy, Times};
use imgcache::http::Headers;
use imgcache::meta::Body;

use super::*;
use crate::entry::{Entry, Moment};
use crate::root::Found;

const PATH: &str = "h/dir/a.gif";
const URL: &str = "http://h/dir/a.gif";

/// A directory that is there as long as the test runs.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Root {
        let path = std::env::temp_dir().join(format!("imgcache-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path); // of a former process with this number
        Root(path)
    }

    fn store(&self) -> Store {
        Store::open(&self.0, 1 << 20).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.0.join(PATH)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // nothing that a later run would trip over
    }
}

fn meta(padding: usize) -> Meta {
    let mut headers = Headers::new();
    headers.push("X-Padding", vec![b'x'; padding]);
    Meta {
        url: URL.to_owned(),
        status: 200,
        headers,
        times: Times {
            request: 1,
            response: 2,
        },
        rule: 3,
        era: 0,
        generation: 4,
        selecting: String::new(),
        body: Body::default(),
        sha256: String::new(),
    }
}

fn put(store: &mut Store, body: &[u8], padding: usize) {
    let mut draft = store.create(Some(body.len() as u64)).unwrap().unwrap();
    draft.append(body).unwrap();
    let placed = draft.place(&store.root, PATH, meta(padding)).unwrap();
    store.account(draft, placed);
}

fn find(store: &Store) -> Object {
    match store.root.find(PATH, URL).unwrap() {
        Found::Object(object) => *object,
        other => panic!("{other:?}"),
    }
}

fn word(found: io::Result<Found>) -> &'static str {
    match found.unwrap() {
        Found::Absent => "absent",
        Found::Foreign => "foreign",
        Found::Object(_) => "object",
    }
}

#[test]
fn a_file_is_the_body_and_nothing_else() {
    let root = Root::new("body");
    let mut store = root.store();
    put(&mut store, b"GIF89a", 0);
    let object = find(&store);
    assert_eq!(fs::read(root.file()).unwrap(), b"GIF89a");
    assert!(object.is_current().unwrap());
    assert_eq!(word(store.root.find(PATH, URL)), "object");
    assert_eq!(word(store.root.find(PATH, "http://h/other.gif")), "foreign");
    fs::remove_file(root.file()).unwrap();
    assert!(!object.is_current().unwrap());
    assert_eq!(word(store.root.find(PATH, URL)), "absent");
}

#[test]
fn one_look_is_enough_for_requests_that_came_before_it() {
    let root = Root::new("look");
    let mut store = root.store();
    put(&mut store, b"GIF89a", 0);
    let object = find(&store);
    let policy = Policy {
        store_cookies: false,
        negative_seconds: 0,
    };
    let entry = Entry::read(object, policy, 0).unwrap();
    let moment = |turn, begun| Moment {
        now: 0,
        turn,
        begun,
    };
    assert!(entry.is_current(moment(1, true)));
    fs::remove_file(root.file()).unwrap();
    assert!(entry.is_current(moment(1, true)));
    assert!(!entry.is_current(moment(1, false)));
    assert!(!entry.is_current(moment(2, true)));
}

#[test]
fn what_is_deleted_while_it_gets_its_name_is_not_counted() {
    let root = Root::new("deleted");
    let mut store = root.store();
    let mut draft = store.create(Some(4)).unwrap().unwrap();
    draft.append(b"body").unwrap();
    let placed = draft.place(&store.root, PATH, meta(0)).unwrap();
    fs::remove_file(root.file()).unwrap();
    store.account(draft, placed);
    assert_eq!(store.space.objects(), 0);
    put(&mut store, b"body", 0);
    assert_eq!(store.space.objects(), 1);
}

#[test]
fn what_others_have_written_is_foreign() {
    let root = Root::new("foreign");
    let mut store = root.store();
    put(&mut store, b"one", 0);
    fs::write(root.file(), b"two").unwrap();
    assert_eq!(word(store.root.find(PATH, URL)), "foreign");
    put(&mut store, b"three", 0);
    assert_eq!(word(store.root.find(PATH, URL)), "object");
    fs::copy(root.file(), root.0.join("h/dir/b.gif")).unwrap();
    assert_eq!(word(store.root.find("h/dir/b.gif", URL)), "foreign");
    std::os::unix::fs::symlink(root.file(), root.0.join("h/link.gif")).unwrap();
    assert_eq!(word(store.root.find("h/link.gif", URL)), "foreign");
    std::os::unix::fs::symlink("/etc", root.0.join("h/etc")).unwrap();
    assert_eq!(word(store.root.find("h/etc/passwd", URL)), "foreign");
    assert_eq!(word(store.root.find("../etc/passwd", URL)), "foreign");
    assert_eq!(word(store.root.find("h/dir", URL)), "foreign");
}

#[test]
fn long_metadata_is_in_a_sidecar() {
    let root = Root::new("sidecar");
    let mut store = root.store();
    // More than any file system takes as one attribute.
    put(&mut store, b"body", 70_000);
    // And more than is read back: then it is a miss, not an error.
    assert_eq!(word(store.root.find(PATH, URL)), "foreign");
    put(&mut store, b"body", 0);
    assert_eq!(word(store.root.find(PATH, URL)), "object");
    assert!(store.remove(PATH));
    assert!(!store.root.exists("h/dir/a.gif#m"));
    store.remove_empty("h/dir");
    assert!(!store.root.exists("h/dir"));
}

#[test]
fn after_an_unclean_stop_bodies_are_checked() {
    let root = Root::new("unclean");
    let mut store = root.store();
    put(&mut store, b"body", 0);
    let object = find(&store);
    fs::write(root.0.join("#tmp.9"), b"half").unwrap();
    drop(store);
    // A body of the right length and time that lost its bytes, as after a power failure.
    let times =
        fs::FileTimes::new().set_modified(object.file.metadata().unwrap().modified().unwrap());
    let writer = File::options().write(true).open(root.file()).unwrap();
    writer.write_all_at(&[0; 4], 0).unwrap();
    writer.set_times(times).unwrap();
    let mut store = root.store();
    assert!(!store.root.exists("#tmp.9"));
    assert_eq!(word(store.root.find(PATH, URL)), "foreign");
    assert!(
        store.create(Some(1)).unwrap().is_none(),
        "nobody knows what is in use"
    );
    store.space.end_count();
    put(&mut store, b"body", 0);
    store.close().unwrap();
    drop(store);
    let store = root.store();
    assert_eq!(word(store.root.find(PATH, URL)), "object");
    assert!(
        Store::open(&root.0, 1 << 20).is_err(),
        "two caches in one directory"
    );
}

#[test]
fn the_number_of_a_run_is_replaced_and_never_cut() {
    let root = Root::new("era");
    for expected in 1..=3 {
        let era = root.store().root.era();
        assert_eq!(era, expected, "after a stop that was none");
        // A power failure leaves the old file or the new one: what was there is not written to.
        let kept = root.0.join(format!("kept{era}"));
        fs::hard_link(root.0.join("#era"), &kept).unwrap();
    }
    for era in 1..=3 {
        let kept = fs::read_to_string(root.0.join(format!("kept{era}")));
        assert_eq!(kept.unwrap(), format!("{era}\n"));
    }
}

#[test]
fn room_is_made_before_it_is_used() {
    let root = Root::new("room");
    let mut store = root.store();
    put(&mut store, &[7; 500_000], 0);
    let draft = store.create(Some(400_000)).unwrap().unwrap();
    assert!(root.file().exists());
    store.discard(draft);
    let draft = store.create(Some(800_000)).unwrap().unwrap();
    assert!(!root.file().exists());
    assert_eq!(store.evictions.values().sum::<u64>(), 1);
    assert!(
        store.create(Some(800_000)).unwrap().is_none(),
        "reserved is used"
    );
    store.discard(draft);
    assert!(store.create(Some(2 << 20)).unwrap().is_none());
}
