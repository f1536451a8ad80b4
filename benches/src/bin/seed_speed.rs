//! How much faster or slower one simulator is than another, on the same saved runs.
//!
//! OLD and NEW are two builds of `tidelog-sim`. Each replays every file of `--draw`, in one thread, one after the other: a file by
//! the one, the same file by the other, who comes first changing from file to file and from round to round, so that what else the
//! machine does falls on both. A round is all files by both. Printed are the ratios NEW / OLD, median and extremes over the rounds:
//! of the CPU time (user and system, in ticks of 10 ms: good to a thousandth or so over a round), and of the wall time. The steps
//! are those brokers took: a version that takes more of them for the same run may be slower for that alone.
//!
//! ```text
//! cargo build --release -p tidelog-sim
//! cargo run --release -p tidelog-benches --bin seed_speed -- ../before/tidelog-sim target/release/tidelog-sim
//! ```

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use tidelog_benches::figures::load;

/// What the kernel counts CPU time in.
const TICK: Duration = Duration::from_millis(10);

/// Compares the speed of two simulators on saved runs.
#[derive(Debug, Parser)]
struct Args {
    /// The build to compare with.
    old: PathBuf,
    /// The build that is compared.
    new: PathBuf,
    /// The folder with the saved runs.
    #[arg(long, default_value = "sim/draws/v1")]
    draw: PathBuf,
    /// How many rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// How many of the files, in the order of their names; all without it.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    files: Option<u32>,
}

/// What one build took for a round.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    cpu: Duration,
    wall: Duration,
    steps: u64,
}

fn main() -> ExitCode {
    match compare(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("seed_speed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args) -> Result<(), Box<dyn Error>> {
    let mut files: Vec<PathBuf> = fs::read_dir(&args.draw)
        .map_err(|error| format!("{}: {error}", args.draw.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files.truncate(args.files.map_or(usize::MAX, |files| files as usize));
    let Some(first) = files.first() else {
        return Err(format!("{} holds no saved run (*.txt)", args.draw.display()).into());
    };
    println!("{} at the start; {} files, {} rounds", load(), files.len(), args.rounds);
    // Both programs are in the page cache before anything counts.
    for program in [&args.old, &args.new] {
        replay(program, first)?;
    }
    let mut rounds: Vec<[Spent; 2]> = Vec::new();
    for round in 0..args.rounds as usize {
        let mut spent = [Spent::default(); 2];
        for (nth, file) in files.iter().enumerate() {
            let first = (nth + round) % 2;
            for which in [first, 1 - first] {
                let took = replay([&args.old, &args.new][which], file)?;
                spent[which].cpu += took.cpu;
                spent[which].wall += took.wall;
                spent[which].steps += took.steps;
            }
        }
        let [old, new] = spent;
        let seconds = |span: Duration| span.as_secs_f64();
        println!(
            "round {}: old {:.2} s of CPU, {:.2} s; new {:.2} s of CPU, {:.2} s",
            round + 1,
            seconds(old.cpu),
            seconds(old.wall),
            seconds(new.cpu),
            seconds(new.wall)
        );
        rounds.push(spent);
    }
    println!("NEW / OLD          median     least      most");
    show("CPU time", &rounds, |spent| spent.cpu.as_secs_f64());
    show("wall time", &rounds, |spent| spent.wall.as_secs_f64());
    show("steps", &rounds, |spent| spent.steps as f64);
    println!("{} at the end", load());
    Ok(())
}

fn show(what: &str, rounds: &[[Spent; 2]], of: impl Fn(&Spent) -> f64) {
    let mut ratios: Vec<f64> = rounds.iter().map(|[old, new]| of(new) / of(old)).collect();
    ratios.sort_by(f64::total_cmp);
    let median = (ratios[(ratios.len() - 1) / 2] + ratios[ratios.len() / 2]) / 2.0;
    println!("  {what:<15} {median:>7.4}   {:>7.4}   {:>7.4}", ratios[0], ratios[ratios.len() - 1]);
}

/// Replays a file, which must pass: a run that ends early is no measure.
fn replay(program: &Path, file: &Path) -> Result<Spent, Box<dyn Error>> {
    let before = children()?;
    let begun = Instant::now();
    let output = Command::new(program)
        .arg("replay")
        .arg(file)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let wall = begun.elapsed();
    let cpu = children()?.saturating_sub(before);
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("{} replay {}: {}\n{said}", program.display(), file.display(), output.status).into());
    }
    let words: Vec<&str> = said.split_whitespace().collect();
    let steps =
        words.windows(2).find(|pair| pair[1].trim_end_matches(',') == "steps").and_then(|pair| pair[0].parse().ok());
    let steps = steps.ok_or_else(|| format!("{} does not say how many steps it took: {said}", program.display()))?;
    Ok(Spent { cpu, wall, steps })
}

/// The CPU time of all children that have ended: fields 16 and 17 of `/proc/self/stat` (proc(5)).
fn children() -> Result<Duration, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The second field is a name, which may hold spaces.
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc/self/stat has no name")?;
    let ticks = fields.split_whitespace().skip(13).take(2).map(str::parse::<u32>).sum::<Result<u32, _>>()?;
    Ok(TICK * ticks)
}
