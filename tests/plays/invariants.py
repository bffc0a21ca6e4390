"""Merges the traces of a play and checks the invariants of vipd.

    invariants.py DIRECTORY      exit 0, or 1 with what is wrong

What `observer.py` has written: `add` and `gone` of an address in a host's kernel, `answer` of a host
to the client, `log` of a vipd. What the play marks:

    fault    what, budget                       from here on, how long an address may be unanswered
    cut      apart: lists of hosts              these no longer reach each other
    healed   within                             they do again; after so long nobody overlaps
    dead     host, lease                        its vipd is gone; after so long so are its addresses
    started  host
    quiet    hosts, neighbours, macs            nothing is under way; what the client remembers

I1 at rest each address is on one host of each part. I2 no address is unanswered for longer than the
fault's budget. I3 no two hosts that reach each other have an address at once. I4 at rest the client
remembers the holder. I5 nothing comes to a host without a cause in its log. I6 what is dead leaves
nothing behind.
"""

import json
import os
import sys

# A line of a log is read this much before or after the kernel's own word at most.
LOG_BEFORE, LOG_AFTER = 1.0, 3.0


def load(directory):
    """All events of a directory, in the order of time; of one time as they were written."""
    events = []
    for name in sorted(os.listdir(directory)):
        if name.endswith(".jsonl"):
            with open(os.path.join(directory, name)) as file:
                events += [json.loads(line) for line in file if line.strip()]
    return sorted(events, key=lambda event: event["t"])


def addresses(events):
    return sorted({event["address"] for event in events if event["event"] in ("add", "answer")})


class Hosts:
    """Who has what, and who reaches whom, as the events tell."""

    def __init__(self):
        self.holders = {}
        self.apart = None
        self.healing_until = None

    def take(self, event):
        kind = event["event"]
        if kind == "add":
            self.holders.setdefault(event["address"], set()).add(event["host"])
        elif kind == "gone":
            self.holders.setdefault(event["address"], set()).discard(event["host"])
        elif kind == "cut":
            self.apart = event["apart"]
        elif kind == "healed":
            self.apart = None
            self.healing_until = event["t"] + event["within"]

    def parts(self, hosts):
        """The holders or hosts, by parts that reach each other."""
        if self.apart is None:
            return [set(hosts)]
        return [set(part) & set(hosts) for part in self.apart]


def check_holders(events, wrong):
    """I1, I3, I4: by following the kernels."""
    hosts, names = Hosts(), addresses(events)
    overlapping = {}
    for event in events:
        hosts.take(event)
        now = event["t"]
        for address in list(overlapping):
            twice = any(len(part) > 1 for part in hosts.parts(hosts.holders[address]))
            if not twice:
                del overlapping[address]
            elif overlapping[address] is not None and now > overlapping[address]:
                wrong(f"I3: {address} is still on hosts {sorted(hosts.holders[address])}", now)
                overlapping[address] = None
        if event["event"] in ("add", "healed"):
            for address in [event["address"]] if "address" in event else names:
                check_overlap(hosts, address, now, overlapping, wrong)
        if event["event"] == "quiet":
            check_rest(hosts, event, names, wrong)


def check_overlap(hosts, address, now, overlapping, wrong):
    for part in hosts.parts(hosts.holders.get(address, ())):
        if len(part) < 2 or address in overlapping:
            continue
        overlapping[address] = hosts.healing_until
        if hosts.healing_until is None or now > hosts.healing_until:
            wrong(f"I3: {address} is on hosts {sorted(part)} at once", now)
            overlapping[address] = None


def check_rest(hosts, quiet, names, wrong):
    for address in names:
        for part in hosts.parts(quiet["hosts"]):
            holders = hosts.holders.get(address, set()) & part
            if len(holders) != 1:
                wrong(f"I1: {address} is on hosts {sorted(holders)} of {sorted(part)}", quiet["t"])
                continue
            remembered = quiet.get("neighbours", {}).get(address)
            mac = quiet.get("macs", {}).get(str(*holders))
            if hosts.apart is None and remembered != mac:
                wrong(f"I4: the client looks for {address} at {remembered}, it is at {mac}", quiet["t"])


def check_gaps(events, wrong, tell):
    """I2: what the client was not answered."""
    marks = [event for event in events if event["event"] in ("fault", "quiet")]
    for at, fault in enumerate(marks):
        if fault["event"] != "fault":
            continue
        end = marks[at + 1]["t"] if at + 1 < len(marks) else events[-1]["t"]
        longest = {}
        for address in addresses(events):
            times = [e["t"] for e in events if e["event"] == "answer" and e["address"] == address]
            before = [t for t in times if t <= fault["t"]][-1:] or [fault["t"]]
            times = before + [t for t in times if fault["t"] < t < end] + [end]
            longest[address] = max(later - sooner for sooner, later in zip(times, times[1:]))
        address = max(longest, key=longest.get)
        tell(f"{fault['what']}: gap {longest[address] * 1000:.0f} ms, of {address}")
        if longest[address] > fault["budget"]:
            wrong(f"I2: {fault['what']}: {address} was not answered for {longest[address]:.3f} s, "
                  f"{fault['budget']} s are allowed", fault["t"])


def check_causes(events, wrong):
    """I5: whatever comes into a kernel has a line in the log of its host, which says why."""
    lines = [e for e in events if e["event"] == "log" and e["word"] in ("acquired", "restored")]
    for event in events:
        if event["event"] != "add":
            continue
        causes = [line for line in lines if line["host"] == event["host"]
                  and line.get("set") == event["address"]
                  and -LOG_BEFORE <= line["t"] - event["t"] <= LOG_AFTER
                  and (line["word"] == "restored" or line.get("reason"))]
        if not causes:
            wrong(f"I5: {event['address']} came to host {event['host']} without a cause", event["t"])


def check_dead(events, wrong):
    """I6: a vipd that is gone leaves nothing behind."""
    hosts, dead = Hosts(), {}
    for event in events:
        for host, (until, told) in dead.items():
            left = [a for a, holders in hosts.holders.items() if host in holders]
            if left and event["t"] > until and not told:
                dead[host] = (until, True)
                wrong(f"I6: host {host} still has {sorted(left)}", event["t"])
        hosts.take(event)
        if event["event"] == "dead":
            dead[event["host"]] = (event["t"] + event["lease"], False)
        elif event["event"] == "started":
            dead.pop(event["host"], None)


def check(events, tell=lambda line: None):
    """What is wrong with a trace, as sentences."""
    found = []

    def wrong(sentence, at):
        found.append(f"{at - events[0]['t']:8.3f} s: {sentence}")

    kinds = {event["event"] for event in events}
    for needed in ("add", "answer", "log", "fault", "quiet"):
        if needed not in kinds:
            return [f"the trace has no {needed}: nothing is shown"]
    check_holders(events, wrong)
    check_gaps(events, wrong, tell)
    check_causes(events, wrong)
    check_dead(events, wrong)
    return found


if __name__ == "__main__":
    merged = load(sys.argv[1])
    faults = check(merged, lambda line: print("   " + line))
    print("\n".join(faults) or f"   {len(merged)} events, I1 to I6 hold")
    sys.exit(1 if faults else 0)
