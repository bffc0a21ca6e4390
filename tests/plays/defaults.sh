#!/usr/bin/env bash
# groupd as it starts: without a file, with the usual one, and what opens where: sockets, their
# modes, Spread's socket, TCP, the key.
bin=$1
. "$(dirname "$0")/net.sh" "$@"

# A machine of our own, as far as the usual places go; /tmp holds the scratch directory, and may
# hold the programs.
mount -t tmpfs none /run && mkdir /run/bin && cp "$bin/groupd" "$bin/groupctl" /run/bin/ &&
    mkdir -p /run/etc && cp -r /etc/group /etc/passwd /etc/alternatives /run/etc/ && mount --bind /run/etc /etc &&
    mount -t tmpfs none /var/lib && mount -t tmpfs none /tmp && mkdir -p "$scratch" ||
    skip 'no tmpfs over /run, /etc, /var/lib and /tmp in this namespace'
bin=/run/bin
unset GROUPD_SOCKET XDG_RUNTIME_DIR
mkdir /etc/covey

log=$scratch/groupd.err
# start [COMMAND...]: a groupd without options, run by a command if one is given; ready at the end.
start() {
    : >"$log"
    "$@" "$bin/groupd" 2>"$log" &
    daemon=$!
    until_true 10 'groupd is ready' grep -q '^groupd: ready ' "$log"
}
stop() { kill -TERM "$daemon" && wait "$daemon" || fail 'groupd did not stop with exit 0'; }
logged() { grep -q "$1" "$log" || fail "no line in the log like: $1"; }
not_logged() { if grep -q "$1" "$log"; then fail "a line in the log like: $1"; fi; }
# tcp: the addresses on which somebody listens, as in /proc/net/tcp, on one line.
tcp() { awk '$4 == "0A" { print $2 }' /proc/net/tcp | sort | tr '\n' ' '; }
mode() { stat -c %a "$1"; }
# file LINE...: the usual configuration, one daemon on the loopback unless the first line is another.
file() { printf '%s\n' "$@" >/etc/covey/spread.conf; }
loopback='Spread_Segment 127.0.0.255:4803 { localhost 127.0.0.1 }'

start
logged 'ready daemon=localhost address=127.0.0.1:4803 config=built-in sockets=/run/groupd/socket sealed=false'
not_logged ring-open
[ ! -e /tmp/4803 ] || fail 'a socket of Spread that nobody asked for'
[ -z "$(tcp)" ] || fail "TCP that nobody asked for: $(tcp)"
"$bin/groupctl" status | grep -q '^members     localhost 127.0.0.1:4803 ' || fail 'another view than of itself'
"$bin/groupctl" send room hello || fail 'no client at the default socket'
"$bin/groupctl" -s 4803 send room hello || fail 'a port without a socket in /tmp does not mean the default one'
stop
[ ! -e /run/groupd/socket ] || fail 'its socket stays behind'
echo 'ok: without a file there is one daemon on the loopback, with its own socket and nothing else'

file "$loopback"
start
logged 'config=/etc/covey/spread.conf sockets=/run/groupd/socket,/tmp/4803 '
[ -z "$(tcp)" ] || fail "TCP that the file does not ask for: $(tcp)"
"$bin/groupctl" -s 4803 send room hello || fail "no client at Spread's socket"
[ "$(mode /run/groupd/socket) $(mode /tmp/4803)" = '666 666' ] || fail 'another mode than 0666'
stop
[ ! -e /tmp/4803 ] || fail "Spread's socket stays behind"
file "$loopback" 'SpreadSocket = no' 'SocketMode = 0600'
start
[ "$(mode /run/groupd/socket) $(mode /run/groupd/control)" = '600 600' ] || fail 'another mode than SocketMode'
[ ! -e /tmp/4803 ] || fail 'SpreadSocket = no has no effect'
stop
file "$loopback" 'SocketGroup = root'
start
for socket in /run/groupd/socket /run/groupd/control /tmp/4803; do
    [ "$(stat -c %a:%G "$socket")" = 660:root ] || fail "$socket: $(stat -c %a:%G "$socket")"
done
stop
echo 'ok: with a file /tmp/4803 is there, too; SocketMode, SocketGroup, SpreadSocket'

file "$loopback"
"$bin/groupd" -n localhost -s /run/other/socket 2>"$scratch/other.err" &
other=$!
until_true 10 'another groupd' test -S /tmp/4803
cp /etc/covey/spread.conf "$scratch/second.conf"
sed -i 's/127.0.0.1 }/127.0.0.2 }/' /etc/covey/spread.conf
start_named() { exec "$@" -n localhost; }
start start_named
logged 'spread-socket-skipped path=/tmp/4803 reason="/tmp/4803: another daemon listens there"'
"$bin/groupctl" -s /run/other/socket status >/dev/null && "$bin/groupctl" status >/dev/null || fail 'not both answer'
stop
"$bin/groupctl" -s 4803 send room hello || fail 'the first one has lost its socket'
kill -TERM $other && wait $other
echo precious >/tmp/4803
start start_named
logged 'spread-socket-skipped path=/tmp/4803 reason="/tmp/4803: there is something that is no socket"'
stop
[ "$(cat /tmp/4803)" = precious ] || fail 'a file was replaced'
rm /tmp/4803
echo "ok: what is at /tmp/4803 already stays, and groupd says so and goes on"

file 'Spread_Segment 127.0.0.255:4803 { localhost 127.0.0.1 { D 127.0.0.1 C 127.0.0.5 } }' 'ListenTCP = 127.0.0.6:4999'
start
[ "$(tcp)" = '0500007F:12C3 0600007F:1387 ' ] || fail "TCP on $(tcp)"
for place in 4803@127.0.0.5 4999@127.0.0.6; do
    "$bin/groupctl" -s $place send room hello || fail "no client at $place"
done
stop
echo 'ok: TCP where the file says so, by a C interface or ListenTCP'

# On a network: who it is by its address, and the key where it is looked for.
bridge br0
for i in 1 2; do host $i br0 "10.77.0.$i/24"; done
file 'Spread_Segment 239.77.0.1:4803 {' 'host1 10.77.0.1' 'host9 10.77.0.9' '}'
start nsenter -t "${anchors[1]}" -n
logged 'ready daemon=host1 address=10.77.0.1:4803 .* sealed=false'
logged 'ring-open reason="there is no key: '
"$bin/groupctl" status | grep -q '^sealed      no, the ring is open$' || fail 'the status does not say that the ring is open'
stop
on 2 "$bin/groupd" 2>"$scratch/stranger"
[ $? -eq 2 ] || fail 'a machine that is not in the file must end with 2'
grep -q '^groupd: /etc/covey/spread.conf: no daemon of .* has an address of this host: say with -n' "$scratch/stranger" ||
    fail "$(cat "$scratch/stranger")"
echo 'ok: a machine finds itself by its address; without a key the log and the status say so'

"$bin/groupctl" keygen >/dev/null || fail 'keygen'
[ "$(mode /etc/groupd/key)" = 600 ] || fail 'a key that others can read'
start nsenter -t "${anchors[1]}" -n
logged 'ready daemon=host1 .* sealed=true'
not_logged ring-open
"$bin/groupctl" status | grep -q '^sealed      yes$' || fail 'the status does not say that the ring is sealed'
stop
file 'Spread_Segment 239.77.0.1:4803 { host1 10.77.0.1 }' 'Key = /etc/groupd/another'
on 1 "$bin/groupd" 2>"$scratch/keyless"
[ $? -eq 2 ] || fail 'a key that is not there must end it with 2'
grep -q '^groupd: /etc/covey/spread.conf:2: /etc/groupd/another' "$scratch/keyless" || fail "$(cat "$scratch/keyless")"
file 'Spread_Segment 239.77.0.1:4803 { host1 10.77.0.1 }'
echo short >/etc/groupd/key
on 1 "$bin/groupd" -t 2>"$scratch/short"
[ $? -eq 2 ] || fail 'a key that is none must not pass a check'
grep -q '^groupd: /etc/covey/spread.conf: /etc/groupd/key: a key must be 64' "$scratch/short" || fail "$(cat "$scratch/short")"
echo 'ok: groupctl keygen makes the key where groupd looks for it, and Key names another one'
