//! A leader and its standby as processes: what happens when the leader is killed, stopped and woken, or ordered to go.
//!
//! A third process records a simulated region as it happens; leases and orders reach its log through the inbox. Judge: a
//! replay of the finished log. Whoever led, the output log must hold its rows, each once.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gridflow_inputs::Input;
use gridflow_inputs::input::{CommandKind, EngineFactKind, OperatorCommand};
use gridflow_inputs::log::inbox;
use gridflow_inputs::matpower::IEEE14;
use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::units::MilliWatts;
use gridflow_operators::decision::{AlarmKind, Output, Stream};

use crate::support::{changelog, epochs, record_demo, replay_into, scratch, workers, write_log};

/// Seconds of the region in a second.
const PACE: &str = "20";
/// Length of the lease, of the region's time: three seconds of ours.
const LEASE_MS: &str = "60000";

struct Region {
    dir: tempfile::TempDir,
    recorder: Child,
}

impl Region {
    fn start(minutes: &str) -> Self {
        let dir = scratch();
        let network = dir.path().join("ieee14.m");
        std::fs::write(&network, IEEE14).expect("scratch can be written");
        let recorder = Command::new(env!("CARGO_BIN_EXE_gridflow"))
            .args(["simulate", "--minutes", minutes, "--seed", "3", "--pace", PACE, "--json", "--network"])
            .arg(&network)
            .arg("--out")
            .arg(dir.path().join("log"))
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary is built");
        let region = Self { dir, recorder };
        wait_until("the log has begun", || epochs_of(&region.log()) > 5);
        region
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn run(&self, name: &str, more: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_gridflow"))
            .args(["run", "--json", "--workers", "1", "--checkpoint-every", "50", "--lease-ms", LEASE_MS, "--name", name])
            .args(more)
            .arg("--from-log")
            .arg(self.log())
            .arg("--state")
            .arg(self.state())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary is built")
    }

    /// Lets the region end, the process that leads come to the end of the log, and compares with a replay.
    fn judge(mut self, leader: Child) -> serde_json::Value {
        assert!(self.recorder.wait().expect("it was started").success());
        let all = epochs(&self.log());
        let last = all.last().expect("there are epochs").0;
        let state = self.state();
        wait_until("the leader has come to the end", || newest_output(&state) >= Some(last - 5_000));
        signal(&leader, "INT");
        let output = leader.wait_with_output().expect("it was started");
        assert_eq!(output.status.code(), Some(gridflow::EXIT_INTERRUPTED), "{}", String::from_utf8_lossy(&output.stderr));
        let took_over: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
        assert!(took_over["took_over"].is_string() && took_over["term"] == 1, "{took_over}");
        assert!(took_over["compared"].as_u64() > Some(0), "it compared before it led: {took_over}");
        // Once more to the end, by whoever may lead now.
        let output = self.run("last", &["--until-end"]).wait_with_output().expect("it was started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let straight = self.dir.path().join("straight");
        let digest = replay_into(&self.log(), &straight, workers(1)).summary.digest;
        for stream in Stream::ALL {
            assert_eq!(changelog(&straight, *stream), changelog(&self.state().join("out"), *stream), "{}", stream.name());
        }
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
        assert_eq!(summary["digest"], digest.as_str());
        summary
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let _ = self.recorder.kill();
        let _ = self.recorder.wait();
    }
}

fn epochs_of(log: &Path) -> usize {
    gridflow_inputs::log::LogReader::open(log).map_or(0, |reader| reader.take_while(Result::is_ok).count())
}

fn leases(log: &Path) -> Vec<i64> {
    let rows = epochs(log).into_iter().flat_map(|(_, rows)| rows);
    rows.filter_map(|row| match row {
        Input::EngineFact(fact) if fact.kind == EngineFactKind::Lease => Some(fact.value),
        _ => None,
    })
    .collect()
}

fn newest_output(state: &Path) -> Option<u64> {
    gridflow::journal::read_stream(&state.join("out"), Stream::Window).ok()?.filter_map(Result::ok).map(|(epoch, _)| epoch).last()
}

fn term(state: &Path) -> u64 {
    gridflow_inputs::log::newest_term(&state.join("out")).unwrap_or(0)
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1_200 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("a minute passed and not yet: {what}");
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status().expect("there is a kill");
    assert!(status.success());
}

#[cfg(unix)]
#[test]
fn a_standby_takes_over_from_a_killed_leader() {
    let region = Region::start("8");
    let mut leader = region.run("first", &[]);
    wait_until("the leader has renewed its lease twice", || leases(&region.log()).len() > 1);
    let standby = region.run("second", &["--standby"]);
    std::thread::sleep(Duration::from_secs(2));
    leader.kill().expect("it runs");
    leader.wait().expect("it was started");
    wait_until("a new term", || term(&region.state()) == 1);
    let summary = region.judge(standby);
    assert_eq!(summary["term"], 1);
}

#[cfg(unix)]
#[test]
fn a_leader_that_was_stopped_and_wakes_up_late_writes_nothing_that_counts() {
    let region = Region::start("8");
    let leader = region.run("first", &[]);
    wait_until("the leader has renewed its lease twice", || leases(&region.log()).len() > 1);
    let standby = region.run("second", &["--standby"]);
    std::thread::sleep(Duration::from_secs(2));
    signal(&leader, "STOP");
    wait_until("a new term", || term(&region.state()) == 1);
    let before = newest_output(&region.state());
    wait_until("the new leader has written", || newest_output(&region.state()) > before);
    signal(&leader, "CONT");
    let output = leader.wait_with_output().expect("it was started");
    assert_eq!(output.status.code(), Some(gridflow::EXIT_INTERNAL));
    assert!(String::from_utf8_lossy(&output.stderr).contains("leads in a later term"), "{}", String::from_utf8_lossy(&output.stderr));
    region.judge(standby);
}

#[cfg(unix)]
#[test]
fn a_hand_over_that_the_log_orders_ends_the_leader_in_peace() {
    let region = Region::start("8");
    let leader = region.run("first", &[]);
    wait_until("the leader has renewed its lease", || !leases(&region.log()).is_empty());
    let standby = region.run("second", &["--standby"]);
    std::thread::sleep(Duration::from_secs(2));
    let order = OperatorCommand {
        id: 1,
        event_ms: 0,
        operator: "ada".into(),
        kind: CommandKind::HandOver,
        equipment: EquipmentKind::Zone,
        equipment_id: 0,
        p: MilliWatts(0),
        expires_ms: 0,
    };
    inbox::post(&region.log(), "order-1", &order.into()).expect("the inbox takes orders");
    let output = leader.wait_with_output().expect("it was started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    assert_eq!(summary["handed_over"], true);
    region.judge(standby);
}

#[cfg(unix)]
#[test]
fn of_two_standbys_one_leads_and_the_other_follows_it() {
    let region = Region::start("8");
    let mut leader = region.run("first", &[]);
    wait_until("the leader has renewed its lease", || !leases(&region.log()).is_empty());
    let mut standbys = [region.run("second", &["--standby"]), region.run("third", &["--standby"])];
    std::thread::sleep(Duration::from_secs(3));
    leader.kill().expect("it runs");
    leader.wait().expect("it was started");
    wait_until("a new term", || term(&region.state()) == 1);
    // Long enough for three leases.
    std::thread::sleep(Duration::from_secs(9));
    assert_eq!(term(&region.state()), 1, "one cause, one term");
    for standby in &mut standbys {
        assert!(standby.try_wait().expect("it was started").is_none(), "both go on");
    }
    // Whichever follows is ended; the other is judged.
    let who = gridflow_inputs::log::Terms::load(&region.state().join("out")).expect("there are terms");
    let who = who.record().expect("a term was claimed").who.clone();
    let [second, third] = standbys;
    let (leads, mut follows) = if who.starts_with("second") { (second, third) } else { (third, second) };
    follows.kill().expect("it runs");
    follows.wait().expect("it was started");
    region.judge(leads);
}

#[test]
fn a_standby_that_computes_something_else_says_where_and_the_log_raises_an_alarm() {
    let dir = scratch();
    let (log, other, state) = (dir.path().join("log"), dir.path().join("other"), dir.path().join("state"));
    record_demo(&log, 3, 5);
    let run = |log: &Path, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridflow"));
        command.args(["run", "--until-end", "--json", "--name", "it"]).args(more).arg("--from-log").arg(log).arg("--state").arg(&state);
        command.output().expect("the binary is built")
    };
    assert!(run(&log, &[]).status.success());
    // The standby starts from the beginning, and one reading in its copy of the log is another.
    std::fs::remove_dir_all(state.join("checkpoints")).expect("they can be removed");
    let mut all = epochs(&log);
    let (changed, reading) = all
        .iter_mut()
        .skip(30)
        .find_map(|(epoch, rows)| {
            rows.iter_mut().find_map(|row| if let Input::Measurement(row) = row { Some((*epoch, row)) } else { None })
        })
        .expect("there are readings");
    reading.value += 1;
    write_log(&other, &all);
    let output = run(&other, &["--standby"]);
    assert_eq!(output.status.code(), Some(gridflow::EXIT_VERIFICATION), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("differs from the leader's"));
    let facts = inbox::drain(&other, 10).expect("it can be read").rows;
    let [Input::EngineFact(fact)] = facts.as_slice() else { panic!("one fact: {facts:?}") };
    assert!(fact.kind == EngineFactKind::Divergence && fact.value >= changed as i64, "{fact:?}");
    // In the log, it is an alarm.
    let last = all.last().expect("there are epochs").0;
    all.push((last + 1_000, facts.clone()));
    let told = dir.path().join("told");
    write_log(&told, &all);
    replay_into(&told, &dir.path().join("told-out"), workers(1));
    let alarms = changelog(&dir.path().join("told-out"), Stream::Alarm);
    let raised = &alarms[&(last + 1_000)];
    let stream = Stream::from_name(&fact.subject).expect("it names a stream");
    assert!(
        raised.iter().any(|(row, change)| *change == 1
            && matches!(row, Output::Alarm(alarm) if alarm.kind == AlarmKind::Divergence && alarm.id == stream as u32 && alarm.since_ms == fact.value)),
        "{raised:?}"
    );
}
