#!/usr/bin/env bash
# groupd as an administrator knows it: reload, mistakes in the file, other keys, taken names,
# garbage, stopping.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
need python3

# file NAMES...: the hosts' file.
file() {
    {
        echo "Spread_Segment 239.77.0.1:$port {"
        printf '    %s\n' "$@"
        echo '}'
        printf 'SpreadSocket = false\nStateDir = %s\n' "$scratch"
        [ -z "${key:-}" ] || echo "Key = $key"
    } >"$scratch/spread.conf"
}
two=('host1 10.77.0.1' 'host2 10.77.0.2')
logged() { grep -q "$2" "$scratch/groupd$1.err"; }
hangup() { kill -HUP "${groupds[$1]}"; }
ring() { ctl 1 status --json | grep -o '"ring":"[^"]*"' | head -n 1; }

bridge br0
for i in 1 2 3 4; do host $i br0 "10.77.0.$i/24"; done

file "${two[@]}"
start_groupd 1
until_true 5 'an open ring is said' logged 1 'ring-open.*no key'
echo 'ok: a ring without a key is said at the start'
kill -TERM "${groupds[1]}" && wait "${groupds[1]}"

make_key
file "${two[@]}"
pidfile=$scratch/groupd.pid
start_groupd 1 --pidfile "$pidfile"
until_true 10 'the pid file of one that is ready' grep -q . "$pidfile"
before=$(ring)
on 2 "$bin/groupd" -c "$scratch/spread.conf" -n host2 --socket "$scratch/host2/socket" \
    --pidfile "$pidfile" 2>"$scratch/second.err"
[ $? -eq 1 ] || fail 'a second daemon with this pid file must exit with 1'
grep -q "groupd.pid: another process holds this pid file, ${groupds[1]}" "$scratch/second.err" ||
    fail "$(cat "$scratch/second.err")"
[ "$(ring)" = "$before" ] || fail 'a daemon that was refused was in the ring'
[ ! -e "$scratch/host2/socket" ] || fail 'a daemon that was refused made a socket'
[ "$(cat "$pidfile")" = "${groupds[1]}" ] || fail 'the pid file has changed'
echo 'ok: a pid file in use is refused before the ring is joined'
start_groupd 2
until_true 10 'two hosts are one ring' views_are 'host1 host2' 1 2
ctl 1 join room --membership --json >"$scratch/seen" 2>/dev/null &
joined() { ctl "$1" members room | grep -q "#host$1"; }
until_true 5 'a member' joined 1
networks() { grep -ci '"network"' "$scratch/seen"; }

file "${two[@]}" 'host3 10.77.0.3'
start_groupd 3
until_true 5 'host 3 runs' views_are 'host3' 3
ctl 3 join room >/dev/null 2>&1 &
until_true 5 'a member of the same group there' joined 3
hangup 1
hangup 2
until_true 10 'a third host by reload' views_are 'host1 host2 host3' 1 2 3
file "${two[@]}"
hangup 1
hangup 2
until_true 10 'two hosts by reload' views_are 'host1 host2' 1 2
ctl 1 send room 'behind it all'
until_true 5 'the member hears' grep -q 'behind it all' "$scratch/seen"
[ "$(networks)" -eq 2 ] || fail "$(networks) view changes for one reload that adds and one that removes"
kill -KILL "${groupds[3]}" && wait "${groupds[3]}" 2>/dev/null
echo 'ok: HUP adds a daemon by one view change and removes it by one'

counter() { ctl 1 status --json | grep -o "\"$1\":[0-9]*" | cut -d: -f2; }
before=$(ring)
echo 'Windw = 3' >>"$scratch/spread.conf"
hangup 1
until_true 5 'the mistake is named' logged 1 'reload-failed.*spread.conf:.*Windw'
[ "$(ring)" = "$before" ] || fail 'a file with a mistake changed the ring'
"$bin/groupd" -c "$scratch/spread.conf" -n host1 -t 2>"$scratch/check.err"
[ $? -eq 2 ] || fail 'a mistake in the file must exit with 2'
grep -q 'spread.conf:[0-9]*: unknown keyword "Windw"' "$scratch/check.err" || fail "$(cat "$scratch/check.err")"
file "${two[@]}"
echo 'ok: a file with a mistake is named by line, and the daemon goes on as it was'

if on 1 "$bin/groupd" -c "$scratch/spread.conf" -n host1 --socket "$scratch/second" 2>"$scratch/second.err"; then
    fail 'a second daemon of one name runs'
fi
grep -q 'is taken' "$scratch/second.err" || fail 'the second daemon does not say why'
if on 4 "$bin/groupd" -c "$scratch/spread.conf" -n host1 --socket "$scratch/second" 2>"$scratch/second.err"; then
    fail 'a daemon runs under an address that is not there'
fi
grep -q 'udp 10.77.0.1:4803: this host has no such address: -n' "$scratch/second.err" || fail 'it does not say which address'
echo 'ok: a second daemon of one name refuses, on the same host and on another one'

# The file of host 4 is a copy of host 1's, with its own address put beside the other one.
sed 's/host1 10.77.0.1/host1 10.77.0.1 { D 10.77.0.4 }/' "$scratch/spread.conf" >"$scratch/copy.conf"
nsenter -t "${anchors[4]}" -n "$bin/groupd" -c "$scratch/copy.conf" -n host1 --socket "$scratch/second" \
    2>>"$scratch/second.err" &
twin=$!
until_true 10 'its address is named' logged 2 'foreign-configuration daemon=host1 differs=address theirs=10.77.0.4'
[ "$(ring)" = "$before" ] || fail 'it changed the ring'
kill -KILL $twin && wait $twin 2>/dev/null
echo 'ok: a daemon under the name of another one is named by its address, and changes nothing'

"$bin/groupctl" keygen "$scratch/other" >/dev/null
file "${two[@]}" 'host3 10.77.0.3'
hangup 1
sed "s|$key|$scratch/other|" "$scratch/spread.conf" >"$scratch/other.conf"
nsenter -t "${anchors[3]}" -n "$bin/groupd" -c "$scratch/other.conf" -n host3 --socket "$scratch/host3/socket" 2>>"$scratch/groupd3.err" &
stranger=$!
until_true 10 'another key is named' logged 1 'foreign-key.*10.77.0.3'
strange() { [ "$(counter foreign_key)" -ge 10 ]; }
until_true 10 'it goes on' strange
[ "$(grep -c 'foreign-key.*10.77.0.3' "$scratch/groupd1.err")" -eq 1 ] || fail 'named more than once a minute'
kill -KILL $stranger && wait $stranger 2>/dev/null
echo 'ok: a daemon with another key is named, once for all its packets'

on 4 python3 - "$port" <<'END' || fail 'no garbage sent'
import os, random, socket, sys
random.seed(1)
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(3000):
    datagram = bytearray(os.urandom(random.randrange(1, 1400)))
    if number % 2:
        # The first bytes of a packet of ours.
        datagram[:4] = bytes([1, number // 2 % 4, number // 8 % 2, 0])
    out.sendto(datagram, ("10.77.0.1", int(sys.argv[1]) + number % 2))
END
dropped() { [ $(($(counter garbage) + $(counter foreign_key) + $(counter unknown_sender))) -ge 1000 ]; }
until_true 5 'garbage is counted' dropped
[ "$(ring)" = "$before" ] || fail 'garbage changed the ring'
echo 'ok: garbage on the ring port is counted and dropped'

# Nobody lets host 1 go, as host 2 does not answer.
kill -STOP "${groupds[2]}"
kill -TERM "${groupds[1]}"
until_true 5 'it stops in order' logged 1 '^.*stopping'
kill -TERM "${groupds[1]}"
wait "${groupds[1]}" || fail 'a stop at once is an orderly one'
logged 1 'stopped-at-once\|stopped' || fail 'no word about the stop'
kill -CONT "${groupds[2]}"
echo 'ok: a second TERM stops it at once'
