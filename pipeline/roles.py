"""Which parts of the service a process is: without it a public address had internal routes."""

from enum import Flag, StrEnum, auto


class Part(Flag):
    # Whether it is alive and ready is told by every process.
    NONE = 0
    # What callers of the API reach.
    CALLERS = auto()
    # Where tasks are delivered.
    TASKS = auto()
    # Where events are pushed.
    PUSHES = auto()
    # What rescues jobs and sends what dead processes left behind.
    SWEEP = auto()
    # What sends events to the addresses that callers have registered.
    WEBHOOKS = auto()
    ALL = CALLERS | TASKS | PUSHES | SWEEP | WEBHOOKS


class Role(StrEnum):
    ALL = "all"
    API = "api"
    WORKER = "worker"
    SUBSCRIBER = "subscriber"
    SWEEP = "sweep"
    WEBHOOKS = "webhooks"


PARTS = {
    Role.ALL: Part.ALL,
    Role.API: Part.CALLERS,
    Role.WORKER: Part.TASKS,
    Role.SUBSCRIBER: Part.PUSHES,
    Role.SWEEP: Part.SWEEP,
    Role.WEBHOOKS: Part.WEBHOOKS,
}
