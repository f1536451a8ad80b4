# shellcheck shell=bash
# Nodes that are started, killed and started again, and checks that are counted.

node_pid=
node_dir=
address=

# A port that is free now and that no outgoing connection is given: a client that tries again and again while its node is down
# could otherwise be given the node's own port, and talk to itself.
free_port() {
    python3 - <<'PYTHON'
import random, socket
while True:
    with socket.socket() as it:
        try:
            port = random.randrange(15000, 32000)
            it.bind(("127.0.0.1", port))
        except OSError:
            continue
    print(port)
    break
PYTHON
}

# node_new NAME [FLAG...]: a node with an empty data directory; its address is in $address.
node_new() {
    node_dir=$tmp/$1
    mkdir -p "$node_dir"
    address=127.0.0.1:$(free_port)
    node_flags=("${@:2}")
    node_start
}

node_start() {
    : >"$node_dir/stdout"
    "$tidelog" node --data-dir "$node_dir/data" --listen "$address" ${node_flags[@]+"${node_flags[@]}"} \
        >"$node_dir/stdout" 2>>"$node_dir/log" &
    node_pid=$!
    for _ in $(seq 600); do
        grep -q 'listens on' "$node_dir/stdout" && return
        kill -0 "$node_pid" 2>/dev/null || break
        sleep 0.05
    done
    tail -n 5 "$node_dir/log" >&2
    result "FAILED: the node of ${node_dir##*/} did not start"
    exit 1
}

# As power lost, but for the page cache.
node_kill() {
    kill -9 "$node_pid"
    wait "$node_pid" 2>/dev/null || true
    node_pid=
}

node_kill_and_restart() {
    node_kill
    node_start
}

# The last word on a node: it was still there, had nothing to complain about, and ends when told.
node_end() {
    local code=0
    kill -TERM "$node_pid" 2>/dev/null || true
    wait "$node_pid" || code=$?
    node_pid=
    check "$1: the node lived to the end, logged no error and stops with exit code 0" node_was_fine $code
}

node_was_fine() {
    expect_equal 0 "$1"
    ! grep -E 'ERROR|panicked' "$node_dir/log" || return 1
}

result() {
    echo "$1" | tee -a "$results"
}

# check WHAT COMMAND...: one line, whatever happens. What the command said is shown if it failed.
check() {
    local what=$1 code
    shift
    set +e
    (
        set -euo pipefail
        "$@"
    ) >"$tmp/check.out" 2>&1
    code=$?
    set -e
    if [ $code -eq 0 ]; then
        result "ok: $what"
    else
        result "FAILED: $what"
        head -c 2000 "$tmp/check.out" | sed 's/^/    /' >&2
    fi
}

# program NAME SECONDS COMMAND...: a program that prints such lines itself.
program() {
    program_start "$@"
    program_wait
}

program_start() {
    program_name=$1
    timeout --kill-after=5 "$2" "${@:3}" >"$tmp/$program_name.out" &
    program_pid=$!
}

# A program that failed without saying what failed, or checked nothing, is a failure too.
program_wait() {
    local code out=$tmp/$program_name.out
    set +e
    wait "$program_pid"
    code=$?
    set -e
    program_pid=
    tee -a "$results" <"$out"
    if [ "$code" -gt 1 ] || { [ "$code" -eq 1 ] && ! grep -q '^FAILED: ' "$out"; }; then
        result "FAILED: $program_name: the program ended with exit code $code"
    elif ! grep -q '^ok: ' "$out"; then
        result "FAILED: $program_name: the program checked nothing"
    fi
}
expect_equal() {
    [ "$1" = "$2" ] || { echo "expected: $1"; echo "got: $2"; return 1; }
}

# expect_failure PATTERN COMMAND...: it fails, and says so.
expect_failure() {
    local pattern=$1 said
    shift
    if said=$("$@" 2>&1 </dev/null); then
        echo "it succeeded: $*"
        return 1
    fi
    grep -q -- "$pattern" <<<"$said" || { echo "expected '$pattern' in: $said"; return 1; }
}

program_pid=

# Whatever the reason to end: the sum, and nothing of ours left.
clean_up() {
    local code=$? passed failed
    trap - EXIT
    passed=$(grep -c '^ok: ' "$results" || true)
    failed=$(grep -c '^FAILED: ' "$results" || true)
    [ -z "$program_pid" ] || { kill -TERM "$program_pid" 2>/dev/null && wait "$program_pid" 2>/dev/null; } || true
    [ -z "$node_pid" ] || { kill -9 "$node_pid" 2>/dev/null && wait "$node_pid" 2>/dev/null; } || true
    if [ "${SMOKE_KEEP:-0}" = 1 ]; then
        echo "data and logs are in $tmp" >&2
    else
        rm -rf "$tmp"
    fi
    echo "smoke: $passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ] || code=$((code ? code : 1))
    exit "$code"
}
