# Hosts on one machine, for plays and benchmarks: sourced, not run.
#
# The script that sources this is run again in namespaces of its own (user, network, mount, pid),
# so it needs no root, touches nothing outside, and whatever it leaves running ends with it.
# Where namespaces are refused it exits 77 with a word why, which means "skipped".

skip() {
    echo "skipped: $*"
    exit 77
}

# need TOOL...: skips the play where one is missing, and says what to install.
need() {
    local missing
    missing=$("$(dirname "${BASH_SOURCE[0]}")/../../tools/need" "$@" 2>&1) || skip "${missing//$'\n'/; }"
}

fail() {
    echo "FAILED: $*" >&2
    for log in "$scratch"/*.err; do
        [ -s "$log" ] && { echo "--- $(basename "$log")"; tail -n 15 "$log"; } >&2
    done
    exit 1
}

if [ -z "${COVEY_NAMESPACE:-}" ]; then
    need ip unshare nsenter
    unshare -Urnmpf --kill-child --mount-proc true 2>/dev/null ||
        skip 'this kernel does not let users make namespaces (unshare -Urn)'
    COVEY_SCRATCH=$(mktemp -d)
    export COVEY_NAMESPACE=1 COVEY_SCRATCH
    trap 'rm -rf "$COVEY_SCRATCH"' EXIT
    unshare -Urnmpf --kill-child --mount-proc bash "$0" "$@"
    exit
fi

set -uo pipefail
scratch=$COVEY_SCRATCH
plays=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
port=4803
declare -A anchors groupds

ip link set lo up

# bridge NAME: a switch. The sysctl may be refused; then the default holds.
bridge() {
    ip link add "$1" type bridge forward_delay 0 || skip 'no bridge in this kernel'
    ip link set "$1" up
}

# host I BRIDGE ADDRESS/BITS: a machine on a bridge, its interface is called eth0.
host() {
    unshare -n sleep infinity &
    anchors[$1]=$!
    # The namespace is there once the anchor's differs from ours.
    until_true 5 "namespace of host $1" namespace_made "${anchors[$1]}"
    ip link add "veth$1" type veth peer name eth0 netns "${anchors[$1]}" || fail "no veth for host $1"
    ip link set "veth$1" master "$2" up
    on "$1" ip link set lo up
    on "$1" ip link set eth0 up
    on "$1" ip address add "$3" dev eth0
    on "$1" ip route add default dev eth0
    mkdir -p -m 700 "$scratch/host$1"
}
namespace_made() { [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }

# on I COMMAND...: runs a command on a host, in place of this shell if it is run with &.
on() {
    local anchor=${anchors[$1]}
    shift
    nsenter -t "$anchor" -n "$@"
}

# three_hosts: hosts 1 to 3 on one bridge and a spread.conf for them.
three_hosts() {
    bridge br0
    local i
    for i in 1 2 3; do host "$i" br0 "10.77.0.$i/24"; done
    {
        echo "Spread_Segment 239.77.0.1:$port {"
        for i in 1 2 3; do echo "    host$i 10.77.0.$i"; done
        echo '}'
        printf 'SpreadSocket = false\nStateDir = %s\n' "$scratch"
        [ -z "${key:-}" ] || echo "Key = $key"
        [ -z "${detection:-}" ] || echo "FailureDetection = $detection"
    } >"$scratch/spread.conf"
}

# lone_host [LINE...]: a spread.conf, with these lines, for a daemon on this machine alone.
lone_host() {
    {
        printf 'Spread_Segment 127.0.0.255:%s {\n    localhost 127.0.0.1\n}\n' "$port"
        printf '%s\n' 'SpreadSocket = false' "StateDir = $scratch" "$@"
    } >"$scratch/spread.conf"
    export GROUPD_SOCKET=$scratch/socket
}

# start_bus: starts the daemon of the lone host, which does not hold a play's pipes open; bus is its pid.
start_bus() {
    "$bin/groupd" -c "$scratch/spread.conf" --socket "$GROUPD_SOCKET" 2>>"$scratch/groupd.err" 7>&- 8>&- &
    bus=$!
    until_true 10 'groupd answers' "$bin/groupctl" status
}

# make_key: a cluster key for the hosts to come.
make_key() {
    key=$scratch/key
    "$bin/groupctl" keygen "$key" >/dev/null || fail 'no key'
}

# start_groupd I [OPTION...]: starts the daemon of a host; groupds[I] is its pid.
start_groupd() {
    nsenter -t "${anchors[$1]}" -n "$bin/groupd" -c "$scratch/spread.conf" -n "host$1" \
        --socket "$scratch/host$1/socket" "${@:2}" \
        2>>"$scratch/groupd$1.err" &
    groupds[$1]=$!
}

ctl() { "$bin/groupctl" --socket "$scratch/host$1/socket" "${@:2}"; }

# until_true SECONDS WHAT COMMAND...: waits for a fact.
until_true() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || fail "$what: not within its time"
        sleep 0.02
    done
}

# view_of I: the names of the members that host I sees, in order, on one line.
view_of() {
    ctl "$1" status --json 2>/dev/null |
        grep -o '"name":"[^"]*","address"' | cut -d'"' -f4 | tr '\n' ' '
}

# views_are "NAMES" I...: these hosts all see these members.
views_are() {
    local names=$1 i
    shift
    for i in "$@"; do [ "$(view_of "$i")" = "$names " ] || return 1; done
}

# now_us: microseconds of the wall clock.
now_us() { echo "${EPOCHREALTIME/[.,]/}"; }
