#!/usr/bin/env bash
# Bodies that are on disk and not in memory: they are read by the threads for that, never by a loop.
# The kernel counts what each thread has had read from a disk, so this does not depend on times.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
. "$(dirname "$0")/lone-cache.sh"

start_origin 127.0.0.1
write_conf 'MemorySize = 16'
start_cache bash -c 'ulimit -Sn 256 && exec "$@"' limited
[ "$(awk '/^Max open files/ { print $4 }' /proc/$cache/limits)" -gt 256 ] || [ "$(ulimit -Hn)" = 256 ] ||
    fail 'the limit of descriptors was not raised'
# read_by NAME: bytes that the threads of this name have had read from a disk.
read_by() {
    local task sum=0
    for task in /proc/$cache/task/*; do
        [ "$(cat "$task/comm")" = "$1" ] || continue
        sum=$((sum + $(sed -n 's/^read_bytes: //p' "$task/io")))
    done
    echo $sum
}
# evict: all bodies out of memory.
evict() { python3 -c '
import os, sys
for name in sys.argv[1:]:
    file = os.open(name, os.O_RDONLY)
    os.fdatasync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
' "$scratch/cache/$site"/*; }

for n in 1 2 3 4 5 6; do
    get /big$n.gif -o "$scratch/body" || fail 'a fill'
    cp "$scratch/body" "$scratch/big$n"
done
[ -r "/proc/$cache/task/$cache/io" ] || skip 'this kernel does not count the reads of threads'
# Objects are opened by their first hit; what they are is known then, and their bytes are not.
for n in 1 2 3 4 5 6; do get /big$n.gif -r 0-3 -o "$scratch/body" || fail 'a hit'; done
evict
loops=$(read_by loop) disk=$(read_by disk)
for n in 1 2 3 4 5 6; do
    get /big$n.gif -o "$scratch/body" || fail 'a cold hit'
    cmp "$scratch/body" "$scratch/big$n" || fail 'what a cold hit brought'
done
is "$(read_by loop)" "$loops" 'bytes that the loops have read from the disk'
[ "$(read_by disk)" -gt "$disk" ] || skip 'the disk of this machine cannot be seen'
echo "ok: $((($(read_by disk) - disk) >> 10)) kB were read from the disk, none of them by a loop"

# To make names may be to wait for the disk as well: here it takes its time.
tracer=
has_begun() { grep -q attached "$scratch/strace.err" || ! kill -0 "$tracer" 2>/dev/null; }
if command -v strace >/dev/null; then
    strace -ff -o "$scratch/trace" -e trace=mkdirat,fsetxattr,renameat -e inject=renameat:delay_enter=300000 \
        -p $cache 2>"$scratch/strace.err" &
    tracer=$!
    until_true 10 'strace has begun' has_begun
fi
if [ -n "$tracer" ] && kill -0 $tracer 2>/dev/null; then
    for name in named.gif big-named.gif; do
        get /new/dir/$name -o "$scratch/body" || fail 'a fill of new directories'
        cmp "$scratch/body" "$scratch/cache/$site/new/dir/$name" || fail 'who has got an object does not find it'
    done
    kill -INT $tracer
    wait $tracer
    for task in /proc/$cache/task/*; do
        [ "$(cat "$task/comm")" != loop ] || ! grep -q 'at(\|xattr(' "$scratch/trace.${task##*/}" ||
            fail "a loop: $(cat "$scratch/trace.${task##*/}")"
    done
    grep -q renameat "$scratch"/trace.* || fail 'strace has not seen the name'
    echo 'ok: names are made by the threads for the disk, and who has got an object finds it'
else
    echo "who makes names is not looked at: strace (Debian: strace) is not here, or may not trace"
fi

# Larger than MemorySize, and small: it is sent from its file all the same.
get /medium.gif >/dev/null
like "$(how /medium.gif)" 'hit*' 'an object larger than MemorySize'
echo 'ok: what does not fit into memory is a hit from disk'
stop_cache
