#!/usr/bin/env bash
# The promised path, logpub --spool and two spreadlogd with Loggers = a b, with lines as they may
# come: every byte in is a byte out, at both loggers, whoever else listens or does not.
bin=$1
. "$(dirname "$0")/net.sh" "$@"

three_hosts
for i in 1 2 3; do start_groupd $i; done
until_true 10 'three hosts see each other' views_are 'host1 host2 host3' 1 2 3

names=('' a b)
declare -A loggers
# start_logger I: with few descriptors, as all its files are opened again and again.
start_logger() {
    mkdir -p "$scratch/host$1"/{state,vhosts}
    # In memory if that may be: to remove 10,000 files from a busy disk takes longer than the play.
    mount -t tmpfs none "$scratch/host$1/vhosts" 2>/dev/null
    cat >"$scratch/logger$1.conf" <<CONF
Name = ${names[$1]}
Loggers = a b
StateDir = $scratch/host$1/state
Spread {
    Port = $port
    Log { Group = web File = $scratch/host$1/log }
    Log { Group = vhosts VhostDir = $scratch/host$1/vhosts }
}
CONF
    (
        ulimit -n 256
        exec nsenter -t "${anchors[$1]}" -n "$bin/spreadlogd" -s "$scratch/host$1/socket" \
            -c "$scratch/logger$1.conf" 2>>"$scratch/logger$1.err"
    ) &
    loggers[$1]=$!
}
for i in 1 2; do start_logger $i; done
# Who joins later has other entries first: with Quorum = none that may be another order.
both_open() {
    local i group
    for i in 1 2; do
        for group in web vhosts; do
            grep -q "round-open group=$group loggers=[ab],[ab] " "$scratch/logger$i.err" || return 1
        done
    done
}
until_true 20 'both loggers take part' both_open

publish() { nsenter -t "${anchors[3]}" -n "$bin/logpub" -v -s "$scratch/host3/socket" --spool "$scratch/spool" "$@"; }
bytes() { find "$@" -type f -printf '%s\n' 2>/dev/null | awk '{ n += $1 } END { print n + 0 }'; }
both_have() { [ "$(bytes "$scratch/host1/$1")" -eq "$2" ] && [ "$(bytes "$scratch/host2/$1")" -eq "$2" ]; }
# arrives WHAT INPUT: publishes the input, which is then at the end of both files.
arrives() {
    publish web <"$2" 2>"$scratch/logpub.err" || fail "logpub: exit $?"
    cat "$2" >>"$scratch/sent"
    [ -z "$(tail -c 1 "$2")" ] || echo >>"$scratch/sent"
    until_true 30 "$1" both_have log "$(stat -c %s "$scratch/sent")"
    for i in 1 2; do cmp "$scratch/sent" "$scratch/host$i/log" || fail "$1: other bytes at logger $i"; done
    echo "ok: $1"
}
: >"$scratch/sent"

# --- lines of any bytes and length
{
    printf 'nul \0 high \377\200 return \r\nback\rspace\n\n\n\r\n'
    awk 'BEGIN { for (i = 0; i < 60; i++) printf "%0" (97990 + i) "d\n\n", i }'
    head -c 3000000 /dev/urandom | tr '\n' ' ' | fold -b -w 50000
    echo
} >"$scratch/any"
arrives 'lines of 98 kB, NUL, 0xFF, CRLF and empty lines' "$scratch/any"

printf 'a line\nand one without its end' >"$scratch/open"
arrives 'a newline is added where the input ends without one' "$scratch/open"
grep -q 'unterminated-lines=1' "$scratch/logpub.err" || fail 'the added newline is not counted'

# --- the samples, or lines like theirs, through a pipe
samples=("$plays"/../../../shared/samples/*.log)
if [ ! -e "${samples[0]}" ]; then
    samples=("$scratch/generated")
    awk -v seed=1 -v lines=20000 -f "$plays/../../examples/demo/generate-log.awk" >"${samples[0]}"
fi
for sample in "${samples[@]}"; do
    mkfifo "$scratch/pipe"
    cat "$sample" >"$scratch/pipe" &
    publish web <"$scratch/pipe" 2>"$scratch/logpub.err" || fail "logpub: exit $?"
    rm "$scratch/pipe"
    cat "$sample" >>"$scratch/sent"
    until_true 30 'a sample' both_have log "$(stat -c %s "$scratch/sent")"
done
for i in 1 2; do cmp "$scratch/sent" "$scratch/host$i/log" || fail "the samples: other bytes at logger $i"; done
echo "ok: $(cat "${samples[@]}" | wc -l) lines of real logs, or generated ones, byte by byte"

# --- a subscriber that does not read, on each host
subscribers=()
for i in 1 2 3; do
    nsenter -t "${anchors[$i]}" -n "$bin/groupctl" --socket "$scratch/host$i/socket" join web >"$scratch/subscriber$i" 2>&1 &
    subscribers+=($!)
done
subscribed() { [ "$(ctl 1 members web | grep -c '^#')" -ge 5 ]; }
until_true 10 'the subscribers' subscribed
for pid in "${subscribers[@]}"; do kill -STOP "$pid"; done
for ((i = 0; i < 20; i++)); do cat "${samples[@]}"; done | head -c 40000000 >"$scratch/much"
arrives '40 MB while three subscribers hang' "$scratch/much"
for pid in "${subscribers[@]}"; do
    kill -KILL "$pid"
    wait "$pid" 2>/dev/null
done

# --- HUP on an idle bus
best=999999
for ((i = 0; i < 5; i++)); do
    mv "$scratch/host1/log" "$scratch/host1/log.old"
    begin=$(now_us)
    kill -HUP "${loggers[1]}"
    until [ -e "$scratch/host1/log" ]; do
        (($(now_us) - begin < 10000000)) || fail 'HUP does not open the file anew'
    done
    took=$(($(now_us) - begin))
    ((took < best)) && best=$took
done
((best <= 100000)) || fail "HUP on an idle bus acts after $best us at best"
echo "ok: HUP on an idle bus acts within $((best / 1000 + 1)) ms"

# --- more virtual hosts than descriptors
awk 'BEGIN { for (round = 0; round < 3; round++)
    for (i = 0; i < 10000; i++) print "www" i ".example.com GET /" round " from " i }' >"$scratch/many"
publish vhosts <"$scratch/many" || fail 'logpub for many virtual hosts'
until_true 60 'all virtual hosts' both_have vhosts "$(cut -d' ' -f2- "$scratch/many" | wc -c)"
[ "$(ls "$scratch/host1/vhosts" | wc -l)" -eq 10000 ] || fail 'not 10,000 files'
printf 'GET /0 from 77\nGET /1 from 77\nGET /2 from 77\n' | cmp - "$scratch/host1/vhosts/www77.example.com" ||
    fail 'the lines of www77'
diff -r "$scratch/host1/vhosts" "$scratch/host2/vhosts" || fail 'the loggers differ in virtual hosts'
echo 'ok: 10,000 virtual hosts with 256 descriptors, the same at both loggers'

for i in 1 2; do
    kill -TERM "${loggers[$i]}"
    wait "${loggers[$i]}" || fail "logger $i did not stop with exit 0"
done
