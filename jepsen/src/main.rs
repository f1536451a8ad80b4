//! The `tidelog-jepsen` program.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use clap::Parser;
use tidelog_jepsen::options::Options;
use tidelog_jepsen::out;
use tidelog_jepsen::run::{Stopped, run};
use tidelog_jepsen::verdict::{Report, Verdict};
use tidelog_properties::History;

/// The exit code of a command line that says nothing we know.
const REFUSED: u8 = 2;
/// The exit code of a run that somebody ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(text) => {
            let printed = text.print().and_then(|()| io::stdout().flush());
            return match printed {
                _ if text.use_stderr() => ExitCode::from(REFUSED),
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => unprinted(&error),
            };
        }
    };
    let result = match &options.judge {
        Some(file) => judge(file),
        None => supervised(&options),
    };
    let code = result.unwrap_or_else(|sentence| {
        out::complain(sentence);
        Verdict::Environment.into()
    });
    match out::lost() {
        // A verdict that is not good is told whatever became of the words.
        Some(error) if code == ExitCode::SUCCESS || code == ExitCode::from(INTERRUPTED) => unprinted(error),
        Some(_) | None => code,
    }
}

/// How the process ends if nobody reads what it prints, or there is no room for it.
fn unprinted(error: &io::Error) -> ExitCode {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return out::UNREAD.into();
    }
    out::complain(format_args!("could not write to stdout ({error}): repair that and run it again"));
    Verdict::Environment.into()
}

/// Judges a history that was kept.
fn judge(file: &Path) -> Result<ExitCode, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{} can not be read: {error}", file.display()))?;
    let history = History::from_json_lines(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    let report = Report::judge(&history, true);
    out::say(&report);
    Ok(report.verdict().into())
}

/// Runs in a directory that goes if nobody needs it.
fn supervised(options: &Options) -> Result<ExitCode, String> {
    let drawn = || {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::from(since.subsec_nanos()) ^ since.as_secs().rotate_left(32)
    };
    let seed = options.seed.unwrap_or_else(|| drawn() % 1_000_000_000);
    let directory = directory(options, seed)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    watch_signals(Arc::clone(&interrupted))?;
    let (time, logs) = (options.time.as_secs(), directory.display());
    out::say(format_args!("tidelog-jepsen: seed {seed}, {time} s of faults, logs in {logs}"));
    let result = run(options, seed, &directory, &interrupted);
    let (code, keep) = match &result {
        Ok(report) => {
            out::say(report);
            (report.verdict().into(), report.verdict() != Verdict::Pass)
        }
        Err(Stopped::Interrupted) => {
            if out::lost().is_none() {
                out::complain("interrupted; everything is ended");
            }
            (ExitCode::from(INTERRUPTED), false)
        }
        Err(Stopped::Environment(sentence)) => {
            out::complain(sentence);
            // If it did not come to logs, there is nothing to keep.
            (Verdict::Environment.into(), fs::remove_dir(&directory).is_err())
        }
    };
    if !directory.exists() {
        return Ok(code);
    }
    if keep || options.out.is_some() {
        out::say(format_args!("logs, data and history are in {}", directory.display()));
    } else if let Err(error) = fs::remove_dir_all(&directory) {
        out::complain(format_args!("{} is left behind: {error}", directory.display()));
    }
    Ok(code)
}

/// A directory that is there and empty.
fn directory(options: &Options, seed: u64) -> Result<PathBuf, String> {
    let directory = match &options.out {
        Some(directory) => directory.clone(),
        None => std::env::temp_dir().join(format!("tidelog-jepsen-{}-{seed}", std::process::id())),
    };
    let failed = |error| format!("{} can not be used: {error}", directory.display());
    fs::create_dir_all(&directory).map_err(failed)?;
    if fs::read_dir(&directory).map_err(failed)?.next().is_some() {
        return Err(format!("{} is not empty: give --out another", directory.display()));
    }
    fs::canonicalize(&directory).map_err(failed)
}

/// Ctrl-C and SIGTERM end the run in good order, from now on.
fn watch_signals(interrupted: Arc<AtomicBool>) -> Result<(), String> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error: std::io::Error| format!("the system takes no signal handler: {error}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let inside = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    drop(inside);
    let watch = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        interrupted.store(true, Ordering::Relaxed);
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop).map_err(failed)
}
