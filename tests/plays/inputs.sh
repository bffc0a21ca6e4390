#!/usr/bin/env bash
# What logpub with a spool reads: a pipe, a FIFO, a file, a socket, a terminal; and what a kill -9 can
# cost where the bytes are not spliced: at most the 65,536 that it says.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
command -v python3 >/dev/null || skip 'python3 is not here (Debian: python3)'

lone_host
start_bus
{
    printf 'Name = a\nLoggers = a\nStateDir = %s/state\nSpread {\n' "$scratch"
    for group in pipe fifo file socket terminal killed; do
        echo "    Log { Group = $group File = $scratch/log.$group }"
    done
    echo '}'
} >"$scratch/logger.conf"
"$bin/spreadlogd" -s "$GROUPD_SOCKET" -c "$scratch/logger.conf" 2>"$scratch/logger.err" &
logger=$!
seq 1 40000 | sed 's/^/a line of the input, /' >"$scratch/in"
spool=(--spool "$scratch/spool")
# arrived GROUP: the input is in the file, byte by byte.
arrived() {
    same() { cmp -s "$scratch/in" "$scratch/log.$1"; }
    until_true 20 "the lines of a $1" same "$1"
    echo "ok: a $1 as the input"
}

cat "$scratch/in" | "$bin/logpub" "${spool[@]}" pipe || fail "a pipe: exit $?"
arrived pipe
mkfifo "$scratch/fifo"
cat "$scratch/in" >"$scratch/fifo" &
"$bin/logpub" "${spool[@]}" fifo <"$scratch/fifo" || fail "a fifo: exit $?"
arrived fifo
"$bin/logpub" "${spool[@]}" file <"$scratch/in" || fail "a file: exit $?"
arrived file

# with_stdin KIND PROGRAM...: the program reads the input from such a descriptor; gives its exit code.
cat >"$scratch/with_stdin.py" <<'PYTHON'
import os, pty, signal, socket, subprocess, sys, termios

kind, path, argv = sys.argv[1], sys.argv[2], sys.argv[3:]
data = open(path, "rb").read()
if kind == "socket":
    ours, theirs = socket.socketpair()
    child = subprocess.Popen(argv, stdin=theirs.fileno())
    theirs.close()
    ours.sendall(data)
    ours.close()
    sys.exit(child.wait())
ours, theirs = pty.openpty()
child = subprocess.Popen(argv, stdin=theirs, start_new_session=True)
# Lines as they are typed, then the end of the input, at the beginning of a line.
for line in data.splitlines(keepends=True):
    os.write(ours, line)
os.write(ours, b"\x04")
sys.exit(child.wait())
PYTHON
python3 "$scratch/with_stdin.py" socket "$scratch/in" "$bin/logpub" "${spool[@]}" socket || fail "a socket: exit $?"
arrived socket
head -n 200 "$scratch/in" >"$scratch/typed"
mv "$scratch/typed" "$scratch/in"
python3 "$scratch/with_stdin.py" terminal "$scratch/in" "$bin/logpub" "${spool[@]}" terminal >"$scratch/echo" ||
    fail "a terminal: exit $?"
arrived terminal

# --- a file that one logpub after another reads from one descriptor, each of them killed
# The dot at the end tells whole lines from those that a kill has cut.
seq -f 'read by one after another: %.0f.' 1 1000000 >"$scratch/in"
exec 7<"$scratch/in"
kills=0
for _ in {1..5}; do
    before=$(find "$scratch/spool" -name 'spool.*' -printf '%s\n' | awk '{ n += $1 } END { print n + 0 }')
    "$bin/logpub" "${spool[@]}" killed <&7 2>>"$scratch/killed.err" &
    publisher=$!
    # Killed somewhere within its reading.
    grown() {
        [ "$(find "$scratch/spool" -name 'spool.*' -printf '%s\n' | awk '{ n += $1 } END { print n + 0 }')" -gt "$before" ] ||
            ! kill -0 $publisher 2>/dev/null
    }
    until_true 20 'the input is read' grown
    kill -KILL $publisher 2>/dev/null && kills=$((kills + 1))
    wait $publisher 2>/dev/null
done
"$bin/logpub" "${spool[@]}" killed <&7 2>>"$scratch/killed.err"
code=$?
exec 7<&-
[ $code -eq 0 ] || [ $code -eq 3 ] || fail "the last logpub: exit $code"
# Whatever a kill cost is missing at its place; nothing is there twice.
bytes=$(stat -c %s "$scratch/in")
most=$((kills * 65536))
# Where a lane is ended, its last line may have got a newline.
enough() { [ "$(stat -c %s "$scratch/log.killed")" -ge $((bytes - most)) ]; }
until_true 90 'all but the unread windows' enough
until_true 90 'the lanes are empty' sh -c "! ls -d '$scratch'/spool/[0-9a-f]* 2>/dev/null | grep -q ."
there=$(stat -c %s "$scratch/log.killed")
[ "$there" -le $((bytes + kills)) ] || fail "$there bytes of $bytes"
grep -E '^read by one after another: [0-9]+\.$' "$scratch/log.killed" | sort | uniq -d | grep -q . && fail 'a line is there twice'
echo "ok: killed $kills times while it read a file: $((bytes > there ? bytes - there : 0)) bytes are missing, at most $most may"
kill -TERM $logger
wait $logger || fail 'spreadlogd did not stop with exit 0'
kill -TERM $bus
wait $bus || fail 'groupd did not stop with exit 0'
