//! One run from the first process to the verdict.
//!
//! Start; make a topic; load; break things for a while; end all faults; wait until every partition takes writes again; stop the
//! load and wait for every outcome; read everything back; judge.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use tidelog_properties::history::{Op, Process};

use crate::cluster::Cluster;
use crate::context::{Context, Notes};
use crate::java::Java;
use crate::load::{Sort, produce};
use crate::nemesis::Nemesis;
use crate::options::Options;
use crate::out;
use crate::plan::{self, Extent, Kind};
use crate::power::Disks;
use crate::probe::probe;
use crate::python::Python;
use crate::read;
use crate::record::Recorder;
use crate::scout::Scout;
use crate::verdict::Report;

const TICK: Duration = Duration::from_millis(10);
/// Who is who in a history.
const ADMIN: u64 = 1;
const PRODUCERS: [(u64, Sort); 3] = [(11, Sort::Idempotent), (12, Sort::Restarted), (13, Sort::Plain)];
const FOLLOWER: u64 = 21;
const HOPPER: u64 = 22;
const PROBE: u64 = 31;
const FINAL: u64 = 41;

/// Why there is no verdict.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// Something here is missing or broke; a sentence.
    Environment(String),
    /// Somebody pressed Ctrl-C, or takes no more of what is printed.
    Interrupted,
}

impl From<String> for Stopped {
    fn from(sentence: String) -> Self {
        Self::Environment(sentence)
    }
}

/// Runs. `directory` is there and empty, and everything that is left to look at is in it; `interrupted` ends the run early.
pub fn run(options: &Options, seed: u64, directory: &Path, interrupted: &AtomicBool) -> Result<Report, Stopped> {
    let python = Python::find(&options.python, directory)?;
    let java = options.java.as_deref().map(|jars| Java::find(jars, directory)).transpose()?;
    let binary = binary(options)?;
    let kinds = kinds(options)?;
    let failed = |what: &'static str| move |error: std::io::Error| Stopped::Environment(format!("{what}: {error}"));
    // Before the cluster, so that whatever happens it goes after it: a disk in use can not be unmounted.
    let mut disks = Disks::none();
    let mut cluster =
        Cluster::prepare(&binary, options.nodes, directory).map_err(failed("the cluster can not be prepared"))?;
    if kinds.contains(&Kind::Power) {
        disks = mount(options, &cluster, seed)?;
    }
    for id in cluster.ids() {
        cluster.start(id).map_err(failed("a node does not start"))?;
    }
    let context = Arc::new(Context {
        recorder: Recorder::default(),
        python,
        java,
        bootstrap: cluster.bootstrap(),
        topic: "jepsen".to_owned(),
        partitions: options.partitions,
        rate: options.rate,
        patience: options.patience,
        seed,
        values: AtomicU64::new(1),
        stop: AtomicBool::new(false),
        quiet: AtomicBool::new(false),
        notes: Mutex::new(Notes::default()),
    });
    let say = |text: String| {
        if !options.quiet {
            out::say(format_args!("{:8.3} {text}", context.recorder.now().as_secs_f64()));
        }
    };
    let mut stuck = Vec::new();
    if let Err(sentence) = begin(&context, &mut cluster, options.nodes, interrupted)? {
        let mut report = Report::default();
        report.stuck.push(sentence);
        return Ok(report);
    }
    say(format!("{} nodes are ready, topic {} is there", options.nodes, context.topic));
    if kinds.contains(&Kind::Power) && !disks.real() {
        say("power: nothing can be mounted here, so that it is a kill of all nodes at once; the page cache survives"
            .to_owned());
    }

    let load = Load::start(&context)?;
    let extent = Extent { nodes: options.nodes, partitions: options.partitions };
    let plan = plan::draw(seed, options.time, extent, &kinds);
    let mut scout = Scout::start(&context)?;
    let mut nemesis = Nemesis::new(&plan);
    let began = Instant::now();
    while began.elapsed() < options.time {
        check(interrupted, &load)?;
        match nemesis.next() {
            Some(at) if at <= began.elapsed() => {
                let done = nemesis.step(&mut cluster, &mut disks, &mut |leads| scout.leader(leads));
                done.map_err(failed("a node does not start"))?.into_iter().for_each(&say);
            }
            Some(_) | None => std::thread::sleep(TICK),
        }
    }
    nemesis.heal(&mut cluster).map_err(failed("a node does not start"))?;
    say("all faults have ended".to_owned());

    let healed = context.recorder.now();
    let deadline = Instant::now() + options.patience;
    let waiting = loop {
        check(interrupted, &load)?;
        let acknowledged = context.recorder.acknowledged();
        let silent: Vec<u32> = (0..options.partitions)
            .filter(|&it| i32::try_from(it).ok().and_then(|it| acknowledged.get(&it)).is_none_or(|&at| at < healed))
            .collect();
        if silent.is_empty() || deadline <= Instant::now() {
            break silent;
        }
        std::thread::sleep(TICK);
    };
    if waiting.is_empty() {
        let took = context.recorder.now().saturating_sub(healed);
        say(format!("every partition takes writes again, {} ms later", took.as_millis()));
    } else {
        let why: Vec<String> =
            cluster.ids().into_iter().filter_map(|id| Some(format!("node {id}: {}", cluster.unready(id)?))).collect();
        let why = if why.is_empty() { "all nodes say that they are ready".to_owned() } else { why.join("; ") };
        stuck.push(format!(
            "partitions {waiting:?} took no write within {} s after all faults had ended; {why}",
            options.patience.as_secs()
        ));
    }
    let left = load.stop(&context)?;
    if left > 0 {
        stuck.push(format!("{left} records of patient producers have no outcome, long after all faults had ended"));
    }
    check_interrupt(interrupted)?;
    say("the load has stopped; reading everything back".to_owned());
    let unread = read::read_all(&context, FINAL)?;
    if !unread.is_empty() {
        stuck.push(format!("partitions {unread:?} could not be read to their end"));
    }

    stuck.extend(cluster.deaths().iter().cloned());
    stuck.extend(cluster.panics());
    drop(cluster);
    if disks.real() {
        say(format!("power: {} sectors and names were written and not synced when it was lost", disks.at_stake()));
        disks.keep().map_err(failed("the data can not be kept"))?;
    }
    let history = context.recorder.history();
    let file = directory.join("history.jsonl");
    fs::write(&file, history.to_json_lines()).map_err(failed("the history can not be written"))?;
    let mut report = Report::judge(&history, unread.is_empty());
    report.stuck = stuck;
    report.faults.clone_from(nemesis.counts());
    report.time = options.time;
    if report.faults.values().all(|(_, struck)| *struck == 0) {
        report.vacuous.push("no fault struck".to_owned());
    }
    report.noticed(context.notes.lock().unwrap_or_else(PoisonError::into_inner).clone());
    Ok(report)
}

/// Disks that lose power, if they can be mounted.
fn mount(options: &Options, cluster: &Cluster, seed: u64) -> Result<Disks, Stopped> {
    let ids = cluster.ids();
    match Disks::mount(ids.iter().filter_map(|&id| cluster.data(id)), seed, options.lying_disks) {
        Ok(disks) => Ok(disks),
        Err(error) if options.lying_disks => Err(Stopped::Environment(format!(
            "no disk that lies can be mounted here ({error}): it takes root and /dev/fuse"
        ))),
        Err(_) => Ok(Disks::none()),
    }
}

/// Waits for the nodes, and makes the topic. The inner error: the cluster does not come to life.
fn begin(
    context: &Context,
    cluster: &mut Cluster,
    nodes: u32,
    interrupted: &AtomicBool,
) -> Result<Result<(), String>, Stopped> {
    let deadline = Instant::now() + context.patience;
    loop {
        check_interrupt(interrupted)?;
        if let Some(sentence) = cluster.deaths().first() {
            return Err(Stopped::Environment(sentence.clone()));
        }
        let unready: Vec<String> =
            cluster.ids().into_iter().filter_map(|id| Some(format!("node {id}: {}", cluster.unready(id)?))).collect();
        if unready.is_empty() {
            break;
        }
        if deadline <= Instant::now() {
            return Ok(Err(format!("the nodes did not become ready: {}", unready.join("; "))));
        }
        std::thread::sleep(TICK * 5);
    }
    let mut admin = read::asker(context, "admin")?;
    let (topic, partitions) = (context.topic.clone(), i32::try_from(context.partitions).unwrap_or(1));
    context.recorder.instant(Process(ADMIN), Op::CreateTopic { topic: topic.clone(), partitions, retention: false });
    loop {
        check_interrupt(interrupted)?;
        let asked = json!({"create": topic, "partitions": partitions, "replicas": nodes.min(3)});
        match admin.ask(&asked, Duration::from_secs(10))? {
            Ok(_) => return Ok(Ok(())),
            Err(error) if deadline <= Instant::now() => return Ok(Err(format!("no topic can be made: {error}"))),
            Err(_) => std::thread::sleep(TICK * 20),
        }
    }
}

/// What a client that is no producer does, until it is told to end.
type Work = fn(&Arc<Context>, u64) -> Result<(), String>;

/// The threads of clients.
struct Load {
    producers: Vec<JoinHandle<Result<u64, String>>>,
    others: Vec<JoinHandle<Result<(), String>>>,
    context: Arc<Context>,
}

impl Load {
    fn start(context: &Arc<Context>) -> Result<Self, Stopped> {
        let mut load = Self { producers: Vec::new(), others: Vec::new(), context: Arc::clone(context) };
        let failed = |error| Stopped::Environment(format!("no thread can be started: {error}"));
        for (id, sort) in PRODUCERS {
            let context = Arc::clone(context);
            let work = move || produce(&context, id, sort);
            load.producers.push(std::thread::Builder::new().spawn(work).map_err(failed)?);
        }
        let others: [(u64, Work); 3] = [(FOLLOWER, read::follow), (HOPPER, read::hop), (PROBE, probe)];
        for (id, work) in others {
            let context = Arc::clone(context);
            load.others.push(std::thread::Builder::new().spawn(move || work(&context, id)).map_err(failed)?);
        }
        Ok(load)
    }

    /// Whether all of them are at work.
    fn runs(&self) -> bool {
        !self.producers.iter().any(JoinHandle::is_finished) && !self.others.iter().any(JoinHandle::is_finished)
    }

    /// Ends all of them, the producers after every outcome is known. Gives how many never were.
    fn stop(mut self, context: &Context) -> Result<u64, Stopped> {
        let panicked = |_| "a thread panicked".to_owned();
        context.stop.store(true, Ordering::Relaxed);
        let mut left = 0;
        for thread in self.producers.drain(..) {
            left += thread.join().map_err(panicked)??;
        }
        context.quiet.store(true, Ordering::Relaxed);
        for thread in self.others.drain(..) {
            thread.join().map_err(panicked)??;
        }
        Ok(left)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.context.stop.store(true, Ordering::Relaxed);
        self.context.quiet.store(true, Ordering::Relaxed);
    }
}

fn check(interrupted: &AtomicBool, load: &Load) -> Result<(), Stopped> {
    check_interrupt(interrupted)?;
    if load.runs() {
        Ok(())
    } else {
        Err(Stopped::Environment("a client ended by itself; its log says why".to_owned()))
    }
}

fn check_interrupt(interrupted: &AtomicBool) -> Result<(), Stopped> {
    if interrupted.load(Ordering::Relaxed) || out::lost().is_some() { Err(Stopped::Interrupted) } else { Ok(()) }
}

fn binary(options: &Options) -> Result<PathBuf, String> {
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => {
            let own = std::env::current_exe().map_err(|error| format!("this program can not find itself: {error}"))?;
            own.with_file_name("tidelog")
        }
    };
    if binary.is_file() {
        Ok(binary)
    } else {
        Err(format!(
            "there is no program {}: build it with `cargo build --release`, or name it with --binary",
            binary.display()
        ))
    }
}

fn kinds(options: &Options) -> Result<BTreeSet<Kind>, String> {
    let possible = |kind: &Kind| options.nodes > 1 || !kind.needs_links();
    let Some(asked) = &options.nemesis else {
        return Ok(Kind::ALL.into_iter().filter(possible).collect());
    };
    match asked.iter().find(|kind| !possible(kind)) {
        Some(kind) => Err(format!("one node has no links: {} needs --nodes 2 or more", kind.name())),
        None => Ok(asked.iter().copied().collect()),
    }
}
