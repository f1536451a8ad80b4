//! The `tidelog-jepsen` program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use clap::Parser;
use tidelog_jepsen::options::Options;
use tidelog_jepsen::run::{Stopped, run};
use tidelog_jepsen::verdict::{Report, Verdict};
use tidelog_properties::History;

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match &options.judge {
        Some(file) => judge(file),
        None => supervised(&options),
    };
    match result {
        Ok(code) => code,
        Err(sentence) => {
            eprintln!("tidelog-jepsen: {sentence}");
            Verdict::Environment.into()
        }
    }
}

/// Judges a history that was kept.
fn judge(file: &Path) -> Result<ExitCode, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{} can not be read: {error}", file.display()))?;
    let history = History::from_json_lines(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    let report = Report::judge(&history, true);
    println!("{report}");
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
    println!("tidelog-jepsen: seed {seed}, {} s of faults, logs in {}", options.time.as_secs(), directory.display());
    let result = run(options, seed, &directory, &interrupted);
    let (code, keep) = match &result {
        Ok(report) => {
            println!("{report}");
            (report.verdict().into(), report.verdict() != Verdict::Pass)
        }
        Err(Stopped::Interrupted) => {
            eprintln!("tidelog-jepsen: interrupted; everything is ended");
            (ExitCode::from(130), false)
        }
        Err(Stopped::Environment(sentence)) => {
            eprintln!("tidelog-jepsen: {sentence}");
            // If it did not come to logs, there is nothing to keep.
            (Verdict::Environment.into(), fs::remove_dir(&directory).is_err())
        }
    };
    if !directory.exists() {
        return Ok(code);
    }
    if keep || options.out.is_some() {
        println!("logs, data and history are in {}", directory.display());
    } else if let Err(error) = fs::remove_dir_all(&directory) {
        eprintln!("tidelog-jepsen: {} is left behind: {error}", directory.display());
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
