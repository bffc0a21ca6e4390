"""The checker of traces finds what is planted: each test changes a trace in which all is well."""

import unittest

from invariants import check

ADDRESS = "10.77.0.101"


def trace():
    """Host 1 has an address, is killed, and host 2 has it 30 ms later."""
    macs = {"1": "02:01", "2": "02:02"}
    events = [
        {"t": 1.0, "event": "started", "host": 1},
        {"t": 2.0, "event": "add", "host": 1, "address": ADDRESS},
        {"t": 2.001, "event": "log", "host": 1, "word": "acquired", "set": ADDRESS, "reason": "uncovered"},
        {"t": 4.0, "event": "quiet", "hosts": [1, 2], "neighbours": {ADDRESS: "02:01"}, "macs": macs},
        {"t": 5.0, "event": "fault", "what": "kill", "budget": 0.05},
        {"t": 5.0, "event": "dead", "host": 1, "lease": 1.0},
        {"t": 5.01, "event": "gone", "host": 1, "address": ADDRESS},
        {"t": 5.03, "event": "add", "host": 2, "address": ADDRESS},
        {"t": 5.031, "event": "log", "host": 2, "word": "acquired", "set": ADDRESS, "reason": "holder-dead"},
        {"t": 8.0, "event": "quiet", "hosts": [2], "neighbours": {ADDRESS: "02:02"}, "macs": macs},
    ]
    for n in range(1500):
        t = 3.0 + n * 0.004
        if not 5.0 < t < 5.03:
            events.append({"t": t, "event": "answer", "address": ADDRESS, "host": 1 if t <= 5.0 else 2})
    return sorted(events, key=lambda event: event["t"])


class Planted(unittest.TestCase):
    def setUp(self):
        self.events = trace()

    def find(self, **fields):
        return next(e for e in self.events if fields.items() <= e.items())

    def found(self, what):
        self.events.sort(key=lambda event: event["t"])
        wrong = check(self.events)
        self.assertTrue(any(what in sentence for sentence in wrong), wrong)
        return wrong

    def test_all_is_well(self):
        self.assertEqual(check(self.events), [])

    def test_i1_nobody_has_it(self):
        self.events.remove(self.find(event="add", host=2))
        self.found("I1: 10.77.0.101 is on hosts []")

    def test_i1_each_part_of_a_cut_has_it(self):
        self.events.append({"t": 6.0, "event": "cut", "apart": [[1], [2]]})
        self.find(event="quiet", hosts=[2])["hosts"] = [1, 2]
        self.found("I1: 10.77.0.101 is on hosts [] of [1]")

    def test_i2_a_long_gap(self):
        self.events = [e for e in self.events if e["event"] != "answer" or not 5.0 < e["t"] < 5.2]
        self.found("I2: kill")

    def test_i3_a_millisecond_together(self):
        self.find(event="gone", host=1)["t"] = 5.0301
        self.assertEqual(len(self.found("I3: 10.77.0.101 is on hosts [1, 2] at once")), 1)

    def test_i3_not_behind_a_cut(self):
        self.events.append({"t": 4.5, "event": "cut", "apart": [[1], [2]]})
        self.events.append({"t": 5.04, "event": "healed", "within": 0.5})
        self.find(event="gone", host=1)["t"] = 5.3
        self.assertEqual(check(sorted(self.events, key=lambda e: e["t"])), [])

    def test_i3_for_too_long_after_a_cut(self):
        self.events.append({"t": 4.5, "event": "cut", "apart": [[1], [2]]})
        self.events.append({"t": 5.04, "event": "healed", "within": 0.1})
        self.find(event="gone", host=1)["t"] = 5.3
        self.found("I3: 10.77.0.101 is still on hosts [1, 2]")

    def test_i4_the_client_looks_elsewhere(self):
        self.find(event="quiet", hosts=[2])["neighbours"] = {ADDRESS: "02:01"}
        self.found("I4")

    def test_i5_without_a_cause(self):
        self.events.remove(self.find(event="log", host=2))
        self.found("I5: 10.77.0.101 came to host 2")

    def test_i5_with_a_line_that_gives_none(self):
        del self.find(event="log", host=2)["reason"]
        self.found("I5")

    def test_i6_left_behind(self):
        self.find(event="gone", host=1)["t"] = 6.5
        self.found("I6: host 1 still has")

    def test_an_empty_trace_shows_nothing(self):
        self.events = [e for e in self.events if e["event"] != "answer"]
        self.found("nothing is shown")


if __name__ == "__main__":
    unittest.main()
