# shellcheck shell=bash
# kcat: C, on librdkafka.

kcat_() {
    kcat -q -b "$address" "$@"
}

# The records of a topic or of what is asked of it, to its end, on stdout.
kcat_read() {
    timeout 30 kcat -q -b "$address" -C -e "$@"
}

kcat_lists() {
    kcat_ -L >"$tmp/kcat.list"
    grep -q '5 topics:' "$tmp/kcat.list"
    grep -q '1 brokers' "$tmp/kcat.list"
    grep -q "broker 1 at $address (controller)" "$tmp/kcat.list"
    grep -q 'topic "lines-none" with 1 partitions' "$tmp/kcat.list"
    grep -q 'partition 0, leader 1, replicas: 1, isrs: 1' "$tmp/kcat.list"
}

kcat_writes() {
    kcat_ -P -t "lines-$1" -z "$1" -K: -H "codec=$1" -H empty -l "$tmp/lines"
}

# Keys, values and offsets, byte for byte, and the header on the first and the last.
kcat_reads_back() {
    kcat_read -t "lines-$1" -o beginning -K: >"$tmp/got"
    cmp "$tmp/lines" "$tmp/got"
    kcat_read -t "lines-$1" -o beginning -f '%o\n' >"$tmp/got"
    seq 0 4999 | cmp - "$tmp/got"
    kcat_read -t "lines-$1" -o beginning -f '%h\n' | uniq >"$tmp/got"
    expect_equal "codec=$1,empty=NULL" "$(cat "$tmp/got")"
}

kcat_large() {
    head -c $((900 * 1024)) /dev/urandom >"$tmp/large"
    kcat_ -P -t large "$tmp/large"
}

kcat_large_reads_back() {
    kcat_read -t large -o beginning -f '%s' >"$tmp/got"
    cmp "$tmp/large" "$tmp/got"
}

kcat_by_offset() {
    kcat_read -t lines-zstd -o 4321 -K: >"$tmp/got"
    tail -n +4322 "$tmp/lines" | cmp - "$tmp/got"
    kcat_read -t lines-zstd -o -7 -K: >"$tmp/got"
    tail -n 7 "$tmp/lines" | cmp - "$tmp/got"
    kcat_read -t lines-zstd -o 4000 -c 3 -K: >"$tmp/got"
    sed -n 4001,4003p "$tmp/lines" | cmp - "$tmp/got"
    expect_equal "" "$(kcat_read -t lines-zstd -o 5000)"
}

kcat_out_of_range() {
    expect_failure 'Offset out of range' kcat_read -t lines-zstd -o 5001 -X auto.offset.reset=error
}

kcat_by_time() {
    local at expected
    kcat_read -t lines-gzip -o beginning -f '%T %o\n' >"$tmp/times"
    at=$(sed -n 2500p "$tmp/times" | cut -d' ' -f1)
    expected=$(awk -v at="$at" '$1 >= at { print $2; exit }' "$tmp/times")
    expect_equal "$expected" "$(kcat_read -t lines-gzip -o "s@$at" -c 1 -f '%o\n')"
    expect_equal 0 "$(kcat_read -t lines-gzip -o s@1 -c 1 -f '%o\n')"
    expect_equal "" "$(kcat_read -t lines-gzip -o s@9999999999999 -f '%o\n')"
    expect_equal "lines-gzip [0] offset $expected" "$(kcat -b "$address" -Q -t "lines-gzip:0:$at")"
}

kcat_too_large() {
    head -c 20000 /dev/urandom >"$tmp/too-large"
    "$tidelog" topic create small --partitions 1 --config max.message.bytes=10000 --bootstrap-server "$address"
    expect_failure 'Message size too large' kcat -b "$address" -P -t small "$tmp/too-large"
    head -c 3000000 /dev/urandom >"$tmp/too-large"
    expect_failure 'Message size too large' kcat -b "$address" -P -t large -X message.max.bytes=4000000 "$tmp/too-large"
    # Neither left anything behind.
    echo fits >"$tmp/fits"
    kcat_ -P -t small -l "$tmp/fits"
    expect_equal "0 fits" "$(kcat_read -t small -o beginning -f '%o %s\n')"
}

kcat_null_and_empty() {
    "$tidelog" topic create nulls --partitions 1 --bootstrap-server "$address"
    printf ':value\nkey:\n:\n' >"$tmp/nulls"
    kcat_ -P -t nulls -K: -Z -l "$tmp/nulls"
    expect_equal "-1/5 3/-1 -1/-1 " "$(kcat_read -t nulls -o beginning -f '%K/%S ')"
}

kcat_part() {
    local codec
    node_new kcat
    seq 1 5000 | awk '{ printf "key-%d:line %d of many, with some text that a codec can work on\n", $1 % 97, $1 }' >"$tmp/lines"
    for codec in none gzip snappy lz4 zstd; do
        check "kcat: -P of 5000 lines with keys and headers, -z $codec" kcat_writes $codec
    done
    check "kcat: -L shows broker, controller, topic and partition" kcat_lists
    check "kcat: -P of a message of 900 KiB" kcat_large
    node_kill_and_restart
    for codec in none gzip snappy lz4 zstd; do
        check "kcat: -C from the beginning after kill -9, byte for byte, -z $codec" kcat_reads_back $codec
    done
    check "kcat: the message of 900 KiB after kill -9" kcat_large_reads_back
    check "kcat: -C by offset, from the end, so many" kcat_by_offset
    check "kcat: an offset beyond the end is out of range" kcat_out_of_range
    check "kcat: -C and -Q by timestamp" kcat_by_time
    check "kcat: null keys and values" kcat_null_and_empty
    check "kcat: a message above max.message.bytes is refused as too large" kcat_too_large
    node_end kcat
}
