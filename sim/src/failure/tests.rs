use super::*;
use crate::scenario::{Act, SECOND};

#[test]
fn a_run_comes_back_from_its_text() {
    for seed in 0..400 {
        let scenario = Scenario::draw(seed);
        let plan = Plan::draw(&scenario);
        assert_eq!(parse(&write(&scenario, &plan)), Ok((scenario, plan)), "seed {seed}");
    }
}

#[test]
fn errors_name_the_line() {
    assert_eq!(parse(""), Err("the file is empty".to_owned()));
    let text = write(&Scenario::draw(1), &Plan::default());
    assert!(parse(&text.replace("tidelog-sim 1", "tidelog-sim 9")).unwrap_err().contains("line 1"));
    let many = parse(&text.replace("scenario brokers ", "scenario brokers 1")).unwrap_err();
    assert!(many.contains("brokers is 1"), "{many}");
    let error = parse(&(text.clone() + "fault soon {}\n")).unwrap_err();
    assert!(error.contains("expected microseconds") && error.contains("line"), "{error}");
}

/// A run with one of everything, three brokers and twenty seconds of faults.
fn example() -> String {
    let mut scenario = Scenario::draw(1);
    (scenario.brokers, scenario.voters, scenario.chaos) = (3, 3, 20 * SECOND);
    (scenario.spread, scenario.late) = (50_000, 0);
    for topic in &mut scenario.topics {
        (topic.replication, topic.min_insync, topic.late) = (3, 1, 0);
    }
    scenario.producers.truncate(2);
    for producer in &mut scenario.producers {
        (producer.idempotent, producer.acks, producer.skips) = (true, -1, 0);
    }
    scenario.consumers.truncate(1);
    scenario.ending = vec![Act::Stop { target: crate::Target::Node(2), down: SECOND }];
    let mut plan = Plan::default();
    plan.faults.push(Timed { at: 5 * SECOND, fault: Fault::Kill { target: crate::Target::Node(3), down: SECOND } });
    let text = write(&scenario, &plan);
    parse(&text).expect("as it is it can be simulated");
    text
}

/// The line that begins like this, and its number.
fn line(text: &str, begins: &str) -> (usize, String) {
    let found = text.lines().enumerate().find(|(_, line)| line.starts_with(begins));
    found.map(|(at, line)| (at + 1, line.to_owned())).expect("there is such a line")
}

/// What is said of the example with something else in the line that begins like this; it names that line, once.
fn refused(begins: &str, from: &str, to: &str) -> String {
    let text = example();
    let (number, before) = line(&text, begins);
    let key = from.trim_end_matches("{}");
    let at = before.find(key).unwrap_or_else(|| panic!("no {key} in {before}")) + key.len();
    let end = match from.ends_with("{}") {
        true => before[at..].find([',', '}']).map_or(before.len(), |end| at + end),
        false => at,
    };
    let start = if from.ends_with("{}") { at } else { at - key.len() };
    let after = format!("{}{to}{}", &before[..start], &before[end..]);
    let error = parse(&text.replace(&before, &after)).expect_err(&after);
    assert!(error.starts_with(&format!("line {number}")), "{after}: {error}");
    assert_eq!(error.matches("line ").count(), 1, "{after}: {error}");
    error
}

#[test]
fn keys_that_nobody_knows_are_errors() {
    assert!(refused("scenario chaos", "chaos", "chaoss").contains("unknown field `chaoss`"));
    for list in ["topics+", "producers+", "consumers+", "ending+", "sizes", "rates", "weather", "patience"] {
        let error = refused(&format!("scenario {list}"), "{", "{\"colour\":3,");
        assert!(error.contains("unknown field `colour`"), "{list}: {error}");
    }
    assert!(refused("fault", "{\"kind\"", "{\"colour\":3,\"kind\"").contains("unknown field `colour`"));
    assert!(refused("fault", "\"kill\"", "\"kiss\"").contains("unknown variant `kiss`"));
    assert!(refused("scenario seed", "scenario seed", "scenario seed+").contains("is no list"));
    assert!(refused("scenario topics+", "topics+", "topics").contains("is a list"));
}

#[test]
fn nothing_is_said_twice_or_left_out() {
    let text = example();
    let error = parse(&(text.clone() + "scenario brokers 4\n")).unwrap_err();
    assert!(error.contains("`brokers` stands in line"), "{error}");
    let without: String =
        text.lines().filter(|line| !line.starts_with("scenario chaos")).map(|line| format!("{line}\n")).collect();
    assert!(parse(&without).unwrap_err().contains("missing field `chaos`"));
}

#[test]
fn errors_in_json_name_one_place() {
    let error = refused("scenario sizes", "{\"", "{'");
    let (number, before) = line(&example(), "scenario sizes");
    let column = before.find('{').expect("an object") + 2;
    assert!(error.starts_with(&format!("line {number}, column {column}: ")), "{error}");
    let error = refused("scenario topics+", "\"partitions\":{}", "\"two\"");
    let column =
        line(&example(), "scenario topics+").1.find("\"partitions\":").expect("a key") + "\"partitions\":".len();
    assert!(error.contains(&format!(", column {}: invalid type", column + "\"two\"".len())), "{error}");
}

#[test]
fn what_can_not_be_run_is_refused_where_it_stands() {
    let cases = [
        ("scenario brokers", "brokers {}", "0", "brokers is 0"),
        ("scenario voters", "voters {}", "4", "voters is 4"),
        ("scenario chaos", "chaos {}", "0", "chaos (microseconds) is 0"),
        ("scenario late", "late {}", "30000000", "late (microseconds) is 30000000"),
        ("scenario weather", "\"loss\":{}", "1000001", "loss (in a million) is 1000001"),
        ("scenario sizes", "\"tick\":{}", "0", "tick (microseconds) is 0"),
        ("scenario sizes", "\"journal_files\":{}", "0", "journal_files is 0"),
        ("scenario sizes", "\"piece\":{}", "0", "piece (bytes) is 0"),
        ("scenario topics+", "\"name\":{}", "\"\"", "is no name"),
        ("scenario topics+", "\"partitions\":{}", "0", "partitions is 0"),
        ("scenario topics+", "\"replication\":{}", "4", "replication is 4; with 3 brokers"),
        ("scenario topics+", "\"replication\":{}", "0", "replication is 0"),
        ("scenario topics+", "\"min_insync\":{}", "4", "min_insync (with that replication) is 4"),
        ("scenario topics+", "\"late\":{}", "20000001", "late (microseconds) is 20000001"),
        ("scenario topics+", "\"ahead_max_ms\":{}", "-1", "negative"),
        ("scenario producers+", "\"acks\":{}", "2", "acks is 2"),
        ("scenario producers+", "\"acks\":{}", "1", "who is idempotent"),
        ("scenario producers+", "\"pause\":{}", "0", "pause (microseconds) is 0"),
        ("scenario consumers+", "\"pause\":{}", "0", "pause (microseconds) is 0"),
        ("scenario ending+", "\"node\":{}", "4", "there is no broker 4: there are 1, 2 and 3"),
        ("fault", "\"node\":{}", "9", "there is no broker 9: there are 1, 2 and 3"),
        ("fault", "\"node\":{}", "0", "there is no broker 0"),
        ("fault", "\"down\":{}", "99999999999", "down (microseconds) is 99999999999"),
        ("fault", "fault 5000000", "fault 20000000", "it would strike at 20000000, and faults end at 20000000"),
    ];
    for (begins, from, to, said) in cases {
        let error = refused(begins, from, to);
        assert!(error.contains(said), "{begins} {from} {to}: {error}");
    }
    let split = r#"{"kind":"split","side":7,"lasts":1}"#;
    let text = example() + &format!("fault 1 {split}\n");
    assert!(parse(&text).unwrap_err().contains("side is 7"));
    let doubled = example() + &(line(&example(), "scenario topics+").1 + "\n");
    assert!(parse(&doubled).unwrap_err().contains("there are two topics"));
}
