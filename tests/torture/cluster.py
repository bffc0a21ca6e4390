"""Hosts, and the processes on them, as the torture handles them: by pid, with a deadline on each wait."""

import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
COUNT = struct.Struct("<QQ")
FULL_BYTES, ROOMY_BYTES = 4096, 4 << 30
ORDERLY_SECONDS = 20
# The least that --queue-bytes takes.
SMALL_SPOOL_BYTES = 262_144
SAID_BYTES = 2000


class Failure(Exception):
    """The programs broke their promise, or did not do something in time."""


class Host:
    """A network namespace with disks of its own; `small` are on a tmpfs that can be full."""

    def __init__(self, number, anchor, directory, small):
        self.number = number
        self.anchor = anchor
        self.directory = Path(directory)
        self.socket = self.directory / "socket"
        self.full, self.was_full = set(), 0
        self.small = small
        for disk in ("state", "logs", "spool"):
            path = self.directory / disk
            path.mkdir()
            if small:
                run("mount", "-t", "tmpfs", "-o", f"size={ROOMY_BYTES},mode=700", "none", path)
        self.clock = self.directory / "clock"
        self.set_clock(0)

    def set_clock(self, seconds):
        """Puts the wall clock of the processes on this host so many seconds off, at once."""
        if not self.clock.exists():
            self.clock.write_bytes(bytes(8))
        with open(self.clock, "r+b") as file:
            file.write(struct.pack("=q", seconds))

    def fill(self, disk):
        """No further page on this disk."""
        self.full.add(disk)
        until(10, f"a full {disk} of host{self.number}", lambda: self.shrink(disk))

    def shrink(self, disk):
        """The disk gets the size of what is on it, unless that grows at this moment."""
        usage = os.statvfs(self.directory / disk)
        used = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
        size = max(used, FULL_BYTES)
        remount = ["mount", "-o", f"remount,size={size}", str(self.directory / disk)]
        return subprocess.run(remount, capture_output=True, timeout=20).returncode == 0

    def free(self, disk):
        run("mount", "-o", f"remount,size={ROOMY_BYTES}", self.directory / disk)
        self.full.discard(disk)
        self.was_full = time.monotonic()

    def full_since(self, moment):
        """Whether a disk is full, or was at some time after this moment."""
        return bool(self.full) or self.was_full > moment

    def plug(self, state):
        """The cable to the switch: up or down."""
        run("ip", "link", "set", f"veth{self.number}", state)


class Process:
    """A program that is started again and again on one host, with the same arguments."""

    def __init__(self, host, name, argv, stdin=subprocess.DEVNULL, preload=None):
        self.host = host
        self.name = name
        self.argv = ["nsenter", "-t", str(host.anchor), "-n", *map(str, argv)]
        self.stdin = stdin
        self.log = host.directory / f"{name}.err"
        self.environment = dict(os.environ, TORTURE_CLOCK=str(host.clock))
        if preload:
            self.environment["LD_PRELOAD"] = str(preload)
        self.child = None
        self.frozen = False
        # Set while a signal of ours is on its way, so that the exit that follows is no surprise.
        self.ending = False

    def start(self):
        with open(self.log, "ab") as log:
            self.log_begin = log.tell()
            self.started = time.monotonic()
            self.child = subprocess.Popen(
                self.argv, stdin=self.stdin, stdout=log, stderr=log, env=self.environment
            )
        self.frozen = self.ending = False

    def running(self):
        return self.child is not None and self.child.returncode is None

    def eligible(self):
        """May be picked for a fault."""
        return self.running() and not self.frozen and not self.ending

    def ready(self):
        """Eligible, and past its start: signals have their meaning."""
        with open(self.log, "rb") as log:
            log.seek(self.log_begin)
            return self.eligible() and b"ready" in log.read()

    def kill(self):
        self.ending = True
        self.child.kill()
        self.child.wait()
        self.frozen = False

    def freeze(self):
        self.frozen = True
        self.child.send_signal(signal.SIGSTOP)

    def thaw(self):
        if self.running() and self.frozen:
            self.child.send_signal(signal.SIGCONT)
        self.frozen = False

    def terminate(self):
        """Asks for an orderly end; who asks looks at `running` later."""
        self.ending = True
        self.child.terminate()

    def wait_end(self, seconds, wanted=0):
        """Waits for the end; anything but the wanted exit code is a failure."""
        try:
            code = self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} (pid {self.child.pid}) did not end in {seconds} s") from None
        if code != wanted:
            raise Failure(f"{self.name} ended with {code}, not {wanted}")


class Publisher:
    """A source of numbered lines, its pipe, and the logpub that reads it; on a spool that it shares
    with the publishers before and after it on its host."""

    def __init__(self, host, name, bin_directory, preload, rate, seed, drops=False):
        """One that `drops` has a small spool of its own, and gives up what finds no room there."""
        self.host = host
        self.name = name
        self.count_path = host.directory / f"{name}.count"
        read_end, write_end = os.pipe()
        # As a web server does, we hold the reading end for the logpub that may have to follow.
        self.read_end = read_end
        self.source = subprocess.Popen(
            [sys.executable, str(HERE / "source.py"), name, str(rate), str(seed), str(self.count_path)],
            stdout=write_end,
            stdin=subprocess.DEVNULL,
        )
        os.close(write_end)
        spool = host.directory / ("small-spool" if drops else "spool")
        argv = [bin_directory / "logpub", "-s", host.socket, "--spool", spool, "web"]
        if drops:
            # Nobody adopts what it leaves: it has to wait until all is through.
            argv += ["--when-full", "drop", "--queue-bytes", SMALL_SPOOL_BYTES, "--drain-seconds", 3600]
        self.logpub = Process(host, f"logpub-{name}", argv, stdin=read_end, preload=preload)
        self.logpub.start()
        self.ended = False

    def count(self):
        """The (lines, bytes) that the source has written."""
        try:
            data = self.count_path.read_bytes()
        except FileNotFoundError:
            return 0, 0
        return COUNT.unpack(data) if len(data) == COUNT.size else (0, 0)

    def given_up(self):
        """The (lines, bytes) that it says at its end to have dropped."""
        if self.logpub.child.returncode == 0:
            return 0, 0
        said = self.logpub.log.read_text(errors="replace")
        found = re.search(r"finished .*dropped-lines=(\d+) dropped-bytes=(\d+)", said)
        if not found:
            raise Failure(f"{self.logpub.name} does not say what it has dropped")
        return int(found[1]), int(found[2])

    def end_source(self):
        """The web server goes away: the end of the input comes behind its last whole line."""
        self.source.terminate()
        self.ended = True

    def close(self):
        os.close(self.read_end)


def run(*argv, wanted=0):
    """A short command that must end with this code; gives what it prints."""
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=20)
    if done.returncode != wanted:
        said = (done.stdout + done.stderr).strip()[-SAID_BYTES:]
        raise Failure(f"exit {done.returncode}: {' '.join(map(str, argv))}: {said}")
    return done.stdout


def until(seconds, what, fact):
    """Waits for a fact."""
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(0.02)
