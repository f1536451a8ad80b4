# shellcheck shell=bash
# What the smoke test needs and this machine may not have. Each `need_*` installs only what is missing, quietly.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/tidelog-smoke
python=python3

apt_install() {
    local root=()
    [ "$(id -u)" -eq 0 ] || root=(sudo -n)
    {
        "${root[@]}" apt-get update -qq &&
            "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
    } >"$tmp/apt.log" 2>&1 || { tail -n 5 "$tmp/apt.log" >&2; echo "could not install $*: install it by hand" >&2; exit 2; }
}

need_kcat() {
    command -v kcat >/dev/null || apt_install kcat
}

need_python() {
    command -v python3 >/dev/null || apt_install python3
}

need_confluent_kafka() {
    need_python
    python3 -c 'import confluent_kafka' 2>/dev/null && return
    python=$cache/venv/bin/python
    "$python" -c 'import confluent_kafka' 2>/dev/null && return
    mkdir -p "$cache"
    # Without python3-venv, Debian's Python has the module but cannot finish a venv with it.
    python3 -m venv --clear "$cache/venv" >"$tmp/venv.log" 2>&1 || {
        apt_install python3-venv
        python3 -m venv --clear "$cache/venv"
    }
    "$python" -m pip install --quiet --disable-pip-version-check confluent-kafka
}

# Leaves kafka-clients and what it needs in $jars, and our checks compiled in $classes.
need_java() {
    command -v javac >/dev/null || apt_install default-jdk-headless
    command -v mvn >/dev/null || apt_install maven
    jars=$cache/jars-$(sha256sum "$clients/java/pom.xml" | cut -c1-12)
    classes=$tmp/classes
    if [ ! -d "$jars" ]; then
        mkdir -p "$cache"
        rm -rf "$jars.new"
        mvn --batch-mode --quiet --file "$clients/java/pom.xml" dependency:copy-dependencies \
            -DoutputDirectory="$jars.new" -DincludeScope=runtime >"$tmp/mvn.log" 2>&1 || {
            tail -n 5 "$tmp/mvn.log" >&2
            echo "Maven could not fetch kafka-clients" >&2
            exit 2
        }
        mv "$jars.new" "$jars"
    fi
    mkdir -p "$classes"
    javac -Xlint:all -Werror -cp "$jars/*" -d "$classes" "$clients"/java/src/*.java
}
