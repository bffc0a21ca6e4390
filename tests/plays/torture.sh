#!/usr/bin/env bash
# Three hosts, numbered lines, real processes that are killed, stopped, cut off and starved of disk:
# no line lost, none twice (tests/torture). Arguments: the directory of the programs, then
#
#   --seconds N   faults for so long, an equal part of it with each Quorum (default 20)
#   --quorum Q    majority or none alone (default both, one after the other)
#   --seed S      which faults, when (default 1)
#   --keep DIR    where logs, journals and spools go if it fails (default target/torture)
bin=$(cd "$1" && pwd)
. "$(dirname "$0")/net.sh" "$@"
command -v python3 >/dev/null || skip 'python3 is not here (Debian: python3)'
command -v cc >/dev/null || skip 'cc is not here (Debian: gcc); it compiles the clock that is wrong'
export PYTHONDONTWRITEBYTECODE=1
torture=$plays/../torture

seconds=20 seed=1 quorums='majority none' keep=$(cd "$plays/../.." && pwd)/target/torture
shift
while [ $# -ge 2 ]; do
    case $1 in
        --seconds) seconds=$2 ;;
        --seed) seed=$2 ;;
        --quorum) quorums=$2 ;;
        --keep) keep=$2 ;;
        *) fail "unknown argument $1" ;;
    esac
    shift 2
done
[ $# -eq 0 ] || fail "unknown argument $1"

(cd "$torture" && python3 -m unittest -q test_check) 2>"$scratch/check" || fail "the check itself: $(cat "$scratch/check")"
echo "ok: the check finds planted losses, doubles and swaps"
cc -O1 -shared -fPIC -o "$scratch/clock.so" "$torture/clock.c" || fail 'the clock does not compile'

three_hosts
outer=$scratch
share=$((seconds / $(wc -w <<<"$quorums")))
for quorum in $quorums; do
    mkdir -p "$outer/$quorum"
    sed "s|^StateDir = .*|StateDir = $outer/$quorum|" "$outer/spread.conf" >"$outer/$quorum/spread.conf"
    for i in 1 2 3; do mkdir -m 700 "$outer/$quorum/host$i"; done
    python3 "$torture/torture.py" --bin "$bin" --scratch "$outer/$quorum" --quorum "$quorum" \
        --anchors "${anchors[1]},${anchors[2]},${anchors[3]}" --preload "$outer/clock.so" \
        --seconds $share --seed "$seed" --keep "$keep/$quorum-$seed" || fail "seed $seed"
done
