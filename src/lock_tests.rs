//! The lock between two who know nothing of each other, as two processes do.

use std::thread;

use tempfile::TempDir;

use super::*;

fn lock(folder: &TempDir) -> Arc<Lock> {
    let data_file = folder.path().join("apikeys.json");
    Arc::new(Lock::new(&data_file))
}

const AT_ONCE: Duration = Duration::ZERO;
const SOON: Duration = Duration::from_millis(30);

/// What a process that dies does: it releases the flock, and nothing else.
fn die(held: Held) {
    // Kept: what was forgotten would be a leak.
    static DEAD: Mutex<Vec<Held>> = Mutex::new(Vec::new());
    held.flock.die();
    DEAD.lock().push(held);
}

fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("read");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("read").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

fn hold(lock: &Arc<Lock>, patience: Duration) -> Result<Held> {
    lock.directory(&lock.flock(patience)?, Purpose::Commit, patience)
}

#[test]
fn one_holds_it_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, other) = (lock(&folder), lock(&folder));
    let held = hold(&one, AT_ONCE).expect("free");
    let error = hold(&other, SOON).expect_err("held");
    assert_eq!(error.code(), "ELOCKED");
    assert!(error.to_string().contains("apikeys.json.flock"), "{error}");
    assert!(folder.path().join("apikeys.json.lock").is_dir());
    drop(held);
    assert!(!folder.path().join("apikeys.json.lock").exists());
    hold(&other, AT_ONCE).expect("free again");
}

#[test]
fn a_directory_of_the_old_protocol_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path().join("apikeys.json.lock");
    fs::create_dir(&directory).expect("made");
    let error = hold(&lock(&folder), SOON).expect_err("held");
    assert_eq!((error.code(), error.path()), ("ELOCKED", directory.as_path()));
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(50));
            fs::remove_dir(&directory).expect("removed");
        });
        hold(&lock(&folder), Duration::from_secs(30)).expect("free by then");
    });
}

#[test]
fn what_one_of_ours_left_behind_is_taken_over_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let dead = lock(&folder);
    let flock = dead.flock(SOON).expect("free");
    assert!(!flock.is_inherited());
    die(dead.directory(&flock, Purpose::Commit, SOON).expect("free"));
    let other = lock(&folder);
    let flock = other.flock(AT_ONCE).expect("freed by the system");
    assert!(flock.is_inherited());
    drop(other.directory(&flock, Purpose::Commit, AT_ONCE).expect("taken over"));
    drop(flock);
    assert_eq!(names(&folder), ["apikeys.json.flock"]);
    assert!(!other.flock(AT_ONCE).expect("free").is_inherited());
}

#[test]
fn a_note_does_not_name_a_directory_that_somebody_else_has_made_since() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("apikeys.json.lock");
    let dead = lock(&folder);
    let flock = dead.flock(SOON).expect("free");
    die(dead.directory(&flock, Purpose::Commit, SOON).expect("free"));
    // Longer than a tick of the clock by which files are stamped: the inode may be the same.
    thread::sleep(Duration::from_millis(20));
    fs::remove_dir(&path).expect("there");
    fs::create_dir(&path).expect("made");
    let error = hold(&lock(&folder), SOON).expect_err("held by another program");
    assert_eq!((error.code(), error.path()), ("ELOCKED", path.as_path()));
}

#[test]
fn what_was_left_in_the_wings_is_in_nobodys_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let wings = folder.path().join("apikeys.json.lock.next");
    fs::create_dir(&wings).expect("made");
    fs::write(wings.join(ADOPTED), "").expect("written");
    drop(hold(&lock(&folder), AT_ONCE).expect("free"));
    assert_eq!(names(&folder), ["apikeys.json.flock"]);
}

#[test]
fn where_no_rename_refuses_to_replace_the_directory_is_made_in_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let dead = lock(&folder);
    let flock = dead.flock(AT_ONCE).expect("free");
    assert!(dead.make_in_place(&flock, Purpose::Caller).expect("made").is_some());
    assert_eq!(names(&folder), ["apikeys.json.flock", "apikeys.json.lock"]);
    flock.die();
    drop(hold(&lock(&folder), AT_ONCE).expect("taken over"));

    let flock = dead.flock(AT_ONCE).expect("free");
    fs::create_dir(folder.path().join("apikeys.json.lock")).expect("made");
    assert!(dead.make_in_place(&flock, Purpose::Caller).expect("tried").is_none(), "somebody else has it");
}

#[test]
fn a_refreshed_directory_is_newer_and_still_taken_over_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("apikeys.json.lock");
    let dead = lock(&folder);
    let flock = dead.flock(SOON).expect("free");
    let mut held = dead.directory(&flock, Purpose::Commit, SOON).expect("free");
    let before = identity(&path).expect("there");
    thread::sleep(Duration::from_millis(20));
    held.refresh().expect("refreshed");
    assert!(identity(&path).expect("there").modified_ns > before.modified_ns);
    die(held);
    hold(&lock(&folder), AT_ONCE).expect("taken over");
}

#[test]
fn what_is_held_for_a_caller_is_not_removed_by_who_was_taken_for_dead() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("apikeys.json.lock");
    let lock = lock(&folder);
    let held = lock.directory(&lock.flock(AT_ONCE).expect("free"), Purpose::Caller, AT_ONCE).expect("free");
    assert!(fs::remove_dir(&path).is_err());
    drop(held);
    assert_eq!(names(&folder), ["apikeys.json.flock"]);
}

#[test]
fn a_directory_is_released_whatever_lies_in_the_wings() {
    let folder = tempfile::tempdir().expect("a folder");
    let held = hold(&lock(&folder), AT_ONCE).expect("free");
    let wings = folder.path().join("apikeys.json.lock.next");
    fs::create_dir(&wings).expect("made");
    fs::write(wings.join("something"), "").expect("written");
    drop(held);
    assert_eq!(names(&folder), ["apikeys.json.flock"]);

    // What can't be removed is passed over.
    fs::write(&wings, "").expect("written");
    drop(hold(&lock(&folder), AT_ONCE).expect("free"));
    assert_eq!(names(&folder), ["apikeys.json.flock", "apikeys.json.lock.next"]);
}

#[test]
fn a_renewed_directory_whose_note_is_older_is_taken_over_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let dead = lock(&folder);
    let flock = dead.flock(AT_ONCE).expect("free");
    let held = dead.directory(&flock, Purpose::Caller, AT_ONCE).expect("free");
    thread::sleep(Duration::from_millis(20));
    touch(&folder.path().join("apikeys.json.lock")).expect("renewed");
    die(held);
    hold(&lock(&folder), AT_ONCE).expect("taken over");
}

#[test]
fn a_directory_that_others_took_from_us_stays_theirs() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("apikeys.json.lock");
    let held = hold(&lock(&folder), AT_ONCE).expect("free");
    fs::rename(&path, folder.path().join("ours")).expect("there");
    fs::create_dir(&path).expect("made");
    drop(held);
    assert!(path.is_dir());
}

#[test]
fn who_waits_for_a_vacancy_takes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("apikeys.json.lock");
    let lock = lock(&folder);
    let flock = lock.flock(AT_ONCE).expect("free");
    assert!(lock.vacancy(&flock, AT_ONCE).expect("vacant").is_none());
    assert!(!path.exists());
    fs::create_dir(&path).expect("made");
    assert_eq!(lock.vacancy(&flock, SOON).expect_err("held").code(), "ELOCKED");
}

#[test]
fn a_directory_is_adopted_only_while_it_is_the_one_that_was_watched() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("apikeys.json.lock");
    fs::create_dir(&path).expect("made");
    let watched = identity(&path).expect("there");
    let other = Identity { inode: watched.inode + 1, ..watched };
    assert!(!adopt(&path, other).expect("looked at"));
    assert!(adopt(&path, watched).expect("adopted"));
    let watched = identity(&path).expect("there");
    assert!(fs::remove_dir(&path).is_err(), "a holder that wakes up can't remove it");
    fs::remove_file(path.join(ADOPTED)).expect("there");
    fs::remove_dir(&path).expect("empty");
    assert!(!adopt(&path, watched).expect("looked at"), "it was released");
}
