#!/usr/bin/env bash
# groupctl against a real groupd, command by command and option by option.
bin=$1
. "$(dirname "$0")/net.sh" "$@"

cat >"$scratch/spread.conf" <<CONF
Spread_Segment 127.0.0.255:$port {
    one 127.0.0.1
    two 127.0.0.2
}
SpreadSocket = false
StateDir = $scratch
CONF
for name in one two; do
    "$bin/groupd" -c "$scratch/spread.conf" -n $name -s "$scratch/$name/socket" 2>"$scratch/$name.err" &
done
one() { "$bin/groupctl" -s "$scratch/one/socket" "$@"; }
two() { "$bin/groupctl" -s "$scratch/two/socket" "$@"; }
in_ring() { [ "$(one status --json 2>/dev/null | grep -o '"address"' | wc -l)" -eq 2 ]; }
until_true 10 'two daemons are one ring' in_ring
# has GROUP COUNT: so many members are in a group.
has() { [ "$(two members "$1" | grep -c '^#')" -eq "$2" ]; }
is() { [ "$1" = "$2" ] || fail "expected $2 got $1"; }

# --- status: the view, its members, the counters of the ring, the sessions and what waits for them
"$bin/groupctl" -s "$scratch/one/socket" join watched >/dev/null &
watcher=$!
until_true 5 'a session' has watched 1
one status >"$scratch/status"
is "$(awk '$1 != "ring" && NF { print $1 }' "$scratch/status" | head -n 8 | tr '\n' ' ')" \
    'daemon state sealed uptime view members two groups '
for line in '^daemon      one$' '^state       operational$' '^members     one 127.0.0.1:4803 incarnation ' \
    '^            two 127.0.0.2:4803 incarnation ' '^groups      1$' '^sessions    1$' '^queued      0 bytes$' \
    '^too slow    0$' '^ring        .* [0-9]' '^            views [1-9]'; do
    grep -q "$line" "$scratch/status" || fail "no line like $line in $(cat "$scratch/status")"
done
for field in name view ring sessions queued_bytes slow_disconnects sealed; do
    one status --json | grep -q "\"$field\":" || fail "no $field in status --json"
done
echo 'ok: status'

# --- groups and members, seen from the other daemon
is "$(two groups)" "$(printf '%-31s members 1, here 0' watched)"
is "$(one groups --json)" '{"groups":[{"name":"watched","members":1,"local":1}]}'
two members watched | grep -q '^#r[0-9]*-[0-9]*#one$' || fail "members: $(two members watched)"
two members --json watched | grep -q '^{"group":"watched","members":\["#r.*#one"\],"gid":\[' || fail 'members --json'
two members nobody && fail 'members of an empty group must end with 1'
kill $watcher
until_true 5 'the session is gone' sh -c "! '$bin/groupctl' -s '$scratch/two/socket' members watched"
echo 'ok: groups, members'

# --- join: several groups, memberships, an end after so many lines
one join -m -n 7 red blue >"$scratch/joined" &
reader=$!
until_true 5 'in two groups' sh -c "[ \$('$bin/groupctl' -s '$scratch/two/socket' groups | wc -l) -eq 2 ]"
two send red 'to red' || fail 'send'
printf 'to blue\n' | two send blue || fail 'send from stdin'
printf 'a line\nand another' | two send blue - || fail 'send -'
two join red -n 1 >"$scratch/other" &
other=$!
until_true 5 'a second member' has red 2
two send red --type 7 'the end' || fail 'send'
wait $other || fail 'join -n 1 did not end with 0'
wait $reader || fail 'join -n 7 did not end with 0'
is "$(wc -l <"$scratch/joined")" 7
is "$(wc -l <"$scratch/other")" 1
is "$(sed -n 's/^[a-z]* #r[^ ]*: //p' "$scratch/joined" | tr '\n' '|')" 'to red|to blue|a line\nand another|the end|'
is "$(grep -c '^red membership by join: #r' "$scratch/joined")" 2
echo 'ok: join of several groups with -m and -n, send of an argument and of stdin'

# --- send: each service, the type, and a session as the destination
one join --json -n 7 services >"$scratch/services" &
reader=$!
until_true 5 'a reader' has services 1
for service in unreliable reliable fifo causal agreed safe; do
    two send --service $service --type 7 services x || fail "send --service $service"
done
two send "$(two members services)" 'to you alone' || fail 'send to a session'
wait $reader || fail 'join --json'
is "$(grep -o '"service":"[a-z]*","type":7' "$scratch/services" | cut -d'"' -f4 | sort | tr '\n' ' ')" \
    'agreed causal fifo reliable safe unreliable '
grep -q '"data":"to you alone",.*"groups":\["#r[^"]*#one"\]' "$scratch/services" || fail 'the private message'
two send --service best services x 2>"$scratch/wrong"
is $? 2
grep -q 'service must be unreliable, reliable, fifo, causal, agreed or safe' "$scratch/wrong" || fail "$(cat "$scratch/wrong")"
echo 'ok: send in every service, with a type, to a session'

# --- a reader of the output that goes away is no failure
(
    set +o pipefail
    one join pipe --json
    echo $? >"$scratch/pipe"
) | head -n 1 >"$scratch/first" &
until_true 5 'a reader' has pipe 1
gone() { two send pipe 'another' && [ -s "$scratch/pipe" ]; }
until_true 10 'it ends' gone
is "$(cat "$scratch/pipe")" 0
echo 'ok: join into a pipe that is closed'

# --- flood
one flood -n 2 -m 3000 -b 100 --json >"$scratch/flood1" &
flood=$!
two flood -n 2 -m 3000 -b 100 --service safe >"$scratch/flood2" || fail 'flood'
wait $flood || fail 'flood --json'
for text in '"received":6000' '"received_bytes":600000' '"messages_per_second":[0-9]' '"p50":[0-9]' '"p99":[0-9]'; do
    grep -q "$text" "$scratch/flood1" || fail "no $text in $(cat "$scratch/flood1")"
done
grep -q '^received 6000 messages (safe, 600000 bytes of data) in ' "$scratch/flood2" ||
    fail "flood: $(cat "$scratch/flood2")"
grep -q 'p50 .*p95 .*p99 ' "$scratch/flood2" || fail "no latencies: $(cat "$scratch/flood2")"
echo 'ok: flood over two daemons, with and without --json'

# --- the example in the documentation of the client library; cargo test builds it
if [ -x "$bin/examples/hello" ]; then
    is "$(GROUPD_SOCKET=$scratch/one/socket "$bin/examples/hello")" '#example#one says hello'
    echo 'ok: the example of lib/group'
else
    echo 'not shown here: the example of lib/group is not built (cargo build --examples)'
fi
