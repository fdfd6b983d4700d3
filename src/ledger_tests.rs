//! The store on a real folder, with the clock in the test's hand.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::commit::Delta;
use crate::disk;
use crate::usage::Use;

const NOW: f64 = 1_767_225_600_123.0;

struct Fixture {
    ledger: Arc<Ledger>,
    file: PathBuf,
    folder: TempDir,
}

fn open(keys: &[&str]) -> Fixture {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("data").join("apikeys.json");
    let settings =
        Settings { data_file: file.clone(), max_size: 4, ttl_ms: 1000.0, revalidate_ms: 100.0, fsync: false };
    let fixture = Fixture { ledger: Ledger::open(settings).expect("the ledger opens"), file, folder };
    fixture.save(&text(keys));
    fixture
}

fn text(keys: &[&str]) -> String {
    let objects: Vec<String> = keys.iter().map(|key| format!("{{\"key\":\"{key}\",\"usage_windows\":[]}}")).collect();
    format!("{{\"keys\":[{}]}}", objects.join(","))
}

fn used(key: &str, tokens: f64) -> Delta {
    Delta { key: key.as_bytes().into(), used: Use { tokens, at: NOW as i64 } }
}

impl Fixture {
    /// As another program would: a new file in the place of the old one.
    fn save(&self, text: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, text).expect("written");
        fs::rename(&new, &self.file).expect("replaced");
    }

    /// Lets the file rest until what was read of it is trusted.
    fn rest(&self) {
        thread::sleep(Duration::from_millis(40));
        self.ledger.load(NOW).expect("loaded");
    }

    fn find(&self, key: &str, now: f64) -> Found {
        self.ledger.find(key.as_bytes(), now, true, false)
    }

    fn commit(&self, deltas: &[Delta]) -> Result<()> {
        let patience = Duration::from_secs(5);
        self.ledger.commit(&mut deltas.to_vec(), None, NOW, true, patience).map(|_| ())
    }

    fn total(&self, key: &str) -> u64 {
        let bytes = disk::read(&self.file, None).expect("read").bytes.expect("a file");
        let document = Document::parse(bytes).expect("a data file");
        let object = document.get(key.as_bytes()).expect("the key");
        let value: serde_json::Value = serde_json::from_str(object).expect("an object");
        value["total_lifetime_tokens"].as_u64().unwrap_or(0)
    }

    fn counters(&self) -> (u64, u64) {
        self.ledger.with_cache(|cache| cache.counters())
    }
}

#[test]
fn each_lookup_counts_once() {
    let fixture = open(&["a"]);
    assert_eq!(fixture.find("a", NOW), Found::Load { counted: true });
    fixture.rest();
    assert!(matches!(fixture.ledger.find(b"a", NOW, false, true), Found::Entry(_)));
    assert_eq!(fixture.counters(), (0, 1));
    assert!(matches!(fixture.find("a", NOW), Found::Entry(_)));
    assert_eq!(fixture.find("b", NOW), Found::Unknown);
    assert_eq!(fixture.find("b", NOW), Found::Unknown);
    assert_eq!(fixture.counters(), (2, 2));
}

#[test]
fn a_hit_is_answered_without_a_look_until_one_is_due() {
    let fixture = open(&["a"]);
    fixture.rest();
    let Found::Entry(stamp) = fixture.find("a", NOW) else { panic!("it is there") };
    fixture.save(&text(&["b"]));
    assert_eq!(fixture.find("a", NOW + 99.0), Found::Entry(stamp));
    assert_eq!(fixture.find("a", NOW + 100.0), Found::Load { counted: false });
    assert_eq!(fixture.find("a", NOW - 1.0), Found::Load { counted: false }, "the clock was set back");
    fixture.ledger.load(NOW + 100.0).expect("loaded");
    assert_eq!(fixture.ledger.find(b"a", NOW + 100.0, true, true), Found::Unknown);
}

#[test]
fn a_miss_is_answered_from_the_file_as_it_is() {
    let fixture = open(&["a"]);
    fixture.rest();
    fixture.save(&text(&["a", "b"]));
    assert_eq!(fixture.find("b", NOW), Found::Load { counted: true });
}

#[test]
#[cfg_attr(miri, ignore = "files have no time of change (st_ctime) there")]
fn a_file_that_was_read_as_it_changed_is_read_again() {
    let fixture = open(&["a"]);
    fixture.save(&text(&["a"]));
    fixture.ledger.load(NOW).expect("loaded");
    assert!(!fixture.ledger.look(NOW), "another edit in the same tick would look the same");
    fixture.rest();
    assert!(fixture.ledger.look(NOW));
}

#[test]
fn what_we_wrote_is_trusted_at_once() {
    let fixture = open(&["a"]);
    fixture.commit(&[used("a", 1.0)]).expect("committed");
    assert!(fixture.ledger.look(NOW));
}

#[test]
fn a_reload_replaces_just_what_changed() {
    let fixture = open(&["a", "b"]);
    fixture.rest();
    let (a, b) = (fixture.find("a", NOW), fixture.find("b", NOW));
    fixture
        .save(&text(&["a"]).replace("]}]", "],\"new\":1}]").replace("}]}", "},{\"key\":\"b\",\"usage_windows\":[]}]}"));
    assert!(fixture.ledger.load(NOW).expect("loaded"));
    assert_ne!(fixture.ledger.find(b"a", NOW, true, true), a);
    assert_eq!(fixture.ledger.find(b"b", NOW, true, true), b);
}

#[test]
fn deltas_are_applied_to_what_the_file_holds_by_then() {
    let fixture = open(&["a"]);
    fixture.rest();
    fixture.save("{\"theirs\":1,\"keys\":[{\"key\":\"a\",\"total_lifetime_tokens\":10}]}");
    fixture.commit(&[used("a", 1.0), used("nobody", 1.0), used("a", 2.0)]).expect("committed");
    assert_eq!(fixture.total("a"), 13);
    assert!(fs::read_to_string(&fixture.file).expect("text").contains("\"theirs\":1"));
    assert!(matches!(fixture.find("a", NOW), Found::Entry(_)));
    assert_eq!(fixture.counters(), (1, 0), "a hit");
}

#[test]
fn an_update_of_nobody_writes_nothing() {
    let fixture = open(&["a"]);
    let before = fs::metadata(&fixture.file).expect("metadata");
    fixture.commit(&[used("nobody", 1.0)]).expect("committed");
    let after = fs::metadata(&fixture.file).expect("metadata");
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
    assert_eq!(fixture.ledger.with_cache(|cache| cache.len()), 0);
}

#[test]
fn a_bad_file_is_never_overwritten_and_its_last_good_state_answers() {
    let fixture = open(&["a"]);
    fixture.rest();
    fixture.find("a", NOW);
    fixture.save("{\"keys\":[{\"key\":\"a\"}");
    thread::sleep(Duration::from_millis(40));
    let error = fixture.ledger.load(NOW + 200.0).expect_err("half saved");
    assert_eq!(error.code(), "EDATA");
    assert!(matches!(fixture.find("a", NOW + 200.0), Found::Entry(_)));
    assert_eq!(fixture.find("b", NOW + 200.0), Found::Uncached, "nothing new is kept");
    assert_eq!(fixture.commit(&[used("a", 1.0)]), Err(error));
    assert_eq!(fs::read_to_string(&fixture.file).expect("text"), "{\"keys\":[{\"key\":\"a\"}");

    fixture.save(&text(&["a"]));
    fixture.commit(&[used("a", 1.0)]).expect("mended");
    assert_eq!(fixture.total("a"), 1);
}

#[test]
fn a_replacement_keeps_mode_and_link() {
    let fixture = open(&["a"]);
    let link = fixture.folder.path().join("link.json");
    std::os::unix::fs::symlink("data/apikeys.json", &link).expect("a link");
    fs::set_permissions(&fixture.file, fs::Permissions::from_mode(0o640)).expect("the mode is set");
    let settings = Settings { data_file: link.clone(), ..fixture.ledger.settings().clone() };
    let ledger = Ledger::open(settings).expect("the ledger opens");
    let patience = Duration::from_secs(5);
    ledger.commit(&mut vec![used("a", 1.0)], None, NOW, true, patience).expect("committed");
    assert!(fs::symlink_metadata(&link).expect("metadata").is_symlink());
    assert_eq!(fs::metadata(&fixture.file).expect("metadata").mode() & 0o7777, 0o640);
    assert_eq!(fixture.total("a"), 1);
}

/// Its answer would bring a revoked key back.
#[test]
fn who_has_read_before_somebody_else_wrote_puts_nothing_in() {
    let fixture = open(&["revoked"]);
    fixture.ledger.load(NOW).expect("loaded");
    let slow = fixture.ledger.source.state().read.clone().expect("read");
    let version = fixture.ledger.source.state().version;
    fixture.ledger.replace(text(&["a"]), None, NOW, Duration::from_secs(5)).expect("replaced");
    assert!(fixture.ledger.source.state_mut().put(slow, version).is_err());
    assert_eq!(fixture.find("revoked", NOW), Found::Unknown);
    assert!(matches!(fixture.find("a", NOW), Found::Entry(_)));
}

#[test]
fn equal_settings_are_one_ledger() {
    let fixture = open(&["a"]);
    let settings = fixture.ledger.settings().clone();
    assert!(Arc::ptr_eq(&fixture.ledger, &Ledger::open(settings.clone()).expect("the ledger opens")));
    let other = Ledger::open(Settings { max_size: 5, ..settings }).expect("the ledger opens");
    assert!(!Arc::ptr_eq(&fixture.ledger, &other));
}

/// Many threads, two ledgers on one file as two processes have them, readers and reloads in between: every update
/// counts once, and after a commit nobody sees an older state.
#[test]
fn concurrent_commits_and_reloads_lose_nothing_and_never_go_back() {
    const WRITERS: usize = if cfg!(miri) { 2 } else { 4 };
    const COMMITS: usize = if cfg!(miri) { 2 } else { 60 };
    let fixture = open(&["a", "b"]);
    let settings = fixture.ledger.settings().clone();
    let other = Ledger::open(Settings { max_size: 3, ..settings }).expect("the ledger opens");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = [&fixture.ledger, &other, &fixture.ledger, &other]
            .into_iter()
            .take(WRITERS)
            .map(|ledger| {
                scope.spawn(move || {
                    let mut last = 0.0;
                    for _ in 0..COMMITS {
                        let patience = Duration::from_secs(30);
                        ledger.commit(&mut vec![used("a", 1.0)], None, NOW, true, patience).expect("committed");
                        let object = ledger.read(b"a").expect("the key");
                        let value: serde_json::Value = serde_json::from_str(&object).expect("an object");
                        let total = value["total_lifetime_tokens"].as_f64().expect("a total");
                        assert!(total > last, "{total} after {last}");
                        last = total;
                    }
                })
            })
            .collect();
        for ledger in [&fixture.ledger, &other] {
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    ledger.load(NOW).expect("loaded");
                    ledger.find(b"b", NOW, true, false);
                }
            });
        }
        let results: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        assert!(results.iter().all(std::result::Result::is_ok), "{results:?}");
    });
    assert_eq!(fixture.total("a"), (WRITERS * COMMITS) as u64);
    let left: Vec<_> = fs::read_dir(fixture.file.parent().expect("a folder"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name != "apikeys.json" && name != "apikeys.json.flock")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_first_commit_and_one_after_a_death_sweep_what_the_dead_have_left() {
    let fixture = open(&["a"]);
    let beside = fixture.file.parent().expect("a folder");
    let left = beside.join(".apikeys.json.keyledger-dead12.tmp");
    let others = [beside.join(".other.json.keyledger-alive1.tmp"), beside.join("apikeys.json.tmp")];
    for path in others.iter().chain([&left]) {
        fs::write(path, "").expect("written");
    }
    fixture.commit(&[used("a", 1.0)]).expect("committed");
    assert!(!left.exists(), "swept at the first commit");

    fs::write(&left, "").expect("written");
    fixture.commit(&[used("a", 1.0)]).expect("committed");
    assert!(left.exists(), "nobody died: the folder is not read again");

    let flock = fixture.ledger.flock(Duration::ZERO).expect("free");
    flock.die();
    fixture.commit(&[used("a", 1.0)]).expect("committed");
    assert!(!left.exists(), "swept after a death");
    assert!(others.iter().all(|path| path.exists()), "nobody else's files");
}

#[test]
fn what_it_occupies_is_claimed_once_and_again_when_its_user_is_gone() {
    let Fixture { ledger, .. } = &open(&["a"]);
    ledger.load(NOW).expect("loaded");
    let claims = |claimed: &mut i64| *claimed += ledger.claim(*claimed);
    let large = "x".repeat(1_000_000);
    let set = |key: &[u8]| ledger.set_cached(key, Value::Record(large.as_str().into()), NOW, None);
    let (mut first, mut second) = (0, 0);
    claims(&mut first);
    assert_eq!(first, 0, "too little to tell");
    set(b"a");
    claims(&mut first);
    claims(&mut second);
    assert!((1_000_000..1_100_000).contains(&first), "{first}");
    assert_eq!(second, 0);
    set(b"b");
    claims(&mut second);
    assert!((1_000_000..1_100_000).contains(&second), "{second}");
    ledger.with_cache(Cache::clear);
    claims(&mut first);
    assert_eq!(first, 0, "it gives back no more than it had");
    claims(&mut second);
    assert!(second < CLAIM_STEP, "{second}");
    set(b"a");
    claims(&mut first);
    ledger.unclaim(first);
    claims(&mut second);
    assert!((1_000_000..1_200_000).contains(&second), "{second}");
}
