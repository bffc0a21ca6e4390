"""A logger whose disk is lost: it is given up, its directory goes, and a new one takes its name."""

import json
import re
import shutil
import subprocess

# How long after a word that may or may not have been put in order it is said again.
PATIENCE_SECONDS = 30
ASK_TIMEOUT = 5
NAMED = re.compile(rb"(h\d+[gd]\d+) (\d+) ")


class Burial:
    """From the kill until the new one counts. The first logger of the list is the one that speaks, and is
    never given up itself, so that its files are whole."""

    def __init__(self, torture, victim):
        self.torture = torture
        self.victim = victim
        self.name = victim.name.removeprefix("logger-")
        self.speaker = torture.loggers[0]
        self.before = on_record(self.speaker.host)
        self.log_begin = self.speaker.log.stat().st_size
        self.asked = None

    def begin(self):
        self.torture.burying = self
        self.torture.later(0.2, f"forget {self.name}", self.ask)

    def ask(self):
        """Says it until it is not refused."""
        if self.speaker.eligible() and self.say():
            self.asked = self.torture.seconds()
            self.torture.later(0.2, f"is {self.name} forgotten?", self.look)
        else:
            self.torture.later(0.3, f"forget {self.name}", self.ask)

    def say(self):
        """Whether the logger may have been given up: only a plain no is none."""
        config = self.speaker.host.directory / "spreadlogd.conf"
        argv = [self.torture.bin / "spreadlogd", "-c", config, "forget", self.name]
        try:
            return subprocess.run(argv, capture_output=True, timeout=ASK_TIMEOUT).returncode != 1
        except subprocess.TimeoutExpired:
            return True

    def look(self):
        """The record has to stand in the journals before the new logger may come."""
        if self.is_on_record():
            self.bury()
        elif self.torture.seconds() > self.asked + PATIENCE_SECONDS:
            self.ask()
        else:
            self.torture.later(0.3, f"is {self.name} forgotten?", self.look)

    def is_on_record(self):
        with open(self.speaker.log, "rb") as log:
            log.seek(self.log_begin)
            words = log.read()
        named = f"logger-forgotten name={self.name}\n".encode() in words
        if named and on_record(self.speaker.host) > self.before:
            self.torture.records += 1
            return True
        # It has not been back since it was forgotten the last time: of that there is a record.
        return f"logger-already-forgotten group=web name={self.name}\n".encode() in words

    def bury(self):
        torture, host = self.torture, self.victim.host
        if not torture.majority:
            # What it has accepted alone is lost with it, wherever that stands: what it has learnt
            # from the others since may be long.
            torture.lost_with_disks |= journal(host) - journal(self.speaker.host)
            # Most of them are published again, as nobody has acknowledged them.
            for path in (self.speaker.host.directory / "logs").iterdir():
                torture.lost_with_disks -= named(path.read_bytes())
        for disk in ("state", "logs"):
            for path in (host.directory / disk).iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        everybody = torture.all_publishers()
        torture.reborn[host] = {each.name.encode(): each.count()[0] for each in everybody}
        torture.compared.forget(host.directory / "logs")
        torture.burials += 1
        torture.note(f"{self.name} is forgotten; a new one comes")
        self.log_begin = self.speaker.log.stat().st_size
        self.victim.start()
        self.mourn()

    def mourn(self):
        """With a majority the next disk may not be lost before the new logger has what the others
        have: of two that are gone, nobody could give up either."""
        if self.torture.majority and not self.counts():
            self.torture.later(0.3, f"does {self.name} count?", self.mourn)
        else:
            self.torture.burying = None

    def counts(self):
        """Whether the speaker has opened a round with it since it came."""
        with open(self.speaker.log, "rb") as log:
            log.seek(self.log_begin)
            lists = re.findall(rb"round-open group=web loggers=(\S+)", log.read())
        return any(self.name.encode() in names.split(b",") for names in lists)


def checkpoint(host):
    """What a logger's manifest says last."""
    last = {}
    try:
        text = (host.directory / "state/web/manifest").read_bytes()
    except FileNotFoundError:
        return last
    for line in text.split(b"\n"):
        if b'{"checkpoint":' in line:
            try:
                last = json.loads(line[17:])["checkpoint"]
            except ValueError:
                break  # Torn: it is being written.
    return last


def on_record(host):
    """How many loggers were given up, by a logger's manifest."""
    return checkpoint(host).get("forgotten", 0)


def named(data):
    """The (publisher, sequence) of what may be lines in these bytes; some that are none do no harm."""
    return {(name, int(sequence)) for name, sequence in NAMED.findall(data)}


def journal(host):
    """The lines in a logger's journal."""
    found = set()
    for path in (host.directory / "state/web").glob("journal.*"):
        found |= named(path.read_bytes())
    return found
