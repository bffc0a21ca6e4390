"""The check finds what is planted: run by the play `torture` before anything else."""

import random
import tempfile
import unittest
from pathlib import Path

import check
import lines


def numbered(publishers, count, seed=1):
    """Lines of several publishers, mixed, each one's in order."""
    chance = random.Random(seed)
    left = {publisher: 0 for publisher in publishers}
    mixed = []
    while left:
        publisher = chance.choice(sorted(left))
        left[publisher] += 1
        mixed.append(lines.make(publisher, left[publisher], lines.padding_bytes(chance)))
        if left[publisher] == count:
            del left[publisher]
    return mixed


class Lines(unittest.TestCase):
    def test_a_line_is_read_back(self):
        for padding in (0, 1, 300, lines.LONG_LINE_BYTES):
            line = lines.make(b"p1", 12345, padding)
            self.assertEqual(lines.parse(line[:-1]), (b"p1", 12345))
            self.assertEqual(line.count(b"\n"), 1)

    def test_a_changed_byte_is_seen(self):
        line = bytearray(lines.make(b"p1", 7, 40)[:-1])
        for at in range(len(line)):
            line[at] ^= 1
            self.assertIsNone(lines.parse(bytes(line)), f"byte {at}")
            line[at] ^= 1

    def test_torn_and_joined_lines_are_seen(self):
        one, other = lines.make(b"p1", 1, 60)[:-1], lines.make(b"p1", 2, 60)[:-1]
        for torn in (b"", one[:-1], one[1:], one + other, one[:30] + other[30:]):
            self.assertIsNone(lines.parse(torn))


class Once(unittest.TestCase):
    expected = {b"p1": 50, b"p2": 50}

    def kinds(self, log, in_order=True):
        findings, self.swapped = check.once((line[:-1] for line in log), self.expected, in_order)
        return sorted({finding.split(":")[0] for finding in findings})

    def setUp(self):
        self.log = numbered([b"p1", b"p2"], 50)

    def test_a_whole_log_passes(self):
        self.assertEqual(self.kinds(self.log), [])

    def test_each_planted_loss_is_found(self):
        for at in range(len(self.log)):
            self.assertEqual(self.kinds(self.log[:at] + self.log[at + 1 :]), ["lost"])

    def test_a_loss_must_be_what_was_given_up(self):
        log = [line[:-1] for line in self.log]
        for given_up, right in (({}, False), ({b"p1": 1}, True), ({b"p1": 2}, False)):
            without = [line for line in log if lines.parse(line) != (b"p1", 7)]
            findings, _ = check.once(without, self.expected, given_up=given_up)
            self.assertEqual(not findings, right)

    def test_each_planted_double_is_found(self):
        for at in range(len(self.log)):
            self.assertEqual(self.kinds(self.log[: at + 1] + self.log[at:]), ["double"])
            self.assertEqual(self.kinds(self.log + [self.log[at]]), ["double"])

    def test_each_planted_swap_is_found(self):
        mine = [at for at, line in enumerate(self.log) if line.startswith(b"p1 ")]
        for at, following in zip(mine, mine[1:]):
            log = list(self.log)
            log[at], log[following] = log[following], log[at]
            self.assertEqual(self.kinds(log), ["order"])
            self.assertEqual(self.swapped, 1)
            self.assertEqual(self.kinds(log, in_order=False), [])
            self.assertEqual(self.swapped, 1)

    def test_a_double_in_place_of_a_loss_is_both(self):
        log = list(self.log)
        log[3] = log[2]
        self.assertEqual(self.kinds(log), ["double", "lost"])

    def test_other_lines_are_found(self):
        self.assertEqual(self.kinds(self.log + [lines.make(b"p1", 51, 9)]), ["unknown"])
        self.assertEqual(self.kinds(self.log + [lines.make(b"p3", 1, 9)]), ["unknown"])
        self.assertEqual(self.kinds(self.log + [b"\n"]), ["torn"])


class Lack(unittest.TestCase):
    def test_only_what_nobody_has_promised_may_be_lacking(self):
        log = [line[:-1] for line in numbered([b"p1"], 50)]
        for lacking, dropped, right in (
            (range(1, 4), 0, True),
            (range(3, 6), 0, False),
            ((1, 2, 9), 1, True),
            ((1, 9), 2, True),
            ((9,), 0, False),
        ):
            rest = [line for line in log if lines.parse(line)[1] not in lacking]
            may_lack = lambda publisher, sequence: sequence <= 4
            found, _ = check.once(rest, {b"p1": 50}, True, {b"p1": dropped}, may_lack)
            self.assertEqual(found == [], right, (lacking, dropped, found))


class Same(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = Path(scratch.name)

    def log(self, name, *files):
        directory = self.scratch / name
        directory.mkdir(exist_ok=True)
        for number, text in enumerate(files):
            (directory / f"log.{number}").write_bytes(text)
        return str(directory)

    def found(self, *logs):
        return len(check.same(logs))

    def test_a_prefix_passes(self):
        whole = self.log("a", b"1\n2\n", b"3\n4\n")
        for name, files in {"b": [b"1\n"], "c": [b"1\n2\n"], "d": [b"1\n2\n", b"3\n"], "e": []}.items():
            self.assertEqual(check.same([whole, self.log(name, *files)]), [])
        self.assertEqual(check.same([whole, self.log("f", b"1\n2\n", b"3\n4\n")]), [])

    def test_a_planted_loss_double_or_swap_is_found(self):
        whole = self.log("a", b"1\n2\n3\n4\n")
        for name, text in {"b": b"1\n3\n4\n", "c": b"1\n2\n2\n3\n", "d": b"2\n1\n3\n4\n"}.items():
            self.assertEqual(self.found(whole, self.log(name, text)), 1)

    def test_another_rotation_point_is_found(self):
        whole = self.log("a", b"1\n2\n", b"3\n")
        self.assertEqual(self.found(whole, self.log("b", b"1\n", b"2\n3\n")), 1)
        self.assertEqual(self.found(whole, self.log("c", b"1\n2\n3\n")), 1)

    def test_another_name_is_found(self):
        other = self.log("b")
        Path(other, "log.9").write_bytes(b"1\n")
        self.assertEqual(self.found(self.log("a", b"1\n"), other), 1)

    def test_any_pair_of_three_is_compared(self):
        logs = [self.log("a", b"1\n2\n"), self.log("b", b"1\n"), self.log("c", b"1\n9\n")]
        self.assertEqual(self.found(*logs), 1)

    def test_a_new_log_begins_within_an_old_one(self):
        old = check.Log(self.log("a", b"1\n2\n3\n", b"4\n5\n"))
        for name, files, right in (
            ("b", [b"2\n3\n", b"4\n"], True),
            ("c", [b"3\n", b"4\n5\n"], True),
            ("d", [b"1\n2\n3\n", b"4\n5\n"], True),
            ("e", [], True),
            ("f", [b"2\n", b"4\n"], False),
            ("g", [b"3\n2\n"], False),
            ("h", [b"2\n3\n", b"5\n"], False),
            ("i", [b"2\n3\n4\n"], False),
            ("j", [b"9\n"], False),
        ):
            new = check.Log(self.log(name, *files), newborn=True)
            for pair in ((old, new), (new, old)):
                self.assertEqual(check.Compared().compare(*pair) is None, right, name)

    def test_the_next_new_log_may_begin_elsewhere(self):
        compared = check.Compared()
        old = check.Log(self.log("a", b"1\n2\n3\n"))
        for text in (b"2\n", b"3\n"):
            new = check.Log(self.log("b", text), newborn=True)
            self.assertIsNone(compared.compare(old, new))
            compared.forget(self.scratch / "b")

    def test_what_grows_is_compared_on(self):
        compared = check.Compared()
        for text, right in ((b"1\n", True), (b"1\n2\n", True), (b"1\n", True), (b"1\n3\n", False)):
            one, other = self.log("a", b"1\n2\n"), self.log("b", text)
            self.assertEqual(compared.compare(check.Log(one), check.Log(other)) is None, right, text)


if __name__ == "__main__":
    unittest.main()
