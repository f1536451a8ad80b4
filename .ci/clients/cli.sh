# shellcheck shell=bash
# Our own command line, against a real process.

cli() {
    "$tidelog" --log warn "$@" --bootstrap-server "$address"
}

cli_topics() {
    expect_equal "created topic a" "$(cli topic create a --partitions 3 --config max.message.bytes=65536)"
    expect_equal "created topic b" "$(cli topic create b --partitions 1)"
    expect_equal $'a\nb' "$(cli topic list)"
    cli topic describe a >"$tmp/got"
    grep -q '^topic a  id [A-Za-z0-9_-]*  partitions 3$' "$tmp/got"
    expect_equal 3 "$(grep -c '^partition [0-2]  leader 1  epoch [0-9]*  replicas 1  in sync 1$' "$tmp/got")"
    grep -q '^config max.message.bytes=65536$' "$tmp/got"
    cli topic describe a --json | python3 -c '
import json, sys
topic = json.load(sys.stdin)
assert len(topic["partitions"]) == 3, topic
assert {"name": "max.message.bytes", "value": "65536", "is_default": False} in topic["configs"], topic'
}

cli_topic_mistakes() {
    expect_failure 'a' cli topic create a
    expect_failure 'retention.ms' cli topic create c --config retention.ms=1000
    expect_failure 'nonsense' cli topic create c --config nonsense=1
    expect_failure 'replication' cli topic create c --replication-factor 3
    expect_failure 'not there' cli topic describe 'not there'
    expect_failure 'missing' cli topic delete missing
    expect_equal $'a\nb' "$(cli topic list)"
}

cli_produces() {
    seq 1 3000 | sed 's/.*/& of three thousand/' >"$tmp/cli.lines"
    cli produce b -v <"$tmp/cli.lines" >"$tmp/got"
    seq 0 2999 | sed 's,^,b/0@,' | cmp - "$tmp/got"
}

cli_consumes() {
    cli consume b --from-beginning --exit-at-end >"$tmp/got"
    cmp "$tmp/cli.lines" "$tmp/got"
    cli consume b --offset 2990 --exit-at-end | cmp <(tail -n 10 "$tmp/cli.lines") -
    cli consume b --offset 100 --max-messages 5 | cmp <(sed -n 101,105p "$tmp/cli.lines") -
    expect_equal "" "$(cli consume b --exit-at-end)"
}

cli_consumes_by_time() {
    local at expected
    cli consume b --from-beginning --exit-at-end --format '%T %o\n' >"$tmp/times"
    at=$(sed -n 1500p "$tmp/times" | cut -d' ' -f1)
    expected=$(awk -v at="$at" '$1 >= at { print $2; exit }' "$tmp/times")
    expect_equal "$expected" "$(cli consume b --from-timestamp "$at" --max-messages 1 --format '%o\n')"
}

cli_consumes_json() {
    printf 'k1=v1\nno key\nk3=\n' | cli produce a --partition 2 --key-separator =
    cli consume a --from-beginning --exit-at-end --json | python3 -c '
import json, sys
records = [json.loads(line) for line in sys.stdin]
seen = [(r["topic"], r["partition"], r["offset"], r["key"], r["value"]) for r in records]
assert seen == [("a", 2, 0, "k1", "v1"), ("a", 2, 1, None, "no key"), ("a", 2, 2, "k3", "")], seen'
}

cli_waits_for_more() {
    local reader
    timeout 30 "$tidelog" --log warn consume b --bootstrap-server "$address" --offset 3000 --max-messages 2 >"$tmp/tail" &
    reader=$!
    printf 'late one\nlate two\n' | cli produce b
    wait $reader
    expect_equal $'late one\nlate two' "$(cat "$tmp/tail")"
}

cli_says_what_is_wrong_with_times() {
    expect_equal "created topic narrow" "$(cli topic create narrow --config message.timestamp.before.max.ms=0 \
        --config message.timestamp.after.max.ms=0)"
    # It is written some milliseconds after it was read, whatever else happens.
    if echo late | cli produce narrow 2>"$tmp/times"; then echo "it was taken" >&2; return 1; fi
    grep -q "INVALID_TIMESTAMP, .* is out of range.*raise message.timestamp.after.max.ms" "$tmp/times"
    cli topic delete narrow
}

cli_deletes() {
    expect_equal "deleted topic a" "$(cli topic delete a)"
    expect_equal b "$(cli topic list)"
}

cli_still_deleted() {
    expect_equal b "$(cli topic list)"
    expect_equal 3002 "$(cli consume b --from-beginning --exit-at-end | wc -l)"
}

cli_part() {
    node_new cli
    check "cli: topic create, list, describe" cli_topics
    check "cli: what topic commands refuse" cli_topic_mistakes
    check "cli: produce -v tells partition and offset of every line" cli_produces
    node_kill_and_restart
    check "cli: consume after kill -9, by offset, so many, to the end" cli_consumes
    check "cli: consume --from-timestamp" cli_consumes_by_time
    check "cli: consume --json, keys and values" cli_consumes_json
    check "cli: consume waits for what comes" cli_waits_for_more
    check "cli: produce says what is wrong with the time of a record, and what helps" cli_says_what_is_wrong_with_times
    check "cli: topic delete" cli_deletes
    node_kill_and_restart
    check "cli: a deleted topic stays deleted after kill -9, the other keeps its records" cli_still_deleted
    node_end cli
}
