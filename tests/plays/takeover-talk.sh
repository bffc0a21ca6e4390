#!/usr/bin/env bash
# The wackamole.conf of the talk, as its slides have it: only a.b.c is filled in. Three hosts with an
# interface fxp0, groupd at port 4803, a control socket in /var/run, names that are the hosts' own;
# the router a.b.c.1 is their client. And the old letters of wackatrl.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
need python3
bin=$(cd "$bin" && pwd)
examples=$(cd "$plays/../../examples/vipd" && pwd)
addresses=(111 112)
. "$plays/vip.sh"

cat >"$scratch/wackamole.conf" <<'CONF'
Spread = 4803  
SpreadRetryInterval = 5s  
Group = wack1  
Control = /var/run/wack.it
Prefer None  
VirtualInterfaces {  
    { fxp0:a.b.c.111/32 }  
    { fxp0:a.b.c.112/32 }  
}
Arp-Cache = 90s  
Notify {  
    fxp0:a.b.c.1/32  
    fxp0:a.b.c.0/24 throttle 16  
    arp-cache  
}
balance {  
    AcquisitionsPerRound = all  
    interval = 4s  
}  
mature = 5s
CONF
sed -i 's/a\.b\.c/10.77.0/' "$scratch/wackamole.conf"
[ "$("$bin/vipd" -c "$scratch/wackamole.conf" -t)" = 'configuration ok' ] || fail 'the file is not taken'

# server I: a host with /tmp, /run and a name of its own; programs and files are below /mnt there.
server() {
    unshare -num sh -c '
        set -e
        hostname "web$1"
        mount -t tmpfs tmpfs /mnt
        mkdir /mnt/bin /mnt/files
        mount --bind "$2" /mnt/bin
        mount --bind "$3" /mnt/files
        mount -t tmpfs tmpfs /tmp
        mount -t tmpfs tmpfs /run
        [ -L /var/run ] || mount -t tmpfs tmpfs /var/run
        : >/mnt/files/made."$1"
        exec sleep infinity' sh "$1" "$bin" "$scratch" &
    anchors[$1]=$!
    until_true 10 "host $1 is there" test -e "$scratch/made.$1"
    ip link add "veth$1" type veth peer name fxp0 netns "${anchors[$1]}" || fail "no veth for host $1"
    ip link set "veth$1" master br0 up
    on "$1" ip link set lo up
    on "$1" ip link set fxp0 up
    on "$1" ip address add "10.77.0.$((10 + $1))/24" dev fxp0
    on "$1" ip route add default dev fxp0
}
# in_server I COMMAND...
in_server() { nsenter -t "${anchors[$1]}" -n -m -u "${@:2}"; }
held() { on "$1" ip -4 -o address show dev fxp0 | grep -o '10\.77\.0\.11[12]/32' | cut -d/ -f1; }
wackatrl() { in_server "$1" env PATH="/mnt/bin:$PATH" sh /mnt/files/wackatrl -c /mnt/files/wackamole.conf "$2"; }
run_server() {
    nsenter -t "${anchors[$1]}" -n -m -u /mnt/bin/vipd -c /mnt/files/wackamole.conf \
        2>>"$scratch/vipd$1.err" &
    vipds[$1]=$!
}

cp "$examples/wackatrl" "$scratch/wackatrl"
bridge br0
{
    echo 'Spread_Segment 10.77.0.255:4803 {'
    for i in 1 2 3; do echo "    web$i 10.77.0.$((10 + i))"; done
    printf '}\nStateDir = /run\n'
} >"$scratch/spread.conf"
for i in 1 2 3; do
    server $i
    in_server $i /mnt/bin/groupd -c /mnt/files/spread.conf 2>>"$scratch/groupd$i.err" &
    respond $i
done
host 4 br0 10.77.0.1/24
for i in 1 2 3; do until_true 20 "groupd answers at /tmp/4803 of host $i" in_server $i test -S /tmp/4803; done
watch_twice 1 2 3
for i in 1 2 3; do run_server $i; done
until_true 20 'both addresses on one host each' once 1 2 3
until_true 20 'wackatrl -l says that all is well' wackatrl 1 -l
wackatrl 2 -l >"$scratch/listed" || fail "wackatrl -l: exit $?"
for i in 1 2 3; do grep -q "^ *web$i " "$scratch/listed" || fail "no web$i in: $(cat "$scratch/listed")"; done
echo 'ok: the file of the talk: two addresses, each on one of three hosts'

victim=$(holder 10.77.0.111 1 2 3)
probe 10.77.0.111
kill -9 "${vipds[$victim]}"
until_true 20 'the others have it' once $(others_of "$victim" 1 2 3)
probed
cat "$scratch/probed"
wait "${vipds[$victim]}" 2>/dev/null
wackatrl "$(others_of "$victim" 1 2 3 | cut -d' ' -f1)" -l >"$scratch/listed"
[ $? -eq 4 ] || fail 'a host that is gone is not exit 4'
grep -q "web$victim .*gone since .*moved because of it: .*10.77.0.111" "$scratch/listed" ||
    fail "it says: $(cat "$scratch/listed")"
run_server "$victim"
until_true 20 'all is well again' wackatrl "$victim" -l
echo 'ok: a killed one is taken over, and missed by name'

victim=$(holder 10.77.0.112 1 2 3)
wackatrl "$victim" -f >/dev/null || fail 'no wackatrl -f'
until_true 20 'it has given up its addresses' once $(others_of "$victim" 1 2 3)
wackatrl "$victim" -s >/dev/null || fail 'no wackatrl -s'
until_true 20 'well' wackatrl "$victim" -l
moves() { cat "$scratch"/vipd?.err | grep -cE '^vipd: (acquired|released)'; }
until_true 20 'balanced' eval 'before=$(moves); sleep 0.5; [ "$(moves)" -eq "$before" ]'
wackatrl "$victim" -s >/dev/null || fail 'no wackatrl -s'
wackatrl "$victim" -l >/dev/null || fail 'wackatrl -s of a host that is well has disturbed it'
[ "$(moves)" -eq "$before" ] || fail 'wackatrl -s of a host that is well has moved addresses'
wackatrl "$victim" -x 2>/dev/null
[ $? -eq 2 ] || fail 'a letter that there is not is not exit 2'
until_true 20 'well' wackatrl "$victim" -l
never_twice
echo 'ok: wackatrl -l, -f and -s'
