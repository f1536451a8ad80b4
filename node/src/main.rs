//! The `tidelog` program.

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    tidelog::cli::main()
}

#[cfg(madsim)]
fn main() {
    eprintln!("built for simulated machines: there are no commands");
}
