"""Starts ROS nodes as processes of their own on a private DDS domain, and ends them by their ids.

Everything stays on the loopback interface: nothing of it is seen, or sees others, on the network.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

# Found in 0.1 to 0.4 s instead of 0.1 to 2.6 s: announcements come often, and leave by loopback alone.
_PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns="http://www.eprosima.com">
  <profiles>
    <transport_descriptors>
      <transport_descriptor>
        <transport_id>loopback</transport_id>
        <type>UDPv4</type>
        <interfaceWhiteList><address>127.0.0.1</address></interfaceWhiteList>
      </transport_descriptor>
    </transport_descriptors>
    <participant profile_name="loopback" is_default_profile="true">
      <rtps>
        <useBuiltinTransports>false</useBuiltinTransports>
        <userTransports><transport_id>loopback</transport_id></userTransports>
        <builtin>
          <discovery_config>
            <leaseDuration><sec>5</sec></leaseDuration>
            <leaseAnnouncement><sec>0</sec><nanosec>200000000</nanosec></leaseAnnouncement>
            <initialAnnouncements>
              <count>20</count>
              <period><sec>0</sec><nanosec>50000000</nanosec></period>
            </initialAnnouncements>
          </discovery_config>
        </builtin>
      </rtps>
    </participant>
  </profiles>
</dds>
"""
_HIGHEST_DOMAIN = 101  # beyond it the ports of DDS meet the ephemeral ones
_GRACE_SECONDS = 10.0


class ProcessError(RuntimeError):
    """A node's process ended, or did not end, when it should not have."""


@contextlib.contextmanager
def private_domain(folder: Path) -> Iterator[dict[str, str]]:
    """This process is in a DDS domain on loopback that nobody else uses; writes its profile into ``folder``.

    Gives the environment variables that make it so, for others to join; afterwards they are as they were. Raises
    ProcessError where every domain is taken.
    """
    profile = folder / "fastdds_loopback.xml"
    profile.write_text(_PROFILE)
    lock, domain = _claim_domain()
    environment = {
        "ROS_DOMAIN_ID": str(domain),
        "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
        _profile_variable(): str(profile),
        "ROS_LOG_DIR": str(folder / "log"),
    }
    try:
        with _environment(environment):
            yield environment
    finally:
        lock.close()


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """``values`` in this process's environment for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _profile_variable() -> str:
    """Where Fast DDS looks for its profile: renamed with Kilted, which warns of the old name."""
    kilted = importlib.util.find_spec("rclpy.experimental") is not None
    return "FASTDDS_DEFAULT_PROFILES_FILE" if kilted else "FASTRTPS_DEFAULT_PROFILES_FILE"


def _claim_domain() -> tuple[IO[str], int]:
    """A domain whose ports are free, and the open file that keeps other runs on this machine off it."""
    domains = list(range(1, _HIGHEST_DOMAIN + 1))
    random.Random(os.getpid()).shuffle(domains)
    for domain in domains:
        lock = _lock(domain)
        if lock is None:
            continue
        if _ports_free(domain):
            return lock, domain
        lock.close()
    raise ProcessError(f"no free ROS_DOMAIN_ID from 1 to {_HIGHEST_DOMAIN}")


def _lock(domain: int) -> IO[str] | None:
    path = Path(tempfile.gettempdir()) / f"ddiffpg-domain-{os.getuid()}-{domain}.lock"
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def _ports_free(domain: int) -> bool:
    """Are the discovery ports of the domain (RTPS: 7400 + 250 a domain) free?"""
    base = 7400 + 250 * domain
    try:
        for port in (base, base + 10, base + 11):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


class CommandProcess:
    """``python -m module`` with ``arguments``, as a process; its output goes to ``log``."""

    def __init__(self, module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.module, self.log = module, log
        with log.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env={**os.environ, **environment, "PYTHONPATH": _import_path(), "PYTHONUNBUFFERED": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the terminal's Ctrl-C is for us; we end it in order
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """Raises ProcessError, with the end of its output, where the process has ended."""
        if self.returncode is not None:
            raise ProcessError(f"{self.module} ended with code {self.returncode}:\n{self.output()[-2000:]}")

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float = _GRACE_SECONDS) -> int:
        """Its exit code; ProcessError where it has not ended after ``timeout`` seconds."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise ProcessError(f"{self.module} (process {self.pid}) did not end in {timeout:g} s") from error

    def end(self) -> int:
        """SIGINT, then kill where that does not help; returns the exit code."""
        if self.returncode is None:
            self.send(signal.SIGINT)
            try:
                return self.wait()
            except ProcessError:
                self._process.kill()
        return self._process.wait()


class NodeProcess(CommandProcess):
    """A node, ``python -m module`` with ``parameters``, as a process."""

    def __init__(
        self, module: str, parameters: Mapping[str, Any], environment: Mapping[str, str], log: Path, *more: str
    ) -> None:
        arguments = [f"{name}:={json.dumps(value)}" for name, value in parameters.items()]
        flags = [word for argument in arguments for word in ("-p", argument)]
        super().__init__(module, ["--ros-args", *flags, *more], environment, log)


def _import_path() -> str:
    """This process's import path, so that a node finds what we find, installed or not."""
    return os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path if entry)
