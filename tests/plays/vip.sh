# Hosts with vipd and a client, for the plays and the benchmark about addresses: sourced, not run,
# behind net.sh. `addresses` has the last bytes of the IPv4 addresses of the sets.
declare -A vipds responders
need python3

# vip_conf I: a host's file; `extra` is added to it, `sets` replaces the list.
vip_conf() {
    local last
    cat <<CONF
Spread = $scratch/host$1/socket
Group = wack1
Control = $scratch/host$1/wack.it
Node = host$1
balance {
    AcquisitionsPerRound = all
    interval = 300ms
}
mature = 500ms
${extra:-}
VirtualInterfaces {
CONF
    if [ -n "${sets:-}" ]; then
        echo "$sets"
    else
        for last in "${addresses[@]}"; do echo "    { eth0:10.77.0.$last/32 }"; done
    fi
    echo '}'
}

start_vipd() {
    vip_conf "$1" >"$scratch/vipd$1.conf"
    run_vipd "$1"
}

# run_vipd I: with the file that is there.
run_vipd() {
    nsenter -t "${anchors[$1]}" -n "$bin/vipd" -c "$scratch/vipd$1.conf" 2>>"$scratch/vipd$1.err" &
    vipds[$1]=$!
}

vip() { "$bin/vipctl" --control "$scratch/host$1/wack.it" "${@:2}"; }

# guardian I: the process number of the guardian of a host's vipd.
guardian() { pgrep -P "${vipds[$1]}" -f -- --guardian; }

# held I: the addresses of the sets in the kernel of a host, one per line.
held() {
    on "$1" ip -4 -o address show dev eth0 | grep -o '10\.77\.[0-9]*\.[0-9]*/32' | cut -d/ -f1
}

# once I...: each address is on one of these hosts, and on one only.
once() {
    local all
    all=$(for i in "$@"; do held "$i"; done)
    [ "$(sort -u <<<"$all" | wc -l)" -eq ${#addresses[@]} ] &&
        [ "$(wc -l <<<"$all")" -eq ${#addresses[@]} ]
}

# many_sets COUNT: the lines of so many sets of one address each.
many_sets() {
    local n
    for ((n = 0; n < $1; n++)); do
        echo "    eth0:10.77.$((100 + n / 250)).$((n % 250 + 1))/32"
    done
}

# all_covered COUNT I...: so many addresses are on these hosts.
all_covered() {
    [ "$(for i in "${@:2}"; do held "$i"; done | sort -u | wc -l)" -eq "$1" ]
}

# even I...: and each of them has as many as the others.
even() {
    local i
    once "$@" || return 1
    for i in "$@"; do [ "$(held "$i" | wc -l)" -eq $((${#addresses[@]} / $#)) ] || return 1; done
}

# holder ADDRESS I...: the host of these that has it.
holder() {
    local i
    for i in "${@:2}"; do
        [[ $'\n'$(held "$i")$'\n' == *$'\n'$1$'\n'* ]] && echo "$i" && return
    done
    return 1
}
is_at() { [ "$(holder "$1" "${@:3}")" = "$2" ]; }

others_of() { printf '%s\n' "${@:2}" | grep -vx "$1" | tr '\n' ' '; }

# respond I: answers every datagram with the host's number.
respond() {
    nsenter -t "${anchors[$1]}" -n python3 "$plays/probe.py" respond "$1" 2>>"$scratch/respond$1.err" &
    responders[$1]=$!
}

# probe ADDRESS [STAYING]: asks it from host 4 until it is told to stop; prints who answered and the
# gap, and that of an address which stays where it is.
probe() {
    nsenter -t "${anchors[4]}" -n python3 "$plays/probe.py" ask "$1" "$scratch/stop" "${@:2}" \
        >"$scratch/probed" &
    asker=$!
    until_true 20 "an answer of $1" test -e "$scratch/stop.ready"
}
# probed: ends the asking; gap_ms is the longest time without an answer, staying_ms the same of the
# address that stays.
probed() {
    sleep 0.3
    touch "$scratch/stop"
    wait $asker || fail 'the client got no answers'
    rm -f "$scratch/stop" "$scratch/stop.ready"
    gap_ms=$(grep -o 'longest gap [0-9]*' "$scratch/probed" | cut -d' ' -f3)
    staying_ms=$(grep -o 'gap of [0-9.]* [0-9]*' "$scratch/probed" | cut -d' ' -f4)
}

# The observer: whenever two hosts have an address at the same time, it says so in $scratch/twice.
watch_twice() {
    local anchor all=()
    for anchor in "$@"; do all+=("${anchors[$anchor]}"); done
    : >"$scratch/twice"
    python3 "$plays/probe.py" watch "$scratch/twice" "${all[@]}" 2>>"$scratch/watch.err" &
    watcher=$!
    until_true 20 'the observer watches' test -e "$scratch/twice.ready"
}
never_twice() {
    kill -0 $watcher 2>/dev/null || fail 'the observer has died'
    [ ! -s "$scratch/twice" ] || fail "held twice: $(cat "$scratch/twice")"
}

# moved WHAT: the history of some host names this cause.
moved() {
    local i
    for i in 1 2 3; do vip $i history 2>/dev/null | grep -q "$1" && return; done
    return 1
}
