# shellcheck shell=bash
# kafka-clients of Java, in several runs, with the node killed between them and under one of them.

java_run() {
    program java 120 "${java[@]}" "$address" "$@"
}

# The node dies while records are on their way, and is back half a second later.
java_stream() {
    mkdir "$tmp/signals"
    program_start java 120 "${java[@]}" "$address" stream "$tmp/signals"
    while [ ! -e "$tmp/signals/go" ] && kill -0 "$program_pid" 2>/dev/null; do
        sleep 0.01
    done
    node_kill
    sleep 0.5
    node_start
    touch "$tmp/signals/back"
    program_wait
}

# The same keys by our own command line: on the partitions where Java's client put them.
java_same_partitions() {
    "$tidelog" topic create keys-cli --partitions 6 --bootstrap-server "$address"
    cut -d' ' -f1 "$tmp/keys" | sed 's/$/:/' | "$tidelog" produce keys-cli --key-separator : --bootstrap-server "$address"
    "$tidelog" consume keys-cli --from-beginning --exit-at-end --format '%k %p\n' --bootstrap-server "$address" >"$tmp/got"
    expect_equal 200 "$(wc -l <"$tmp/keys")"
    cmp <(sort "$tmp/keys") <(sort "$tmp/got")
    expect_equal 6 "$(cut -d' ' -f2 "$tmp/keys" | sort -u | wc -l)"
}

java_part() {
    java=(java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$classes:$jars/*" Smoke)
    node_new java
    java_run admin write keys "$tmp/keys"
    node_kill_and_restart
    java_run read refused
    check "java: tidelog produce puts the same 200 keys on the same partitions" java_same_partitions
    java_stream
    node_kill_and_restart
    java_run streamed
    node_end java
}
