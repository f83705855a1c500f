"""What the operating system can do so that a control loop is not kept waiting: priority, memory, garbage.

None of it is needed at the rates of the policies that ship; docs/operator.md says when it helps.
"""

from __future__ import annotations

import ctypes
import gc
import os

MCL_CURRENT, MCL_FUTURE = 1, 2  # sys/mman.h


class RealtimeError(ValueError):
    """The operating system does not permit what was asked for; the text says what would."""


def set_priority(priority: int) -> None:
    """Run the calling thread as SCHED_FIFO with ``priority`` (1..99), with 0 as usual again. Raises RealtimeError."""
    policy = os.SCHED_FIFO if priority else os.SCHED_OTHER
    try:
        os.sched_setscheduler(0, policy, os.sched_param(priority))
    except PermissionError as error:
        raise RealtimeError(
            f"parameter realtime_priority is {priority}, and this user may not: raise its rtprio in "
            "/etc/security/limits.conf to that (see `ulimit -r`), or give the process CAP_SYS_NICE"
        ) from error


def lock_memory() -> None:
    """Keep all memory of this process, and what it will get, from being swapped out. Raises RealtimeError."""
    if _libc().mlockall(MCL_CURRENT | MCL_FUTURE) != 0:
        raise RealtimeError(
            f"parameter lock_memory is true, and the system says {os.strerror(ctypes.get_errno())}: set memlock to "
            "unlimited for this user in /etc/security/limits.conf (see `ulimit -l`), or give the process CAP_IPC_LOCK"
        )


def unlock_memory() -> None:
    _libc().munlockall()


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def settle_garbage() -> None:
    """Collect what can be collected, and leave what is here alone from now on: ticks look at nothing but their own."""
    gc.collect()
    gc.freeze()


def release_garbage() -> None:
    gc.unfreeze()
