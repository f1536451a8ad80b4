//! The frozen draw: its files stay what they are, whatever a scenario may say besides by now, and still run.

use tidelog_sim::{Options, Plan, Scenario, Verdict, World, failure};

/// What the files of `draws/v1` said when they were frozen: FNV-1a over them all, in the order of their names.
const V1: u64 = 0x9e95_7ecc_ed8a_72d2;

fn files() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/draws/v1");
    let mut files: Vec<(String, String)> = std::fs::read_dir(folder)
        .expect("the frozen draw is there")
        .map(|entry| entry.expect("a folder can be read").path())
        .map(|path| (path.display().to_string(), std::fs::read_to_string(&path).expect("a saved run is text")))
        .collect();
    files.sort();
    files
}

fn parsed(name: &str, text: &str) -> (Scenario, Plan) {
    failure::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn nobody_wrote_them_anew() {
    let all = files();
    assert_eq!(all.len(), 30);
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = all.iter().flat_map(|(_, text)| text.bytes()).fold(0xcbf2_9ce4_8422_2325, fnv);
    assert_eq!(hash, V1, "the draw was frozen: what is drawn today belongs elsewhere (it hashes to {hash:#x})");
}

#[test]
fn each_is_understood_to_its_last_word() {
    for (name, text) in files() {
        let (scenario, plan) = parsed(&name, &text);
        let again = failure::write(&scenario, &plan);
        assert_eq!(failure::parse(&again), Ok((scenario, plan)), "{name}");
        // A line may say more by now, but no fact of the old one differs.
        let facts = |text: &str| {
            let lines = text.lines().filter(|line| line.starts_with("scenario ") || line.starts_with("fault "));
            let words = lines.map(|line| {
                let mut words = line.splitn(3, ' ');
                let mut word = || words.next().expect("three words").to_owned();
                let name = (word(), word());
                (name, serde_json::from_str(&word()).expect("a value is JSON"))
            });
            words.collect::<Vec<((String, String), serde_json::Value)>>()
        };
        let now = facts(&again);
        for (name_of_fact, value) in facts(&text) {
            let kept = now.iter().any(|(name, now)| *name == name_of_fact && holds(now, &value));
            assert!(kept, "{name}: {name_of_fact:?} {value} is not what it was");
        }
    }
}

/// Whether a value holds all of another.
fn holds(now: &serde_json::Value, then: &serde_json::Value) -> bool {
    match (now, then) {
        (serde_json::Value::Object(now), serde_json::Value::Object(then)) => {
            then.iter().all(|(name, then)| now.get(name).is_some_and(|now| holds(now, then)))
        }
        (now, then) => now == then,
    }
}

#[test]
fn one_still_runs_to_its_end() {
    let (name, text) = files().swap_remove(6);
    let (scenario, plan) = parsed(&name, &text);
    let faults = plan.faults.len();
    let mut world = World::new(scenario, plan, Options::default());
    world.run();
    let outcome = world.outcome();
    assert_eq!(outcome.verdict, Verdict::Pass, "{name}: {:?}", outcome.findings);
    assert!(
        faults > 10 && outcome.tally.acked > 1_000 && outcome.tally.faults.len() > 3,
        "{name}: {:?}",
        outcome.tally
    );
}
