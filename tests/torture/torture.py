"""Real processes, numbered lines, and faults: no line lost, none twice.

    torture.py --bin DIR --scratch DIR --anchors PID,PID,PID --quorum majority|none
               --seconds N --seed S --keep DIR [--preload FILE]

Run by tests/plays/torture.sh, which makes the hosts. The seed decides which faults come when, and the
lines; what the processes make of them is theirs. A failure prints the seed and what was done, and
leaves all logs, journals, spools in the directory given by --keep.
"""

import argparse
import heapq
import itertools
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import check
import burial
import faults
from cluster import ORDERLY_SECONDS, Failure, Host, Process, Publisher, run, until

LINES_PER_SECOND = 800
LOGGER_NAMES = {"majority": ("a", "b", "c"), "none": ("a", "b")}
# A fault waits so long for a moment with data in flight.
FLYING_SECONDS = 0.5
# The last of three loggers keeps no file in so many of the runs.
WITNESS_SHARE = 0.3
# After the last fault: how long until everything must be everywhere.
HEALED_SECONDS = 90
# A logpub at the end of its input that gets nothing through for a while leaves the rest in the spool
# and says so; what finds its disk full at its start may end with 1. The supervisor starts both again.
NOT_ALL_THROUGH = 3
# What a publisher that has to drop lines is given, and how --verify tells that some were.
DROPPED_LINES_PER_SECOND = 6000
GAPS = 3
RESTART_SECONDS = 0.5
# About a line, with Quorum = none and lost disks.
LINE_BYTES = 250
# What is not complete, as its beginning was never there, is settled when it stays as it is.
STILL_SECONDS = 5
# Kinds that have hit too seldom when the time is over get as much again, and so much more.
PATIENCE_SECONDS = 60
TIMELINE_SHOWN = 80


class Torture:
    def __init__(self, options):
        self.options = options
        self.scratch = Path(options.scratch)
        self.bin = Path(options.bin)
        self.majority = options.quorum == "majority"
        self.chance = random.Random(f"{options.seed} {options.quorum}")
        self.begin = time.monotonic()
        self.timeline = open(self.scratch / "timeline", "w+", buffering=1)
        self.due, self.order = [], itertools.count()
        self.expected = {}
        self.hits = {kind: [] for kind in faults.KINDS}
        self.unplugged, self.clock_off = [], None
        self.publishers, self.leaving, self.finished = [], [], []
        self.droppers, self.given_up = [], {}
        # The logger that is being given up; for each host with a new one, the lines that publishers
        # had written before it came; what was lost with a disk, with Quorum = none.
        self.still = {}
        self.burying, self.burials, self.records = None, 0, 0
        self.reborn, self.lost_with_disks = {}, set()
        self.generation = itertools.count(1)
        self.compared, self.samples = check.Compared(), 0
        self.make_cluster()

    # --- the cluster

    def make_cluster(self):
        anchors = self.options.anchors.split(",")
        self.hosts = [
            Host(number, anchor, self.scratch / f"host{number}", small=number != 2)
            for number, anchor in enumerate(anchors, 1)
        ]
        names = list(LOGGER_NAMES[self.options.quorum])
        self.logger_hosts = self.file_hosts = self.hosts[: len(names)]
        self.witness = self.majority and self.chance.random() < WITNESS_SHARE
        if self.witness:
            self.file_hosts = self.logger_hosts[:-1]
        self.groupds = [self.make_groupd(host) for host in self.hosts]
        self.loggers = [self.make_logger(host, name, names) for host, name in zip(self.hosts, names)]
        for process in self.groupds + self.loggers:
            process.start()
        for host in self.hosts:
            self.start_publisher(host)

    def make_groupd(self, host):
        argv = [self.bin / "groupd", "-c", self.scratch / "spread.conf", "-n", f"host{host.number}"]
        argv += ["--socket", host.socket]
        return Process(host, f"groupd{host.number}", argv, preload=self.options.preload)

    def make_logger(self, host, name, names):
        listed = [*names[:-1], f"{names[-1]}:witness"] if self.witness else names
        file_name = "log.%Y%m%d-%H%M" if self.options.seconds > 300 else "log.%Y%m%d-%H%M%S"
        config = host.directory / "spreadlogd.conf"
        config.write_text(
            f"Name = {name}\nLoggers = {' '.join(listed)}\nQuorum = {self.options.quorum}\n"
            f"StateDir = {host.directory}/state\n"
            "Spread {\n    Port = 4803\n"
            f"    Log {{ Group = web File = {host.directory}/logs/{file_name} }}\n}}\n"
        )
        argv = [self.bin / "spreadlogd", "-s", host.socket, "-c", config]
        return Process(host, f"logger-{name}", argv, preload=self.options.preload)

    def start_publisher(self, host):
        name = f"h{host.number}g{next(self.generation)}"
        seed = self.chance.getrandbits(32)
        publisher = Publisher(host, name, self.bin, self.options.preload, LINES_PER_SECOND, seed)
        self.publishers.append(publisher)
        return publisher

    def start_dropper(self, host):
        """A publisher that no fault but those of its host hits: what it drops it must count."""
        name = f"h{host.number}d{next(self.generation)}"
        seed = self.chance.getrandbits(32)
        rate = DROPPED_LINES_PER_SECOND
        dropper = Publisher(host, name, self.bin, self.options.preload, rate, seed, drops=True)
        self.droppers.append(dropper)
        return dropper

    # --- time

    def seconds(self):
        return time.monotonic() - self.begin

    def note(self, text):
        self.timeline.write(f"{self.seconds():8.3f}  {text}\n")

    def later(self, delay, what, action, *arguments):
        heapq.heappush(self.due, (self.seconds() + delay, next(self.order), what, action, arguments))

    def do_due(self):
        while self.due and self.due[0][0] <= self.seconds():
            _, _, what, action, arguments = heapq.heappop(self.due)
            self.note(what)
            action(*arguments)

    def start_when_ended(self, process):
        deadline = self.seconds() + ORDERLY_SECONDS

        def look():
            if process.child.poll() is None:
                if self.seconds() > deadline:
                    raise Failure(f"{process.name} did not stop in {ORDERLY_SECONDS} s")
                self.later(0.05, f"wait for {process.name}", look)
            elif process.child.returncode not in (0, 1):
                raise Failure(f"{process.name} stopped with {process.child.returncode}")
            else:
                process.start()

        look()

    # --- what holds at any moment

    def logs(self):
        return [check.Log(host.directory / "logs", host in self.reborn) for host in self.file_hosts]

    def in_flight(self):
        """Bytes that the sources have written and that stand in no logger's file. Nobody knows
        while one gives up lines."""
        if self.droppers:
            return 0
        lost = len(self.lost_with_disks) * LINE_BYTES
        return self.wanted() - lost - max(log.bytes() for log in self.logs())

    def wanted(self):
        """Bytes that have to come to stand in each file."""
        written = sum(publisher.count()[1] for publisher in self.all_publishers())
        return written - sum(size for _, size in self.given_up.values())

    def all_publishers(self):
        return self.publishers + self.leaving + self.droppers + self.finished

    def look(self):
        self.samples += 1
        if self.majority:
            for one, other in itertools.combinations(self.logs(), 2):
                wrong = self.compared.compare(one, other)
                if wrong:
                    raise Failure(wrong)
        self.see_ends()

    def see_ends(self):
        for publisher in list(self.leaving):
            if publisher.ended and publisher.logpub.child.poll() == 0:
                publisher.source.wait(ORDERLY_SECONDS)
                self.note(f"{publisher.name} is done")
                publisher.close()
                self.leaving.remove(publisher)
                self.finished.append(publisher)
        for dropper in list(self.droppers):
            if dropper.ended and dropper.logpub.child.poll() in (0, 1):
                dropper.source.wait(ORDERLY_SECONDS)
                self.given_up[dropper.name.encode()] = dropper.given_up()
                self.note(f"{dropper.name} has given up {dropper.given_up()[0]} lines")
                dropper.close()
                self.droppers.remove(dropper)
                self.finished.append(dropper)
        may_end = [publisher.logpub for publisher in self.leaving if publisher.ended]
        for process in faults.everything(self):
            code = process.child.poll()
            if code is None or process.ending or (code == 0 and process in may_end):
                continue
            if code != NOT_ALL_THROUGH and not (code == 1 and process.host.full_since(process.started)):
                raise Failure(f"{process.name} ended by itself with {code}")
            self.note(f"{process.name} ended with {code}")
            process.ending = True
            self.later(RESTART_SECONDS, f"start {process.name}", process.start)

    # --- the faults

    def torment(self):
        """Faults until the time is over: all kinds in a new order again and again."""
        end = self.seconds() + self.options.seconds
        bag = []
        next_fault = self.seconds() + 1
        while self.seconds() < end or self.missing():
            if self.seconds() > end + self.options.seconds + PATIENCE_SECONDS:
                raise Failure(f"kinds of faults that hit too seldom: {self.missing()}")
            self.do_due()
            self.look()
            if self.seconds() >= next_fault:
                if not bag:
                    bag = list(faults.KINDS)
                    self.chance.shuffle(bag)
                self.harm(bag)
                next_fault = self.seconds() + self.chance.uniform(0.05, 1.2)
            time.sleep(0.02)

    def catch_flying(self):
        """Bytes in flight, at a moment when there are some, if one comes soon."""
        deadline = time.monotonic() + FLYING_SECONDS
        while (flying := self.in_flight()) <= 0 and time.monotonic() < deadline:
            time.sleep(0.001)
        return flying

    def harm(self, bag):
        kind = bag.pop()
        flying = self.catch_flying()
        done = faults.KINDS[kind](self)
        if done is None:
            bag.insert(0, kind)
            return
        self.note(f"FAULT {kind}: {done} ({flying} bytes in flight)")
        if flying > 0:
            self.hits[kind].append(flying)

    def missing(self):
        least = max(1, int(self.options.seconds / 60))
        return [kind for kind, hits in self.hits.items() if len(hits) < least]

    def replug(self, host):
        host.plug("up")
        self.unplugged.remove(host)

    def right_clock(self):
        self.clock_off.set_clock(0)
        self.clock_off = None

    # --- the end

    def heal(self):
        """Everything runs, and the sources end."""
        self.note("the last fault is over; healing")
        until(60, "the healing of what was harmed", self.healed)
        for publisher in list(self.publishers):
            publisher.end_source()
        self.leaving += self.publishers
        self.publishers = []
        for publisher in self.leaving:
            source = publisher.source
            until(HEALED_SECONDS, f"the end of {publisher.name}", lambda: source.poll() is not None)
        self.note("all sources have ended")

    def healed(self):
        self.do_due()
        self.look()
        return not self.due

    def settle(self):
        """All lines are everywhere, all publishers done."""
        def done():
            self.do_due()
            self.look()
            return not self.leaving and not self.droppers and not self.due

        until(HEALED_SECONDS, "logpubs that have nothing left", done)
        wanted = self.wanted()

        def everywhere():
            self.look()
            return all(log.bytes() >= wanted or self.lacks_some(log) for log in self.logs())

        try:
            until(HEALED_SECONDS, "all lines in all files", everywhere)
        except Failure:
            self.note(f"{wanted} bytes were written; in the files: {[log.bytes() for log in self.logs()]}")
        self.note("the loggers end")
        for logger in self.loggers:
            logger.terminate()
        for logger in self.loggers:
            logger.wait_end(ORDERLY_SECONDS)

    def lacks_some(self, log):
        """Whether a log that may lack lines has all that it will have."""
        before, since = self.still.get(log.directory, (None, 0))
        if before != log.bytes():
            self.still[log.directory] = log.bytes(), self.seconds()
            return False
        return (log.newborn or self.lost_with_disks) and self.seconds() > since + STILL_SECONDS

    def may_lack(self, host):
        """What tells whether nobody has promised a line to the log of this host."""
        if host in self.reborn and burial.checkpoint(host).get("missed", 0):
            before = self.reborn[host]
            return lambda publisher, sequence: sequence <= before.get(publisher, 0)
        return lambda publisher, sequence: (publisher, sequence) in self.lost_with_disks

    def judge(self):
        """Exactly once, in order, and in every file."""
        self.look_at_files()
        # A logger that is alone has no clock but its own, so with Quorum = none names may be wrong.
        if self.majority and self.misnamed():
            raise Failure(f"named by a wrong clock: {' '.join(self.misnamed())}")
        expected = {p.name.encode(): p.count()[0] for p in self.finished}
        swapped = 0
        for host, log in zip(self.file_hosts, self.logs()):
            given_up = {name: count for name, (count, _) in self.given_up.items()}
            may_lack = self.may_lack(host)
            findings, out_of_order = check.once(log.lines(), expected, self.majority, given_up, may_lack)
            swapped += out_of_order
            if findings:
                raise Failure(f"host{host.number}: " + "\n    ".join(findings[:20]))
        on_record = burial.on_record(self.loggers[0].host)
        if on_record < self.records:
            raise Failure(f"{self.records} loggers were given up, on record {on_record}")
        self.verify()
        return sum(expected.values()) - self.given_up_lines(), swapped

    def given_up_lines(self):
        return sum(count for count, _ in self.given_up.values())

    def look_at_files(self):
        wrong = check.different(self.logs()) if self.majority else []
        if wrong:
            raise Failure("; ".join(wrong))

    def verify(self):
        """The loggers' own opinion of each file, and of the others' files of that name; and they have
        the lines that were given up on record."""
        for host in self.file_hosts:
            whole = self.majority and host not in self.reborn
            others = [other for other in self.file_hosts if other is not host and other not in self.reborn]
            for name in sorted(os.listdir(host.directory / "logs")):
                paths = [one.directory / "logs" / name for one in (host, *(others if whole else []))]
                argv = [self.bin / "spreadlogd", "-c", host.directory / "spreadlogd.conf", "--verify"]
                lost = self.given_up_lines() or self.burials
                said = run(*argv, *paths, wanted=GAPS if lost else 0)
                found = re.search(r"given up, in (\d+) lines", said)
                on_record = int(found[1]) if found else 0
                may_be_fewer = host in self.reborn or self.lost_with_disks
                if on_record != self.given_up_lines() and not (may_be_fewer and on_record < self.given_up_lines()):
                    raise Failure(f"{self.given_up_lines()} lines were given up, on record: {said}")

    def misnamed(self):
        """Files named for a time that was not within the run: a wrong clock has decided."""
        now = time.time()
        first, last = now - self.seconds() - faults.HOUR / 2, now + faults.HOUR / 2
        stamps = {name: name.split(".")[1] for log in self.logs() for name, _ in log.files}
        bounds = [time.strftime("%Y%m%d-%H%M%S", time.gmtime(at)) for at in (first, last)]
        return sorted(name for name, stamp in stamps.items() if not bounds[0] <= stamp <= bounds[1])

    def report(self, lines, swapped):
        hits = self.hits.values()
        print(f"ok: torture {self.options.quorum}: seed {self.options.seed}, {self.seconds():.0f} s, "
              f"{sum(map(len, hits))} faults with data in flight, {lines} lines once in each of "
              f"{len(self.file_hosts)} logs{', with a witness' if self.witness else ''}, "
              f"{self.samples} looks at the files, {self.given_up_lines()} lines and {self.burials} loggers "
              "given up, on record")
        if not self.majority:
            print(f"    the order of a publisher goes back {swapped} times, as Quorum = none allows")
        if self.misnamed():
            print(f"    named by a wrong clock: {' '.join(self.misnamed())}")
        for kind, flying in self.hits.items():
            middle = sorted(flying)[len(flying) // 2]
            print(f"    {kind:22} {len(flying):4} times, {middle} bytes in flight in the middle case")

    def begun(self):
        self.see_ends()
        return all(log.bytes() for log in self.logs())

    def run(self):
        until(30, "the first lines in all files", self.begun)
        self.torment()
        self.heal()
        self.settle()
        lines, swapped = self.judge()
        self.report(lines, swapped)

    def end(self):
        """Ends every child, by its pid."""
        sources = [publisher.source for publisher in self.all_publishers()]
        processes = faults.everything(self) + [dropper.logpub for dropper in self.droppers]
        for child in sources + [process.child for process in processes]:
            child.kill()
            child.wait()

    def fail(self, failure):
        self.note(f"FAILED: {failure}")
        self.timeline.seek(0)
        shown = self.timeline.readlines()[-TIMELINE_SHOWN:]
        print(f"FAILED: {failure}\nseed {self.options.seed}, Quorum = {self.options.quorum}; what was done:")
        print("".join(shown), end="")
        keep = Path(self.options.keep)
        shutil.rmtree(keep, ignore_errors=True)
        ignored = shutil.ignore_patterns("socket", "control")
        shutil.copytree(self.scratch, keep, ignore=ignored, dirs_exist_ok=True)
        print(f"kept in {keep}")


def main():
    parser = argparse.ArgumentParser()
    for name in ("bin", "scratch", "anchors", "keep"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--quorum", choices=sorted(LOGGER_NAMES), required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--preload")
    torture = Torture(parser.parse_args())
    try:
        torture.run()
    except (Failure, subprocess.SubprocessError, OSError) as failure:
        torture.fail(failure)
        sys.exit(1)
    finally:
        torture.end()


if __name__ == "__main__":
    main()
