//! Disks that are full and directories that cannot be written: what was recorded stays, and recording goes on afterwards.
//!
//! Room is taken away for real, by the system's limit on the size of a file (`ulimit -f`, with its signal ignored, as
//! anybody may set it): the test starts itself again under that limit. A write then ends in the middle, as on a full disk.

#![cfg(unix)]

use super::*;
use crate::input::Kind;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Limit in units of `ulimit -f`, which are 512 or 1024 bytes, whatever the shell.
const LIMIT: u32 = 12;

fn epoch(number: u64) -> (Epoch, Vec<Input>) {
    (
        number * 1000,
        (0..9).map(|row| strategy::row(Kind::ALL[(number as usize * 3 + row) % Kind::ALL.len()], number + row as u64)).collect(),
    )
}

/// The part that runs under the limit: writes until there is no room, comes back, and finds what it was told.
fn write_until_full(dir: &Path, options: Options) {
    let mut writer = LogWriter::create(dir, Header::input("north"), options).unwrap();
    let mut last = None;
    for number in 1..10_000 {
        let (epoch, rows) = epoch(number);
        match writer.append_epoch(epoch, &rows) {
            Ok(()) => last = Some(epoch),
            Err(error) => {
                assert!(matches!(&error, LogError::Write { last_epoch, .. } if *last_epoch == last && last.is_some()), "{error:?}");
                assert!(error.to_string().contains(&format!("everything up to epoch {} is safe", last.unwrap())), "{error}");
                assert!(matches!(writer.append_epoch(epoch + 1, &rows), Err(LogError::Failed { last_epoch }) if last_epoch == last));
                drop(writer);
                // There is no more room than before; reading and reopening need none.
                let mut again = LogWriter::open_append(dir, options).unwrap();
                assert_eq!(again.last_epoch(), last);
                assert!(matches!(again.append_epoch(epoch, &rows), Err(LogError::Write { .. })));
                assert_eq!(read(dir).epochs.last().unwrap().0, last.unwrap());
                return;
            }
        }
    }
    panic!("the limit does not hold");
}

#[test]
#[ignore = "started by the next test, in a process whose files cannot grow"]
fn under_a_limit() {
    // The harness passes unknown names on as filters: the directory is one of them.
    let Some(dir) = std::env::args().find_map(|argument| argument.strip_prefix("dir=").map(PathBuf::from)) else { return };
    write_until_full(&dir, Options { segment_bytes: 1 << 20, ..Options::default() });
}

#[test]
fn a_full_disk_loses_nothing_and_recording_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let script = format!("trap '' XFSZ; ulimit -f {LIMIT}; exec \"$0\" \"$@\"");
    let status = Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "log::tests::disk::under_a_limit"])
        .arg(format!("dir={}", log.display()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success() && text.contains("1 passed"), "{text}");
    let recorded = read(&log);
    assert!(recorded.error.is_none() && recorded.torn.is_none() && recorded.epochs.len() > 3);
    let length = fs::metadata(segment(&log, 1)).unwrap().len();
    assert!(length <= u64::from(LIMIT) * 1024 && length + 4000 > u64::from(LIMIT) * 512, "it was the limit that ended it: {length}");
    let mut writer = LogWriter::open_append(&log, Options::default()).unwrap();
    let expected: Vec<_> = (1..=recorded.epochs.len() as u64 + 20).map(epoch).collect();
    for (epoch, rows) in &expected[recorded.epochs.len()..] {
        writer.append_epoch(*epoch, rows).unwrap();
    }
    writer.close().unwrap();
    assert!(read(&log).epochs == expected);
}

#[test]
#[allow(clippy::print_stdout)] // a test that cannot show anything says so
fn a_directory_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    write(&log, &sample(), SMALL);
    // Whoever may write everywhere still cannot make a file where the system has none of its own.
    if cfg!(target_os = "linux") {
        for place in ["/proc/gridflow", "/sys/gridflow"] {
            let error = LogWriter::create(Path::new(place), Header::input("north"), SMALL).unwrap_err().to_string();
            assert!(error.contains(place), "{error}");
        }
    }
    let reason = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
    let error = write_error(&log, &log.join("lock"), "open for writing", reason).to_string();
    assert!(error.starts_with(&format!("{} cannot be written", log.display())), "{error}");

    for (name, _) in files(&log) {
        fs::set_permissions(log.join(name), fs::Permissions::from_mode(0o444)).unwrap();
    }
    fs::set_permissions(&log, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::File::options().append(true).open(segment(&log, 1)).is_ok() {
        println!("skipped: this user may write everywhere");
    } else {
        assert!(matches!(LogWriter::open_append(&log, SMALL), Err(LogError::ReadOnly { dir, .. }) if dir == log));
        assert!(matches!(LogWriter::create(&log.join("new"), Header::input("north"), SMALL), Err(LogError::ReadOnly { .. })));
        assert_eq!(read(&log).epochs, sample(), "reading needs no right to write");
    }
    fs::set_permissions(&log, fs::Permissions::from_mode(0o755)).unwrap();
}
