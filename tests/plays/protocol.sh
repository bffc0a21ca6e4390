#!/usr/bin/env bash
# The client protocol as an independent client sees it: raw bytes against one daemon, over the Unix
# socket and TCP, then what they mean, against one daemon and against a ring of three.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
need python3
export PYTHONDONTWRITEBYTECODE=1
python=$(dirname "$0")/../python

three_hosts
for i in 1 2 3; do start_groupd $i; done
cat >"$scratch/one.conf" <<CONF
Spread_Segment 127.0.0.255:$port {
    localhost 127.0.0.1
}
SpreadSocket = false
ListenTCP = 127.0.0.1:$port
StateDir = $scratch/one
CONF
mkdir "$scratch/one"
"$bin/groupd" -c "$scratch/one.conf" --socket "$scratch/one/socket" \
    2>"$scratch/one.err" &
until_true 10 'groupd answers' "$bin/groupctl" --socket "$scratch/one/socket" status
until_true 10 'three hosts see each other' views_are 'host1 host2 host3' 1 2 3

(cd "$python" && python3 -m unittest -q test_spread_client) || fail 'the client itself'
# run NAME COMMAND...: its summary if all passed, otherwise what failed.
run() {
    local name=$1
    shift
    "$@" >"$scratch/$name.out" 2>&1 || { grep -v '^ok' "$scratch/$name.out" >&2; fail "$name"; }
    echo "ok: $name: $(tail -n 1 "$scratch/$name.out")"
}
run vectors python3 "$python/vectors.py" "$scratch/one/socket" --tcp "$port@127.0.0.1" --daemon-name localhost
run one-daemon python3 "$python/plays.py" "$scratch/one/socket"
run three-daemons python3 "$python/plays.py" "$scratch/host1/socket" "$scratch/host2/socket" "$scratch/host3/socket"

# What became of the slow reader and of those who sent garbage is in the log, and counted.
said() { grep -q "$1" "$scratch/one.err" || fail "no line in the log like: $1"; }
said 'slow-session session=[^ ]* reason=queue-full queued-bytes=[0-9]'
said 'session-closed .*reason=illegal-message'
slow=$("$bin/groupctl" --socket "$scratch/one/socket" status --json | grep -o '"slow_disconnects":[0-9]*')
[ "${slow#*:}" -ge 1 ] || fail "$slow"
echo 'ok: a slow reader and broken clients are counted, and the log says why they went'
