#!/usr/bin/env bash
# The log path of one machine: logpub and spreadlogd as an administrator uses them.
bin=$1
. "$(dirname "$0")/net.sh" "$@"

lone_host
start_bus

# start_logger NAME: a spreadlogd with $scratch/NAME.conf; joined when this returns.
start_logger() {
    local before
    before=$(grep -cs joined "$scratch/$1.err")
    "$bin/spreadlogd" -s "$GROUPD_SOCKET" -c "$scratch/$1.conf" 2>>"$scratch/$1.err" &
    logger=$!
    until_true 10 "$1 has joined" joined_since "$1" "${before:-0}"
}
joined_since() { [ "$(grep -cs joined "$scratch/$1.err")" -gt "$2" ]; }
lines() { cat "$@" 2>/dev/null | wc -l; }
has_lines() { [ "$(lines "$2")" -eq "$1" ]; }
stop() { kill -TERM "$1" && wait "$1" || fail "pid $1 did not stop with exit 0"; }

# --- the slide's file
cat >"$scratch/slide.conf" <<CONF
BufferSize = 65536

Spread {
    Port = 4803
    Log {
        RewriteTimestamp = CommonLogFormat
        Group = "example"
        File = $scratch/combined_log
    }
}
CONF
"$bin/spreadlogd" -t -c "$scratch/slide.conf" | grep -q 'configuration ok' || fail 'the slide does not load'
"$bin/groupctl" join covey.status >"$scratch/heard" &
listener=$!
start_logger slide
seq 1 5000 | awk '{ print "10.0.0.1 - - [17/May/2015:10:05:03 +0000] \"GET /" $1 " HTTP/1.1\" 200 5" }' >"$scratch/in"
"$bin/logpub" example <"$scratch/in" || fail 'logpub'
until_true 10 '5000 lines' has_lines 5000 "$scratch/combined_log"
sed 's/\[[^]]*\]//' "$scratch/in" | cmp - <(sed 's/\[[^]]*\]//' "$scratch/combined_log") || fail 'other lines'
grep -q 'May/2015' "$scratch/combined_log" && fail 'the stamps were not rewritten'
echo "ok: the slide's spreadlogd.conf writes the lines with the logger's time"

status='"group":"example","joined":true,"lines":5000,"name":"[^"]*","program":"spreadlogd"'
until_true 20 'its status' grep -q "$status" "$scratch/heard"
kill -TERM $listener
wait $listener 2>/dev/null
echo 'ok: it says in covey.status how it is'

# --- HUP at once: mv and HUP split the log between two lines
mv "$scratch/combined_log" "$scratch/combined_log.1"
kill -HUP $logger
until_true 5 'a new file at once' test -e "$scratch/combined_log"
"$bin/logpub" example <"$scratch/in"
until_true 10 'the rest' has_lines 5000 "$scratch/combined_log"
stop $logger
echo 'ok: HUP opens the files anew at once, on a quiet bus too'

# --- Match, NoMatch, VhostDir, a command, several Log blocks for one group
mkdir "$scratch/vhosts"
cat >"$scratch/many.conf" <<CONF
Spread {
    Port = 4803
    Log { Group = web File = $scratch/errors Match = " 500 " }
    Log { Group = web File = $scratch/rest NoMatch = " 500 " }
    Log { Group = web File = "|cat > $scratch/piped" }
    Log { Group = web VhostDir = $scratch/vhosts File = $scratch/unused }
}
CONF
start_logger many
awk 'BEGIN { for (i = 0; i < 1000; i++) print (i % 100 == 7 ? "../../evil" : "www" i % 3) " line " i (i % 10 ? " 200 " : " 500 ") }' >"$scratch/in"
"$bin/logpub" web <"$scratch/in" || fail 'logpub'
until_true 10 'the errors' has_lines 100 "$scratch/errors"
until_true 10 'the rest' has_lines 900 "$scratch/rest"
stop $logger
cmp "$scratch/in" "$scratch/piped" || fail 'the command got something else'
[ "$(lines "$scratch"/vhosts/*)" -eq 1000 ] || fail "$(lines "$scratch"/vhosts/*) lines in vhosts"
[ -z "$(find "$scratch" -name 'evil*')" ] && [ ! -e "$scratch/../evil" ] || fail 'a file outside VhostDir'
[ "$(cut -d' ' -f2-3 "$scratch/vhosts/www0" | head -n 1)" = '0 500' ] || [ -s "$scratch/vhosts/www0" ] || fail 'www0'
echo 'ok: Match, NoMatch, a command, and VhostDir that cannot be left'

# --- a command that does not read loses its lines, and holds up no file
cat >"$scratch/hung.conf" <<CONF
QueueBytes = 1048576
Spread {
    Port = 4803
    Log { Group = web File = "|exec sleep 1000" }
    Log { Group = web File = $scratch/beside }
}
CONF
start_logger hung
seq 1 200000 | sed 's/^/a line beside a command that hangs: /' >"$scratch/in"
"$bin/logpub" web <"$scratch/in" || fail 'logpub'
until_true 20 'all lines in the file' has_lines 200000 "$scratch/beside"
grep -q 'lines-dropped' "$scratch/hung.err" || fail 'the loss is not reported'
kill -TERM $logger
kill -TERM $logger
wait $logger
echo 'ok: a command that does not read holds up no file'

# --- rotation by name never splits a line
cat >"$scratch/rotate.conf" <<CONF
Spread {
    Port = 4803
    Log { Group = web File = $scratch/by-second.%S }
}
CONF
start_logger rotate
seq 1 40000 | sed 's/^/a line of some length that may be cut: /' >"$scratch/in"
end=$((SECONDS + 2))
cp "$scratch/in" "$scratch/sent"
"$bin/logpub" web <"$scratch/in" || fail 'logpub'
while ((SECONDS < end)); do
    cat "$scratch/in" >>"$scratch/sent"
    "$bin/logpub" web <"$scratch/in" || fail 'logpub'
done
all_in() { [ "$(cat "$scratch"/by-second.* | wc -c)" -eq "$(stat -c %s "$scratch/sent")" ]; }
until_true 20 'all bytes in the rotated files' all_in
stop $logger
[ "$(ls "$scratch"/by-second.* | wc -l)" -ge 2 ] || fail 'nothing was rotated'
for file in "$scratch"/by-second.*; do
    [ -z "$(tail -c 1 "$file")" ] || fail "$file ends within a line"
    grep -vqE '^a line of some length that may be cut: [0-9]+$' "$file" && fail "$file holds a torn line"
done
echo "ok: $(ls "$scratch"/by-second.* | wc -l) files by strftime, no line split"

# --- stdout pipes into awk; -g without a configuration
"$bin/spreadlogd" -g web -o - 2>"$scratch/stdout.err" | awk '{ n++ } n == 100 { print n; exit }' >"$scratch/awk" &
reader=$!
until_true 10 'joined' grep -q joined "$scratch/stdout.err"
"$bin/logpub" web <"$scratch/in"
wait $reader
[ "$(cat "$scratch/awk")" = 100 ] || fail 'awk did not get its lines'
echo 'ok: spreadlogd -g web -o - | awk'

# --- the bus goes away while lines come: they wait in logpub. It is stopped until the logger is
# back, as what is published while no logger is in the group is in no logger's file.
cat >"$scratch/plain.conf" <<CONF
Spread {
    Port = 4803
    Log { Group = web File = $scratch/plain }
}
CONF
start_logger plain
mkfifo "$scratch/fifo"
"$bin/logpub" web <"$scratch/fifo" 2>"$scratch/logpub.err" &
publisher=$!
exec 7>"$scratch/fifo"
head -n 1000 "$scratch/in" >&7
until_true 10 'the first part' has_lines 1000 "$scratch/plain"
stop $bus
sed -n 1001,2000p "$scratch/in" >&7
until_true 10 'logpub notices' grep -q bus-lost "$scratch/logpub.err"
kill -STOP $publisher
before=$(grep -c joined "$scratch/plain.err")
start_bus
until_true 20 'the logger is back' joined_since plain "$before"
kill -CONT $publisher
sed -n 2001,3000p "$scratch/in" >&7
exec 7>&-
wait $publisher || fail "logpub: $(cat "$scratch/logpub.err")"
until_true 10 'all' has_lines 3000 "$scratch/plain"
head -n 3000 "$scratch/in" | cmp - "$scratch/plain" || fail 'other lines, or another order'
echo 'ok: lines wait while the bus is down'

# --- TERM means drain to the end of the input
: >"$scratch/plain"
"$bin/logpub" web <"$scratch/fifo" 2>"$scratch/logpub.err" &
publisher=$!
exec 7>"$scratch/fifo"
head -n 10 "$scratch/in" >&7
until_true 10 'the first' has_lines 10 "$scratch/plain"
kill -TERM $publisher
kill -TERM $publisher
sed -n 11,20p "$scratch/in" >&7
exec 7>&-
wait $publisher || fail 'logpub did not exit 0'
until_true 10 'those behind TERM' has_lines 20 "$scratch/plain"
echo 'ok: TERM drains to the end of the input'

# --- lines of any bytes and length
: >"$scratch/plain"
awk 'BEGIN { for (i = 0; i < 200; i++) printf "%0" (i * 500 + 1) "d\n", i; printf "%0900000d\n", 7 }' >"$scratch/in"
printf 'nul \0 and high \377\200 and return \r\n' >>"$scratch/in"
"$bin/logpub" web <"$scratch/in" || fail 'logpub'
until_true 10 'long lines' has_lines 202 "$scratch/plain"
cmp "$scratch/in" "$scratch/plain" || fail 'long lines came out otherwise'
echo 'ok: lines to 900 kB, NUL and high bytes'

# --- --one-line: a message a line, for original spreadlogds
"$bin/groupctl" join one --json -n 3 >"$scratch/one" &
reader=$!
until_true 5 'a reader' sh -c "'$bin/groupctl' members one | grep -q '#'"
printf 'a\nb\nc\n' | "$bin/logpub" --one-line one || fail 'logpub --one-line'
wait $reader
[ "$(grep -o '"data":"[^"]*"' "$scratch/one" | tr '\n' ' ')" = '"data":"a\n" "data":"b\n" "data":"c\n" ' ] ||
    fail "not a message a line: $(cat "$scratch/one")"
echo 'ok: --one-line'

# --- --follow sees a rename and a new file
: >"$scratch/plain"
printf 'one\ntwo\n' >"$scratch/access"
"$bin/logpub" --follow "$scratch/access" --position "$scratch/position" web 2>"$scratch/follow.err" &
follower=$!
until_true 10 'what was there' has_lines 2 "$scratch/plain"
mv "$scratch/access" "$scratch/access.1"
printf 'three\n' >>"$scratch/access.1"
printf 'four\nfive\n' >"$scratch/access"
until_true 10 'both files' has_lines 5 "$scratch/plain"
printf 'one\ntwo\nthree\nfour\nfive\n' | cmp - "$scratch/plain" || fail 'not in order'
stop $follower
printf 'six\n' >>"$scratch/access"
"$bin/logpub" --follow "$scratch/access" --position "$scratch/position" web 2>"$scratch/follow.err" &
follower=$!
until_true 10 'from the position on' has_lines 6 "$scratch/plain"
stop $follower
stop $logger
echo 'ok: --follow over a rename, and from its position after a restart'

# --- a full disk: reported, and nothing of what is queued is lost
mkdir "$scratch/small"
if mount -t tmpfs -o size=512k none "$scratch/small" 2>/dev/null; then
    sed "s|File = .*|File = $scratch/small/log }|" "$scratch/plain.conf" >"$scratch/small.conf"
    start_logger small
    seq 1 100000 | sed 's/^/a line: /' >"$scratch/in"
    "$bin/logpub" web <"$scratch/in" || fail 'logpub'
    until_true 10 'the error is reported' grep -qi 'no space' "$scratch/small.err"
    mount -o remount,size=64m "$scratch/small"
    until_true 20 'all lines after all' has_lines 100000 "$scratch/small/log"
    cmp "$scratch/in" "$scratch/small/log" || fail 'a full disk lost or doubled lines'
    stop $logger
    echo 'ok: a full disk is reported, and nothing is lost'
    : >"$scratch/small/log"
    mount -o remount,size=512k "$scratch/small" || fail 'remount'
    "$bin/spreadlogd" -s "$GROUPD_SOCKET" -g web -o - >"$scratch/small/log" 2>"$scratch/stdout.err" &
    logger=$!
    until_true 10 'joined' grep -q joined "$scratch/stdout.err"
    "$bin/logpub" web <"$scratch/in" || fail 'logpub'
    until_true 10 'the error is reported' grep -qi 'no space' "$scratch/stdout.err"
    mount -o remount,size=64m "$scratch/small"
    until_true 20 'all lines after all' has_lines 100000 "$scratch/small/log"
    cmp "$scratch/in" "$scratch/small/log" || fail 'a full disk lost or doubled lines of stdout'
    stop $logger
    echo 'ok: stdout into a file on a full disk, too'
else
    echo 'not shown here: a full disk (no tmpfs in this namespace)'
fi

# --- mistakes name file and line
printf 'Spread {\n    Port = 4803\n    Log { Group = web Fiel = x }\n}\n' >"$scratch/bad.conf"
"$bin/spreadlogd" -t -c "$scratch/bad.conf" 2>"$scratch/bad" && fail 'a bad file passes'
grep -q 'bad.conf:3: .*Fiel.*File' "$scratch/bad" || fail "$(cat "$scratch/bad")"
printf 'PerlLib = x\nSpread { Port = 4803 Log { Group = a File = b } }\n' >"$scratch/bad.conf"
"$bin/spreadlogd" -t -c "$scratch/bad.conf" 2>"$scratch/bad" && fail 'a Perl module passes'
[ "$(wc -l <"$scratch/bad")" -eq 1 ] || fail "not one clear error: $(cat "$scratch/bad")"
echo 'ok: mistakes name file, line and what is allowed'
