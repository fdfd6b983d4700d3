//! The lock between two who know nothing of each other, as two processes do.

use tempfile::TempDir;

use super::*;

fn lock(folder: &TempDir) -> Arc<Lock> {
    Arc::new(Lock::new(&folder.path().join("apikeys.json")))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(30)
}

#[test]
fn one_holds_it_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, other) = (lock(&folder), lock(&folder));
    let held = one.hold(Patience::of(Duration::ZERO)).expect("free");
    let error = other.hold(Patience { flock: soon(), directory: soon() }).expect_err("held");
    assert_eq!(error.code(), "ELOCKED");
    assert!(error.to_string().contains("apikeys.json.flock"), "{error}");
    assert!(folder.path().join("apikeys.json.lock").is_dir());
    drop(held);
    assert!(!folder.path().join("apikeys.json.lock").exists());
    other.hold(Patience::of(Duration::ZERO)).expect("free again");
}

#[test]
fn a_directory_of_the_old_protocol_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path().join("apikeys.json.lock");
    fs::create_dir(&directory).expect("made");
    let error = lock(&folder).hold(Patience { flock: soon(), directory: soon() }).expect_err("held");
    assert_eq!((error.code(), error.path()), ("ELOCKED", directory.as_path()));
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(50));
            fs::remove_dir(&directory).expect("removed");
        });
        lock(&folder).hold(Patience::of(Duration::from_secs(30))).expect("free by then");
    });
}

#[test]
fn what_one_of_ours_left_behind_is_taken_over_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let flock = lock(&folder).flock(soon()).expect("free");
    // A process that dies releases the flock, and nothing else.
    std::mem::forget(flock.directory(soon()).expect("free"));
    flock.file.unlock().expect("unlocked");
    let _held = lock(&folder).hold(Patience::of(Duration::ZERO)).expect("taken over");
}

#[test]
fn a_directory_is_adopted_only_while_it_is_the_one_that_was_watched() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("apikeys.json.lock");
    fs::create_dir(&path).expect("made");
    let watched = identity(&path).expect("there");
    let other = Identity { inode: watched.inode + 1, ..watched };
    assert!(adopt(&path, other).expect("looked at").is_none());
    assert!(adopt(&path, watched).expect("adopted").is_some());
    let watched = identity(&path).expect("there");
    assert!(fs::remove_dir(&path).is_err(), "a holder that wakes up can't remove it");
    fs::remove_file(path.join(ADOPTED)).expect("there");
    fs::remove_dir(&path).expect("empty");
    assert!(adopt(&path, watched).expect("looked at").is_none(), "it was released");
}
