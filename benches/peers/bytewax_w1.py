"""Bytewax on workload W1 (T1): a streaming peer, one worker.

One stateful operator keyed by feeder holds windows and latest readings; it tells what changed once a batch, and a batch
is what arrived in one second. That is cheaper than bytewax's own tumbling windows, which must wait ten minutes so as to
drop nothing, and than a second operator keyed by sensor: feeders never change on T1.
"""

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main
from w1 import START_MS, arguments, first_feeders, write_results

file, _, results, task = arguments()
assert task == "t1", "retraction is not written for bytewax"
FEEDER = [str(feeder) for feeder in first_feeders()]


class Lines(StatefulSourcePartition):
    """The readings that arrived in one second, as (feeder, (sensor, ts, value))."""

    def __init__(self):
        self.file = open(file)
        next(self.file)
        self.ahead = None
        self.second = -1

    def next_batch(self):
        batch = [] if self.ahead is None else [self.ahead]
        self.ahead = None
        for line in self.file:
            ts, value, sensor, arrival, quality, kind = line.split(",")
            if int(quality) >= 2 or kind[0] != "0":
                continue
            sensor = int(sensor)
            row = (FEEDER[sensor], (sensor, int(ts) - START_MS, int(value)))
            second = int(arrival) // 1000
            if second != self.second:
                self.second = second
                if batch:
                    self.ahead = row
                    return batch
            batch.append(row)
        if not batch:
            raise StopIteration
        return batch

    def snapshot(self):
        return None


class Source(FixedPartitionedSource):
    def list_parts(self):
        return ["file"]

    def build_part(self, step_id, for_part, resume_state):
        return Lines()


class Feeder(StatefulBatchLogic):
    def __init__(self):
        self.windows = {}
        self.latest = {}

    def on_batch(self, values):
        changed = set()
        windows, latest = self.windows, self.latest
        for sensor, ts, value in values:
            minute = ts // 60_000
            changed.add(minute)
            account = windows.get(minute)
            if account is None:
                windows[minute] = [value, 1, value]
            else:
                account[0] += value
                account[1] += 1
                if value > account[2]:
                    account[2] = value
            before = latest.get(sensor)
            if before is None or before[0] <= ts:
                latest[sensor] = (ts, value)
        return ([(minute, *windows[minute]) for minute in changed], StatefulBatchLogic.RETAIN)

    def on_eof(self):
        # The latest readings leave at the end, as state does for every other program.
        return ([(None, self.latest)], StatefulBatchLogic.RETAIN)

    def snapshot(self):
        return None


windows, latest = {}, []


class Keep(StatelessSinkPartition):
    def write_batch(self, items):
        for feeder, change in items:
            if change[0] is None:
                latest.extend((sensor, ts + START_MS, value, int(feeder)) for sensor, (ts, value) in change[1].items())
            else:
                windows[(change[0], int(feeder))] = change[1:]


class Sink(DynamicSink):
    def build(self, step_id, worker_index, worker_count):
        return Keep()


flow = Dataflow("w1")
changes = op.stateful_batch("feeders", op.input("file", flow, Source()), lambda resume: Feeder())
op.output("keep", changes, Sink())
run_main(flow)
if results:
    write_results(results, [(*key, *account) for key, account in windows.items()], latest)
