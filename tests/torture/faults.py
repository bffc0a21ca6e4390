"""The kinds of faults. Each picks its victims by the torture's chance, does the harm, arranges the
healing with `later`, and returns what it did; None if there is nothing to harm at this moment."""

import signal

from burial import Burial
from cluster import Process

HOUR = 3600
# A logger that is silent for five seconds is struck out; a frozen one is so for longer than that.
STRIKE_SECONDS = (5.5, 7.5)
FROZEN_SECONDS = (2.5, 4)


def pick(torture, processes, may=Process.eligible):
    there = [process for process in processes if may(process)]
    return torture.chance.choice(there) if there else None


def kill(torture, victims):
    """kill -9, and a start after a while, as a supervisor does."""
    victims = [victim for victim in victims if victim.running() and not victim.ending]
    for victim in victims:
        victim.kill()
    for victim in victims:
        # A logpub may have come to its end a moment before.
        if victim.child.returncode != 0:
            torture.later(torture.chance.choice((0, 0.3, 1, 2.5)), f"start {victim.name}", victim.start)
    return "kill -9 " + " ".join(victim.name for victim in victims) if victims else None


def kill_one(processes):
    def fault(torture):
        victim = pick(torture, processes(torture))
        return kill(torture, [victim]) if victim else None

    return fault


def kill_all(processes):
    return lambda torture: kill(torture, processes(torture))


def freeze(processes, seconds):
    def fault(torture):
        victim = pick(torture, processes(torture))
        if victim is None:
            return None
        victim.freeze()
        torture.later(torture.chance.uniform(*seconds), f"continue {victim.name}", victim.thaw)
        return f"stop {victim.name}"

    return fault


def restart(processes):
    """An orderly end and a new start."""

    def fault(torture):
        victim = pick(torture, processes(torture), Process.ready)
        if victim is None:
            return None
        victim.terminate()
        torture.start_when_ended(victim)
        return f"terminate {victim.name}"

    return fault


def start_at_frozen(torture):
    """A logger or logpub that comes back while its groupd is stopped for longer than it waits for
    one: its connection that was given up is still there, under its name, when groupd goes on."""
    daemon = pick(torture, groupds(torture))
    if daemon is None:
        return None
    here = [process for process in loggers(torture) + logpubs(torture) if process.host is daemon.host]
    victim = pick(torture, here)
    if victim is None:
        return None
    daemon.freeze()
    torture.later(torture.chance.uniform(*FROZEN_SECONDS), f"continue {daemon.name}", daemon.thaw)
    victim.kill()
    if victim.child.returncode != 0:
        torture.later(0.1, f"start {victim.name}", victim.start)
    return f"stop {daemon.name}; kill -9 {victim.name}"


def drop(torture):
    """A publisher of many lines and little room, while its groupd is stopped: it has to give some
    up, and the loggers have to know how many."""
    daemon = pick(torture, groupds(torture))
    if daemon is None or torture.droppers:
        return None
    daemon.freeze()
    dropper = torture.start_dropper(daemon.host)
    thaw_at = torture.chance.uniform(1.5, 2.5)
    torture.later(thaw_at, f"continue {daemon.name}", daemon.thaw)
    torture.later(thaw_at + torture.chance.uniform(0, 1), f"end of {dropper.name}", dropper.end_source)
    return f"stop {daemon.name}; {dropper.name} must drop lines"


def graceful(torture):
    """A web server's graceful restart: a second logpub on the spool, then the first one's input ends."""
    publisher = torture.chance.choice(torture.publishers)
    follower = torture.start_publisher(publisher.host)
    torture.later(torture.chance.uniform(0, 1.5), f"end of {publisher.name}", publisher.end_source)
    torture.publishers.remove(publisher)
    torture.leaving.append(publisher)
    return f"{follower.name} beside {publisher.name}"


def crash_in_restart(torture):
    """As `graceful`, and both are killed at once: each must find its own unfinished line again."""
    what = graceful(torture)
    pair = [torture.publishers[-1].logpub, torture.leaving[-1].logpub]
    return f"{what}; {kill(torture, pair)}"


def cut(torture):
    """One host is alone."""
    return unplug(torture, [torture.chance.choice(torture.hosts)])


def cut_all(torture):
    """Every host is alone."""
    return unplug(torture, list(torture.hosts))


def unplug(torture, hosts):
    hosts = [host for host in hosts if host not in torture.unplugged]
    for host in hosts:
        torture.unplugged.append(host)
        host.plug("down")
        torture.later(torture.chance.uniform(0.2, 3), f"plug host{host.number}", torture.replug, host)
    return "unplug " + " ".join(f"host{host.number}" for host in hosts) if hosts else None


def full(disk, wanted):
    def fault(torture):
        hosts = [host for host in wanted(torture) if host.small and disk not in host.full]
        if not hosts:
            return None
        host = torture.chance.choice(hosts)
        host.fill(disk)
        healing = f"room in {disk} of host{host.number}"
        torture.later(torture.chance.uniform(0.3, 2.5), healing, host.free, disk)
        return f"no room in {disk} of host{host.number}"

    return fault


def clock(torture):
    """The wall clock of one logger's host is an hour off for a while. One at a time: the promise
    is about the median of the loggers' clocks."""
    if torture.clock_off:
        return None
    host = torture.chance.choice(torture.logger_hosts)
    seconds = torture.chance.choice((HOUR, -HOUR))
    torture.clock_off = host
    host.set_clock(seconds)
    torture.later(torture.chance.uniform(1, 4), f"clock of host{host.number} right", torture.right_clock)
    return f"clock of host{host.number} {seconds:+d} s"


def forget(torture):
    """A logger's disk is lost: it is given up, and comes back as a new one."""
    victim = pick(torture, torture.loggers[1:], Process.ready)
    if victim is None or torture.burying:
        return None
    burial = Burial(torture, victim)
    victim.kill()
    burial.begin()
    return f"kill -9 {victim.name}, for good"


def hang_up(torture):
    victim = pick(torture, torture.loggers, Process.ready)
    if victim is None:
        return None
    victim.child.send_signal(signal.SIGHUP)
    return f"HUP {victim.name}"


def logpubs(torture):
    return [publisher.logpub for publisher in torture.publishers + torture.leaving]


def groupds(torture):
    return torture.groupds


def loggers(torture):
    return torture.loggers


def everything(torture):
    return groupds(torture) + loggers(torture) + logpubs(torture)


SHORT = (0.2, 2.0)
KINDS = {
    "kill logpub": kill_one(logpubs),
    "kill groupd": kill_one(groupds),
    "kill logger": kill_one(loggers),
    "kill all loggers": kill_all(loggers),
    "kill all groupd": kill_all(groupds),
    "kill everything": kill_all(everything),
    "stop logpub": freeze(logpubs, SHORT),
    "stop groupd": freeze(groupds, SHORT),
    "stop logger": freeze(loggers, SHORT),
    "strike logger": freeze(loggers, STRIKE_SECONDS),
    "start at frozen groupd": start_at_frozen,
    "restart groupd": restart(groupds),
    "restart logger": restart(loggers),
    "drop lines": drop,
    "two on a spool": graceful,
    "two killed": crash_in_restart,
    "cut one host": cut,
    "cut all hosts": cut_all,
    "full journal": full("state", lambda torture: torture.logger_hosts),
    "full files": full("logs", lambda torture: torture.file_hosts),
    "full spool": full("spool", lambda torture: torture.hosts),
    "clock an hour off": clock,
    "HUP logger": hang_up,
    "forget logger": forget,
}
