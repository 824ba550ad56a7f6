"""Answers, for each line {"spec", "zone", "after", "count"}, when PyPI's cronsim has
the schedule come due: a list of Unix times, null where it refuses the specification,
or [] where it has no answer within a second."""

import json
import signal
import sys
from datetime import datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError


class Late(Exception):
    pass


def late(*_):
    raise Late


signal.signal(signal.SIGALRM, late)
for line in sys.stdin:
    case = json.loads(line)
    after = datetime.fromtimestamp(case["after"], ZoneInfo(case["zone"]))
    times = []
    signal.setitimer(signal.ITIMER_REAL, 1)
    try:
        schedule = CronSim(case["spec"], after)
        for _ in range(case["count"]):
            times.append(int(next(schedule).timestamp()))
    except CronSimError:
        times = None
    except StopIteration:
        pass
    except Late:
        times = []
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(json.dumps(times))
