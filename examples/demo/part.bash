# What the parts of the demo that stay on the loopback share: sourced, with `part` set to the name.
#
# Arguments of each part: the directory of the programs and an empty scratch directory.
bin=$1 scratch=$2
here=$(cd "$(dirname "$0")" && pwd)
port=$((20000 + $$ % 20000))
pids=()

say() { printf '%s: %s\n' "$part" "$*"; }

fail() {
    say "FAILED: $*"
    tail -n 5 "$scratch"/*.err >&2
    exit 1
}

stop() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    pids=()
}
trap stop EXIT

# until_true SECONDS WHAT COMMAND...: waits for a fact.
until_true() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" 2>/dev/null; do
        ((SECONDS < deadline)) || fail "$what: not within its time"
        sleep 0.05
    done
}
