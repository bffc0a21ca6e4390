#!/usr/bin/env bash
# Views that change faster than the members can tell each other what they hold (5.17): for some
# seconds a daemon of some host is killed or started every 20 to 200 ms. Then everything is started,
# and each address is held once; the observer of all kernels has never seen one twice.
#
# Arguments: the directory of the programs, and --seconds N, --seed N.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
addresses=(101 102 103)
. "$plays/vip.sh"
seconds=10 seed=1
shift
while (($# > 1)); do
    case $1 in
        --seconds) seconds=$2 ;;
        --seed) seed=$2 ;;
        *) fail "no option $1" ;;
    esac
    shift 2
done
make_key
three_hosts
for i in 1 2 3; do start_groupd $i; done
until_true 20 'three hosts see each other' views_are 'host1 host2 host3' 1 2 3
watch_twice 1 2 3
for i in 1 2 3; do start_vipd $i; done
until_true 20 'an address on each host' even 1 2 3

kill_groupd() { kill -9 "${groupds[$1]}"; wait "${groupds[$1]}" 2>/dev/null; unset "groupds[$1]"; }
kill_vipd() { kill -9 "${vipds[$1]}"; wait "${vipds[$1]}" 2>/dev/null; unset "vipds[$1]"; }
# fault I WHICH: kills a daemon of a host, or starts it if it is dead.
fault() {
    case $2 in
        0) if [ -n "${groupds[$1]:-}" ]; then kill_groupd "$1"; else start_groupd "$1"; fi ;;
        *) if [ -n "${vipds[$1]:-}" ]; then kill_vipd "$1"; else run_vipd "$1"; fi ;;
    esac
    faults=$((faults + 1))
}

RANDOM=$seed faults=0
end=$((SECONDS + seconds))
while ((SECONDS < end)); do
    fault $((RANDOM % 3 + 1)) $((RANDOM % 3))
    sleep "0.$(printf '%03d' $((RANDOM % 181 + 20)))"
done
for i in 1 2 3; do
    [ -n "${groupds[$i]:-}" ] || start_groupd $i
    [ -n "${vipds[$i]:-}" ] || run_vipd $i
done
until_true 30 'three hosts see each other again' views_are 'host1 host2 host3' 1 2 3
until_true 30 'an address on each host again' even 1 2 3
never_twice
views=$(cat "$scratch"/vipd?.err | grep -c '^vipd: view ')
((views > faults / 4)) || fail "only $views views after $faults faults: that is no cascade"
echo "ok: $faults faults in $seconds s (seed $seed), $views views; each address is held once, and never was twice"
