"""What must hold of the files of loggers. Knows nothing of how they came to be.

    check.py once EXPECTED LOG       every line once, and in its publisher's order
    check.py same LOG LOG...         one is a prefix of the other, rotation points included

A LOG is a directory with the files that one logger wrote, in the order of their names. EXPECTED has
a line `PUBLISHER COUNT` for each publisher. Prints what it finds and exits 1 if that is anything.
"""

import os
import sys

import lines

REPORTED = 20


class Log:
    """The files of one logger, as they stand now; empty files say nothing and are left out. A
    `newborn` one begins somewhere in the others' files."""

    def __init__(self, directory, newborn=False):
        self.directory = directory
        self.newborn = newborn
        # Names first: a file that has a successor by then has its last byte.
        names = sorted(os.listdir(directory))
        sized = [(name, os.stat(os.path.join(directory, name)).st_size) for name in names]
        self.files = [(name, size) for name, size in sized if size]

    def bytes(self):
        return sum(size for _, size in self.files)

    def read(self, name, begin, end):
        with open(os.path.join(self.directory, name), "rb") as file:
            file.seek(begin)
            return file.read(end - begin)

    def lines(self):
        """Each line without its newline; the rest of a file behind its last newline comes as a line
        that cannot be a whole one."""
        for name, _ in self.files:
            with open(os.path.join(self.directory, name), "rb") as file:
                for line in file:
                    yield line[:-1] if line.endswith(b"\n") else line + b" (no newline)"


class Compared:
    """The prefix property of two logs that grow; remembers what it has compared."""

    def __init__(self):
        self.equal_bytes = {}
        # Where newborn logs begin in older ones: the file there, and the offset in it.
        self.begins = {}

    def forget(self, directory):
        """What was compared of this log: another one stands there now."""
        for known in (self.equal_bytes, self.begins):
            for key in [key for key in known if str(directory) in map(str, key)]:
                del known[key]

    def compare(self, one, other):
        """What is wrong, as a sentence, or None."""
        if one.newborn and other.newborn:
            return None
        if one.newborn or other.newborn:
            return self.compare_newborn(*(other, one) if one.newborn else (one, other))
        return self.compare_files(one, other, one.files, other.files)

    def compare_newborn(self, old, new):
        """The new log's first file is the end of one of the old log's, or of what will be; the files
        behind it are the same."""
        if not new.files:
            return None
        name, size = new.files[0]
        at = next((at for at, (there, _) in enumerate(old.files) if there == name), None)
        if at is None:
            later = old.files and old.files[-1][0] > name
            return f"{new.directory}/{name} begins where {old.directory} has no file" if later else None
        key = (old.directory, new.directory, name)
        if key not in self.begins:
            first = new.read(name, 0, size).partition(b"\n")
            text = b"\n" + old.read(name, 0, old.files[at][1])
            offset = text.find(b"\n" + first[0] + first[1])
            if offset < 0:
                ended = at + 1 < len(old.files)
                return f"{new.directory}/{name} is no part of {old.directory}/{name}" if ended else None
            self.begins[key] = offset
        offset = self.begins[key]
        ended, ended_there = len(new.files) > 1, at + 1 < len(old.files)
        missing = old.files[at][1] - offset - size
        if (ended and missing > 0) or (ended_there and missing < 0):
            return f"{new.directory}/{name} and {old.directory}/{name}: other rotation points"
        wrong = self.compare_bytes(old, new, name, max(0, min(size, size + missing)), offset)
        return wrong or self.compare_files(old, new, old.files[at + 1 :], new.files[1:])

    def compare_files(self, one, other, files, files_there):
        for at, ((name, size), (name_there, size_there)) in enumerate(zip(files, files_there)):
            here, there = f"{one.directory}/{name}", f"{other.directory}/{name_there}"
            if name != name_there:
                return f"{here} and {there} have the same place in the order"
            ended, ended_there = at + 1 < len(files), at + 1 < len(files_there)
            if (ended and size < size_there) or (ended_there and size_there < size):
                return f"{here}, {size} bytes, and {there}, {size_there} bytes: other rotation points"
            wrong = self.compare_bytes(one, other, name, min(size, size_there))
            if wrong:
                return wrong
        return None

    def compare_bytes(self, one, other, name, end, offset=0):
        """The first bytes of a file, in the one log behind an offset."""
        # A logger that was killed may begin again with less of a file than it had.
        key = (one.directory, other.directory, name)
        begin = min(self.equal_bytes.get(key, 0), end)
        while begin < end:
            step = min(end, begin + (1 << 20))
            here, there = one.read(name, offset + begin, offset + step), other.read(name, begin, step)
            # Shorter than its size was: cut off at this moment, and looked at again next time.
            common = min(len(here), len(there))
            if here[:common] != there[:common]:
                differ = next(i for i in range(common) if here[i] != there[i])
                return f"{name} differs at byte {begin + differ} in {one.directory} and {other.directory}"
            begin += common
            if begin < step:
                break
        self.equal_bytes[key] = begin
        return None


def once(log, expected, in_order=True, given_up=None, may_lack=None):
    """Sentences on what is lost, double, out of order or no line of ours; expected is
    {publisher: count}, given_up how many lines of a publisher must not be there, and may_lack tells
    of a (publisher, sequence) whether nobody has promised it."""
    findings = []
    seen = {publisher: bytearray(count + 1) for publisher, count in expected.items()}
    last = dict.fromkeys(expected, 0)
    swapped = 0
    for number, line in enumerate(log, 1):
        parsed = lines.parse(line)
        if parsed is None:
            findings.append(f"torn: line {number} is no numbered line: {line[:100]!r}")
            continue
        publisher, sequence = parsed
        name = f"{publisher.decode()} {sequence}"
        if sequence >= len(seen.get(publisher, b"")) or sequence == 0:
            findings.append(f"unknown: line {number}: nobody wrote {name}")
        elif seen[publisher][sequence]:
            findings.append(f"double: line {number}: {name} again")
        else:
            seen[publisher][sequence] = 1
            if sequence < last[publisher]:
                swapped += 1
                if in_order:
                    findings.append(f"order: line {number}: {name} behind {last[publisher]}")
            last[publisher] = sequence
    for publisher, marks in seen.items():
        lost = [sequence for sequence in range(1, len(marks)) if not marks[sequence]]
        on_record = (given_up or {}).get(publisher, 0)
        if may_lack and len(lost) > on_record:
            lost = [sequence for sequence in lost if not may_lack(publisher, sequence)]
            if len(lost) < on_record:
                continue
        if len(lost) != on_record:
            ends = f", {lost[0]} to {lost[-1]}" if lost else ""
            findings.append(
                f"lost: {len(lost)} of {publisher.decode()}{ends}, {on_record} were given up"
            )
    return findings, swapped


def same(directories):
    """Sentences on logs of which neither is a prefix of the other."""
    return different([Log(directory) for directory in directories])


def different(logs):
    pairs = ((one, other) for at, one in enumerate(logs) for other in logs[at + 1 :])
    return [wrong for one, other in pairs if (wrong := Compared().compare(one, other))]


def read_expected(path):
    with open(path, "rb") as file:
        return {publisher: int(count) for publisher, count in map(bytes.split, file)}


def main(command, *arguments):
    if command == "once":
        expected, directory = arguments
        findings, _ = once(Log(directory).lines(), read_expected(expected))
    elif command == "same":
        findings = same(arguments)
    else:
        sys.exit(__doc__)
    for finding in findings[:REPORTED]:
        print(finding)
    if len(findings) > REPORTED:
        print(f"and {len(findings) - REPORTED} more")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) > 2 else sys.exit(__doc__)
