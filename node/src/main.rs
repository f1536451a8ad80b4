//! The `tidelog` program.

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    tidelog::cli::run(<tidelog::cli::Cli as clap::Parser>::parse())
}

#[cfg(madsim)]
fn main() {
    eprintln!("built for simulated machines: there are no commands");
}
