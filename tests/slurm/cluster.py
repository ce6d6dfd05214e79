"""A real SLURM cluster on one machine: munged, a controller, five nodes and two users, all in one folder.

In: root, the packages slurm-wlm, munge and iproute2. Out: a :class:`Cluster`, on whose login node commands run as a
user and on whose nodes jobs run. What makes it a cluster rather than a mock of one:

- Each node has its own hostname, processes, network and /tmp. One port can be bound on two nodes, a server bound to
  127.0.0.1 can't be reached from another node, and a node that crashes takes everything on it along.
- The users are real users (not root), known inside the cluster alone. /etc of the machine stays as it is.
- Login node and nodes share everything but /tmp, as they share a file system on a cluster. Homes are in the folder.
- There is no accounting: `sacct` fails, as it does on clusters without slurmdbd.

Invariant: the cluster lives only as long as a pipe that this process holds. Once it is closed, by :meth:`Cluster.down`
or because this process was killed, the kernel kills every process of the cluster, its mounts and networks go with
them, and a shell in the background wipes the folder and the control groups.
"""

from __future__ import annotations

import contextlib
import functools
import grp
import os
import pwd
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

GPU_NODES = ("gpu1", "gpu2")
CPU_NODES = ("cpu1", "cpu2", "cpu3")
NODES = GPU_NODES + CPU_NODES
LOGIN = "login1"
USERS = ("alice", "bob")
GPUS_PER_NODE = 4
PATIENCE_S = 60.0
"""How long anything may take that has no better limit: a busy machine with two cores and three clusters."""

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "ip", "unshare", "nsenter", "setpriv")
INSTALL = "apt-get install --no-install-recommends slurm-wlm munge iproute2"
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NETWORK = "10.77.0"
"""Of a network of its own: every cluster may use the same addresses and ports."""
_CONTROLLER_PORT, _NODE_PORT = 6817, 6818

# Times are short where SLURM allows it. cred_expire is what a requeued job waits until it starts again (120 s by
# default). ReturnToService=1: a crashed node comes back by itself, one that was set down waits to be resumed.
# MinJobAge: a finished job stays in `squeue -t all`. config_overrides: nodes claim more than the machine has.
# proctrack/cgroup is the only one that kills daemonised children at the end of a job.
_SLURM_CONF = f"""\
ClusterName=lab
SlurmctldHost={LOGIN}({_NETWORK}.1)
SlurmctldPort={_CONTROLLER_PORT}
SlurmdPort={_NODE_PORT}
SlurmUser=slurm
AuthType=auth/munge
AuthInfo=socket={{lab}}/munge/socket,cred_expire=10
CredType=cred/munge
StateSaveLocation={{lab}}/spool/controller
SlurmdSpoolDir={{lab}}/spool/%n
SlurmctldPidFile={{lab}}/run/slurmctld.pid
SlurmdPidFile={{lab}}/run/slurmd-%n.pid
SlurmctldLogFile={{lab}}/log/slurmctld.log
SlurmdLogFile={{lab}}/log/slurmd-%n.log
SlurmctldDebug=info
SlurmdDebug=info
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/{{tracker}}
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=1000
SlurmdParameters=config_overrides
GresTypes=gpu
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
JobRequeue=1
MaxArraySize=1001
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=5,bf_interval=2,bf_continue
PriorityType=priority/basic
ReturnToService=1
SlurmctldTimeout=10
SlurmdTimeout=10
MessageTimeout=5
TCPTimeout=2
InactiveLimit=0
KillWait=3
MinJobAge=3600
UnkillableStepTimeout=20
BatchStartTimeout=10
CompleteWait=0
"""

# short: for time limits; one minute is the least there is, and it fires after 82 to 88 s.
# closed: refuses jobs, as a drained partition does. For other refusals see Cluster.configured.
_PARTITIONS = """\
PartitionName=cpu Nodes={cpu} Default=YES LLN=YES DefaultTime=10 MaxTime=1-0 PriorityTier=10 PreemptMode=OFF
PartitionName=gpu Nodes={gpu} DefaultTime=10 MaxTime=1-0 PriorityTier=10 PreemptMode=OFF
PartitionName=spot Nodes={cpu},{gpu} DefaultTime=10 MaxTime=1-0 PriorityTier=1 PreemptMode=REQUEUE GraceTime=5
PartitionName=short Nodes={cpu} DefaultTime=1 MaxTime=1 PriorityTier=10 PreemptMode=OFF
PartitionName=closed Nodes={cpu} State=DRAIN PriorityTier=10 PreemptMode=OFF
""".format(cpu=",".join(CPU_NODES), gpu=",".join(GPU_NODES))

_CGROUP_CONF = """\
CgroupPlugin=cgroup/v1
CgroupAutomount=no
CgroupMountpoint={lab}/cgroup
ConstrainRAMSpace=no
ConstrainSwapSpace=no
ConstrainDevices=no
ConstrainCores=no
"""

# A process finds its number as seen from outside in the machine's /proc, which this prints.
_PRINT_PID = 'read -r pid _ </proc/self/stat; echo "$pid"'

# Before the process namespace: `unshare --net=FILE` looks itself up in /proc, and would find another process there.
_LOGIN = f"""\
set -e
hostname {LOGIN}
ip link set lo up
ip link add switch type bridge
ip addr add {_NETWORK}.1/24 dev switch
ip link set switch up
{{cables}}
exec unshare --pid --fork --kill-child sh {{lab}}/etc/first.sh
"""

# PID 1 of the cluster. Ends when the pipe at its stdin does, and with it everything in its process namespace.
_FIRST = f"""\
exec 3<&0
{_PRINT_PID}
exec </dev/null >/dev/null 2>&1
cat <&3 &
wait $!
"""

_CABLE = """\
touch {lab}/run/{node}.net
unshare --net={lab}/run/{node}.net ip link set lo up
ip link add {node} type veth peer name eth0 netns {lab}/run/{node}.net
nsenter --net={lab}/run/{node}.net ip addr add {address}/24 dev eth0
nsenter --net={lab}/run/{node}.net ip link set eth0 up
ip link set {node} master switch up
"""

# PID 1 of a node, which learns its number before the node's own /proc hides it. It reaps orphans, as an init does.
_NODE = """\
set -e
read -r pid _ </proc/self/stat
hostname {node}
mount -t proc proc /proc
mount --bind {lab}/tmp/{node} /tmp
mount -t tmpfs -o mode=1777 none /dev/shm
slurmd -N {node}
echo "$pid"
exec >/dev/null 2>&1
while :; do sleep 3600 & wait $!; done
"""


class ClusterBroke(AssertionError):
    """The cluster did not do what it was asked to; the message holds what its daemons said."""


@dataclass(frozen=True)
class Job:
    """One job, or one task of an array, as squeue tells it."""

    id: str
    """«17», or «17_3» for a task."""
    state: str
    """«PENDING», «RUNNING», «COMPLETED», …"""
    reason: str
    nodes: str
    restarts: int
    name: str
    comment: str


@dataclass(frozen=True)
class User:
    """A user of the cluster, on its login node."""

    name: str
    uid: int
    home: Path
    """On the file system that nodes share. Empty at the beginning of a test."""
    cluster: Cluster

    def run(
        self,
        *argv: object,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout_s: float = PATIENCE_S,
        code: int | None = 0,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command that must end with ``code``; None: with any."""
        ended = self.cluster.run_as(self.name, argv, env=env, cwd=cwd, timeout_s=timeout_s, check=False)
        assert code is None or ended.returncode == code, f"{ended.args} ended with {ended.returncode}:\n{_words(ended)}"
        return ended

    def start(
        self,
        *argv: object,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.PIPE,
    ) -> subprocess.Popen[bytes]:
        return self.cluster.popen_as(self.name, argv, env=env, cwd=cwd, stdout=stdout, stderr=stderr)

    def sbatch(self, *argv: object, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
        """Submits. Returns the job's id."""
        return self.run("sbatch", "--parsable", *argv, env=env, cwd=cwd).stdout.strip()

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        """Writes a file of this user, below the home."""
        path = self.home / name
        for folder in reversed(path.relative_to(self.home).parents[:-1]):
            if not (self.home / folder).is_dir():
                (self.home / folder).mkdir()
                os.chown(self.home / folder, self.uid, self.uid)
        path.write_text(text, encoding="utf-8")
        os.chown(path, self.uid, self.uid)
        path.chmod(mode)
        return path


@dataclass(frozen=True)
class _Daemon:
    """A process of the cluster: as a child of this one, and by its own number."""

    child: subprocess.Popen[str]
    """nsenter, which stays outside of the process namespace that it entered and waits for what is inside."""
    pid: int

    @property
    def runs(self) -> bool:
        return self.child.poll() is None

    def end(self, number: signal.Signals) -> None:
        """Sends a signal and waits until the process is gone; for a node's PID 1: until everything on the node is."""
        if self.runs:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
        try:
            self.child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise ClusterBroke(f"process {self.pid} of {self.child.args!r} outlived {number.name}") from None


@functools.cache
def missing() -> str:
    """Why there can be no cluster on this machine, or nothing."""
    if os.geteuid() != 0:
        return "not root"
    absent = [name for name in NEEDED if shutil.which(name, path=_SYSTEM_PATH) is None]
    if absent:
        return f"no {', '.join(absent)}"
    namespaces = ["unshare", "--mount", "--uts", "--net", "--pid", "--fork", "true"]
    tried = subprocess.run(namespaces, capture_output=True, text=True, check=False)
    return f"no namespaces in this container: {tried.stderr.strip()}" if tried.returncode != 0 else ""


@functools.cache
def has_freezer() -> bool:
    """Whether SLURM can track processes by control group. Without it, daemonised children outlive their job."""
    mount = ["unshare", "--mount", "mount", "-t", "cgroup", "-o", "freezer", "none", "/mnt"]
    return subprocess.run(mount, capture_output=True, check=False).returncode == 0


class Cluster:
    """Two GPU nodes, three CPU nodes, a login node on which the controller runs, and the users of :data:`USERS`.

    Partitions: cpu (default), gpu, spot (any node, preempted by the others), short (one minute), closed (refuses).
    """

    def __init__(self) -> None:
        # Not below /tmp, which every node has its own of.
        self.lab = Path(tempfile.mkdtemp(prefix="captionqa-slurm-", dir="/var/tmp"))
        self.lab.chmod(0o755)
        self.venv = self.lab / "venv"
        self.users = self._users()
        self._keeper: subprocess.Popen[str] | None = None
        self._init_pid = 0
        self._munged: _Daemon | None = None
        self._controller: _Daemon | None = None
        self._nodes: dict[str, _Daemon] = {}
        self._started: list[subprocess.Popen[bytes]] = []

    # Up and down

    def up(self) -> None:
        """Brings everything up and waits until all nodes are idle.

        Raises:
            ClusterBroke: one of the daemons did not start.
        """
        self._write_files()
        script = self.lab / "etc" / "keeper.sh"
        # The shell outside does the wiping: from there none of the cluster's mounts can be seen, or be wiped along.
        keeper = f"unshare --mount sh {script}; rm -rf {self.lab}"
        self._keeper = subprocess.Popen(
            ["sh", "-c", keeper],
            cwd="/",
            env={"PATH": _SYSTEM_PATH},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for pytest, which then closes the pipe
        )
        assert self._keeper.stdout is not None
        assert self._keeper.stderr is not None
        line = self._keeper.stdout.readline()
        if not line:
            raise ClusterBroke(f"the cluster's first process did not start: {self._keeper.stderr.read()}")
        self._init_pid = int(line)
        self._start_munged()
        self.start_controller()
        for node in NODES:
            self.boot(node)
        self.wait_until(lambda: set(self.node_states().values()) == {"idle"}, PATIENCE_S, "all nodes are idle")

    def down(self) -> None:
        """Kills every process of the cluster and wipes its folder. Twice is once."""
        if self._keeper is None:
            shutil.rmtree(self.lab, ignore_errors=True)
            return
        self._keeper.communicate(timeout=PATIENCE_S)  # closes its stdin
        for daemon in (self._munged, self._controller, *self._nodes.values()):
            if daemon is not None:
                daemon.child.wait(PATIENCE_S)
        self._forget_started()

    def reset(self) -> None:
        """Cancels every job and mends every node; homes are empty again. For between two tests."""
        self._forget_started()
        self.start_controller()
        for node in NODES:
            self.boot(node)
        if jobs := self.squeue():
            self._root("scancel", "--quiet", *(job.id for job in jobs), check=False)
            self.wait_until(lambda: not self.squeue(), PATIENCE_S, "the queue is empty")
        self.wait_until(self._all_idle, PATIENCE_S, "all nodes are idle")
        for user in self.users.values():
            _empty(user.home)
            user.home.chmod(0o700)
        for folder in (self.lab / "tmp").iterdir():
            _empty(folder)

    # Commands

    def run_as(
        self,
        user: str,
        argv: Sequence[object],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout_s: float = PATIENCE_S,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on the login node with the environment of a user who has set nothing but ``env``."""
        process = self._start(self._login(), self._command(user, argv, env, cwd))
        return _ended(process, f"{shlex.join(map(str, argv))} as {user}", timeout_s, check)

    def popen_as(
        self,
        user: str,
        argv: Sequence[object],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.PIPE,
    ) -> subprocess.Popen[bytes]:
        """Starts a command on the login node, in a session of its own. Signals sent to it reach the command itself.

        It is killed at the next :meth:`reset`, or when the thread that started it ends.
        """
        process = self._start(self._login(), self._command(user, argv, env, cwd), stdout, stderr)
        self._started.append(process)
        return process

    def on_node(
        self,
        node: str,
        argv: Sequence[object],
        user: str = "root",
        *,
        check: bool = True,
        timeout_s: float = PATIENCE_S,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on a node, beside its jobs: for looking at what a job left there."""
        inside = [f"--target={self._nodes[node].pid}", "--mount", "--uts", "--net", "--pid"]
        process = self._start(inside, self._command(user, argv, cwd=Path("/")))
        return _ended(process, f"{shlex.join(map(str, argv))} as {user} on {node}", timeout_s, check)

    def processes(self, node: str, user: str) -> list[str]:
        """The command lines of a user's processes on a node."""
        if not self._nodes[node].runs:
            return []
        inside = os.readlink(f"/proc/{self._nodes[node].pid}/ns/pid")
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                if process.stat().st_uid == self.users[user].uid and os.readlink(process / "ns" / "pid") == inside:
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip())
        return [line for line in found if line]  # a zombie has none

    def install(self, wheel: Path) -> None:
        """Installs a wheel where users find it: its commands are on the PATH of :meth:`run_as`, and so of jobs."""
        inside = shutil.copy(wheel, self.lab)  # from wherever the cluster can't see, such as /tmp
        pip = [self.venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
        self._root(*pip, "--ignore-installed", "--no-cache-dir", "--disable-pip-version-check", inside)

    # Jobs and nodes

    def squeue(self, *argv: object) -> list[Job]:
        """Jobs that are queued or run, array tasks one by one; ``"--states=all"``: the finished as well."""
        fields = ("JobArrayID", "State", "Reason", "NodeList", "RestartCnt", "Name", "Comment")
        form = ",".join(f"{field}:|" for field in fields)
        lines = self._root("squeue", "--noheader", "--array", f"--Format={form}", *argv).stdout.splitlines()
        jobs = []
        for line in lines:
            number, state, reason, nodes, restarts, name, comment = line.removesuffix("|").split("|", 6)
            jobs.append(Job(number, state, reason, nodes, int(restarts), name, comment.replace("(null)", "")))
        return jobs

    def job(self, number: str) -> Job:
        """One job, finished or not; of an array: its task, «17_3»."""
        (job,) = self.squeue("--states=all", f"--jobs={number}")
        return job

    def until_state(self, number: str, *states: str, timeout_s: float = PATIENCE_S, files: Iterable[Path] = ()) -> Job:
        """Waits until a job is in one of these states."""
        what = f"job {number} is {' or '.join(states)}"
        self.wait_until(lambda: self.job(number).state in states, timeout_s, what, files=files)
        return self.job(number)

    def node_states(self) -> dict[str, str]:
        """«idle», «mixed», «allocated», «down», «drained», …; empty when the controller does not answer."""
        answer = self._root("sinfo", "--noheader", "--Node", "--format=%N %T", check=False)
        return dict(line.split() for line in answer.stdout.splitlines())

    def crash(self, node: str, *, silent: bool = False) -> None:
        """Power off: kills everything on the node. SLURM notices after 16 to 19 s.

        ``silent``: the cable goes first, so that peers wait for an answer that never comes; else they see their
        connections closed.
        """
        if silent:
            self._root("ip", "link", "set", node, "down")
        self._nodes[node].end(signal.SIGKILL)

    def boot(self, node: str) -> None:
        """Starts a node, unless it runs."""
        if node in self._nodes and self._nodes[node].runs:
            return
        self._root("ip", "link", "set", node, "up")
        own = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]
        script = _NODE.format(node=node, lab=self.lab)
        self._nodes[node] = self._daemon(
            node, ["nsenter", f"--net={self.lab}/run/{node}.net", *own, "sh", "-c", script]
        )

    def node_down(self, node: str) -> None:
        """Tells SLURM that a node is down: its jobs are requeued or NODE_FAIL at once."""
        self._root("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def node_resume(self, node: str) -> None:
        self._root("scontrol", "update", f"nodename={node}", "state=resume")

    def stop_controller(self) -> None:
        """Every SLURM command fails from now on; jobs go on."""
        if self._controller is not None:
            self._controller.end(signal.SIGTERM)

    def start_controller(self) -> None:
        """Starts the controller, unless it runs, and waits until it answers."""
        if self._controller is not None and self._controller.runs:
            return
        self._controller = self._spawn("slurmctld", ["slurmctld", "-D"])

        def answers() -> bool:
            return self._root("scontrol", "ping", check=False).returncode == 0

        self.wait_until(answers, PATIENCE_S, "the controller answers")

    @contextlib.contextmanager
    def configured(self, **settings: object) -> Iterator[None]:
        """Restarts the controller with other lines in slurm.conf, and again without them at the end.

        ``JobSubmitPlugins="throttle", SchedulerParameters="jobs_per_user_per_hour=2"`` refuses the third job at once,
        with what a site says whose limits are reached. ``MaxJobCount=3`` is a full queue: sbatch then tries for 120 s.
        ``EnforcePartLimits="ANY"`` refuses what would pend for ever.
        """
        if not settings:
            yield
            return
        path = self.lab / "etc" / "slurm.conf"
        before = path.read_text()
        kept = [line for line in before.splitlines() if line.partition("=")[0] not in settings]
        self.stop_controller()
        path.write_text("\n".join([*(f"{name}={value}" for name, value in settings.items()), *kept, ""]))
        try:
            self.start_controller()
            yield
        finally:
            self.stop_controller()
            path.write_text(before)
            self.start_controller()

    # Waiting and telling

    def wait_until(self, holds: Callable[[], bool], timeout_s: float, what: str, *, files: Iterable[Path] = ()) -> None:
        """Waits until ``holds``, or fails with what the cluster and the ``files`` say."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > deadline:
                raise ClusterBroke(f"waited {timeout_s:g} s in vain until {what}\n{self.report(files)}")
            time.sleep(0.1)

    def report(self, files: Iterable[Path] = ()) -> str:
        """Queue, nodes, and the ends of the daemons' logs and of ``files``."""
        parts = []
        if self._init_pid:
            for command in (("squeue", "--all", "--states=all"), ("sinfo", "--Node", "--long")):
                ended = self._root(*command, check=False)
                parts.append(f"--- {' '.join(command)}\n{_words(ended)}")
        logs, told = sorted((self.lab / "log").iterdir()), list(files)
        for path in [*logs, *told]:
            lines = path.read_text(errors="replace").splitlines() if path.is_file() else ["(no such file)"]
            parts.append(
                "\n".join([f"--- {path}", *lines[-15 if path.name == "slurmctld.log" or path in told else -5 :]])
            )
        return "\n".join(parts)

    # Inside

    def _users(self) -> dict[str, User]:
        taken = {entry.pw_uid for entry in pwd.getpwall()} | {entry.gr_gid for entry in grp.getgrall()}
        free = (uid for uid in range(64100, 65000) if uid not in taken)
        return {name: User(name, next(free), self.lab / "home" / name, self) for name in USERS}

    def _write_files(self) -> None:
        lab = self.lab
        for name in ("etc", "log", "run", "home", "dev", "site", "cgroup/freezer", "python"):
            (lab / name).mkdir(parents=True)
        for node in (*NODES, LOGIN):
            (lab / "tmp" / node).mkdir(parents=True)
            (lab / "tmp" / node).chmod(0o1777)
            (lab / "spool" / node).mkdir(parents=True)
        for user in self.users.values():
            user.home.mkdir(mode=0o700)
            os.chown(user.home, user.uid, user.uid)
        (lab / "spool" / "controller").mkdir()
        for path in (lab / "spool" / "controller", lab / "log", lab / "run"):
            shutil.chown(path, "slurm", "slurm")
        (lab / "munge").mkdir()
        (lab / "munge" / "key").write_bytes(os.urandom(128))
        (lab / "munge" / "key").chmod(0o400)
        for path in (lab / "munge", lab / "munge" / "key"):
            shutil.chown(path, "munge", "munge")
        # All that SLURM asks of a GPU is that its file exists: these are /dev/null.
        for number in range(GPUS_PER_NODE):
            os.mknod(lab / "dev" / f"nvidia{number}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        self._write_etc()
        self._write_venv()

    def _write_etc(self) -> None:
        lab, etc = self.lab, self.lab / "etc"
        addresses = {LOGIN: f"{_NETWORK}.1", **{node: _address(node) for node in NODES}}
        hosts = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in addresses.items())]
        (etc / "hosts").write_text("\n".join([*hosts, ""]))
        own = {
            "passwd": [f"{user.name}:x:{user.uid}:{user.uid}::{user.home}:/bin/bash" for user in self.users.values()],
            "group": [f"{user.name}:x:{user.uid}:" for user in self.users.values()],
        }
        for name, lines in own.items():
            machines = Path("/etc", name).read_text().splitlines()
            kept = [line for line in machines if line.partition(":")[0] not in USERS]
            (etc / name).write_text("\n".join([*kept, *lines, ""]))
        tracker = "cgroup" if has_freezer() else "linuxproc"
        nodes = [
            f"NodeName={node} NodeAddr={_address(node)} CPUs=16 RealMemory=64000"
            + (f" Gres=gpu:h100:{GPUS_PER_NODE} Feature=h100" if node in GPU_NODES else "")
            for node in NODES
        ]
        conf = _SLURM_CONF.format(lab=lab, tracker=tracker)
        (etc / "slurm.conf").write_text("\n".join([conf, *nodes, _PARTITIONS]))
        (etc / "cgroup.conf").write_text(_CGROUP_CONF.format(lab=lab))
        (etc / "gres.conf").write_text(
            f"NodeName={','.join(GPU_NODES)} Name=gpu Type=h100 File={lab}/dev/nvidia[0-{GPUS_PER_NODE - 1}]\n"
        )
        cables = "".join(_CABLE.format(lab=lab, node=node, address=_address(node)) for node in NODES)
        (etc / "login.sh").write_text(_LOGIN.format(cables=cables, lab=lab))
        (etc / "first.sh").write_text(_FIRST)
        (etc / "keeper.sh").write_text(self._keeper_script())

    def _write_venv(self) -> None:
        """A virtual environment that users may enter, over the libraries of the one that runs this."""
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        interpreter = Path(sys.base_prefix, "bin", version)
        site = self.venv / "lib" / version / "site-packages"
        site.mkdir(parents=True)
        (self.venv / "bin").mkdir()
        (self.venv / "pyvenv.cfg").write_text(f"home = {interpreter.parent}\n")
        for name in ("python", "python3", version):
            (self.venv / "bin" / name).symlink_to(interpreter)
        (site / "libraries.pth").write_text(f"{self.lab / 'site'}\n")

    def _keeper_script(self) -> str:
        lab = self.lab
        lines = [
            *(f"mount --bind {lab}/etc/{name} /etc/{name}" for name in ("hosts", "passwd", "group")),
            f"mount --bind {lab}/etc /etc/slurm",
            f"mount -o bind,ro {shlex.quote(sysconfig.get_path('purelib'))} {lab}/site",
            *_reveal(Path(sys.base_prefix), lab / "python"),
            f"mount --bind {lab}/tmp/{LOGIN} /tmp",
        ]
        if has_freezer():
            # SLURM names groups after nodes: each cluster needs a hierarchy of its own to have no share in another's.
            whole, own = f"{lab}/cgroup/freezer", f"{lab}/cgroup/freezer/{lab.name}"
            lines += [
                f"mount -t cgroup -o freezer none {whole}",
                f"mkdir {own}",
                f"trap 'umount {whole}; find {own} -depth -type d -delete' EXIT",
                f"mount --bind {own} {whole}",
            ]
        lines += [
            f"unshare --uts --net sh {lab}/etc/login.sh",
            # What runs on the login node is in no process namespace, for it to get its signals, but in this mount one.
            "own=$(readlink /proc/self/ns/mnt)",
            'for process in /proc/[0-9]*; do pid=${process#/proc/}; [ "$pid" != $$ ] || continue',
            'if [ "$(readlink "$process/ns/mnt")" = "${own:?}" ]; then kill -KILL "$pid" || true; fi; done',
        ]
        return "\n".join(["cd /", "set -e", *lines, ""])

    def _start_munged(self) -> None:
        own = ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups"]
        names = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        files = [f"--{option}={self.lab}/munge/{name}" for option, name in names.items()]
        self._munged = self._spawn("munged", [*own, "munged", "--foreground", "--num-threads=2", *files])
        socket = self.lab / "munge" / "socket"
        self.wait_until(socket.exists, PATIENCE_S, "munged listens")

    def _spawn(self, name: str, argv: Sequence[str]) -> _Daemon:
        script = f'{_PRINT_PID}; exec "$@" >>{self.lab}/log/{name}.out 2>&1'
        return self._daemon(name, ["sh", "-c", script, "sh", *argv])

    def _daemon(self, name: str, argv: Sequence[str]) -> _Daemon:
        """Starts a command in all of the cluster's namespaces that prints its number when it is up."""
        with open(self.lab / "log" / f"{name}.out", "a") as log:
            child = subprocess.Popen(
                ["nsenter", f"--target={self._init_pid}", "--mount", "--uts", "--net", "--pid", *argv],
                cwd="/",
                env={"PATH": _SYSTEM_PATH},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                umask=0o022,
                start_new_session=True,
            )
        assert child.stdout is not None
        with child.stdout:
            line = child.stdout.readline()
        if not line:
            raise ClusterBroke(f"{name} did not start:\n{self.report()}")
        return _Daemon(child, int(line))

    def _command(
        self, user: str, argv: Sequence[object], env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> tuple[list[str], dict[str, str]]:
        """A command line that runs as a user, and its environment."""
        uid, home = (0, Path("/root")) if user == "root" else (self.users[user].uid, self.users[user].home)
        ids = [f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        # The death signal is for when this process is killed and can't do it itself.
        line = ["setpriv", *ids, "--pdeathsig=KILL", "env", f"--chdir={cwd or home}", *map(str, argv)]
        path = f"{self.venv}/bin:{_SYSTEM_PATH}"
        own = {"HOME": str(home), "USER": user, "LOGNAME": user, "SHELL": "/bin/bash", "LANG": "C.UTF-8", "PATH": path}
        return line, {**own, **(env or {})}

    def _start(
        self,
        namespaces: Sequence[str],
        command: tuple[list[str], dict[str, str]],
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.PIPE,
    ) -> subprocess.Popen[bytes]:
        argv, env = command
        return subprocess.Popen(
            ["nsenter", *namespaces, *argv],
            cwd="/",
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            umask=0o022,
            start_new_session=True,
        )

    def _login(self) -> list[str]:
        """Not its process namespace: a process that enters one gets no signals, they end at nsenter."""
        return [f"--target={self._init_pid}", "--mount", "--uts", "--net"]

    def _root(self, *argv: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run_as("root", argv, cwd=Path("/"), check=check)

    def _forget_started(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait(PATIENCE_S)
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        self._started.clear()

    def _all_idle(self) -> bool:
        states = self.node_states()
        for node, state in states.items():
            if state.startswith(("down", "drain")) and not state.endswith("*"):  # «down*» has not registered yet
                self.node_resume(node)
        return set(states.values()) == {"idle"}


def _address(node: str) -> str:
    return f"{_NETWORK}.{11 + NODES.index(node)}"


def _ended(
    process: subprocess.Popen[bytes], what: str, timeout_s: float, check: bool
) -> subprocess.CompletedProcess[str]:
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise ClusterBroke(f"{what} took more than {timeout_s:g} s:\n{out.decode()}{err.decode()}") from None
    ended = subprocess.CompletedProcess(what, process.returncode, out.decode(), err.decode())
    if check and ended.returncode != 0:
        raise ClusterBroke(f"{what} ended with {ended.returncode}:\n{_words(ended)}")
    return ended


def _words(ended: subprocess.CompletedProcess[str]) -> str:
    return f"{ended.stdout}{ended.stderr}"


def _reveal(path: Path, spare: Path) -> list[str]:
    """Commands that let users reach a folder below one that is closed to them, such as a Python in /root."""
    closed = [parent for parent in reversed(path.parents) if not parent.stat().st_mode & stat.S_IXOTH]
    if not closed:
        return []
    return [
        f"mount -o bind,ro {shlex.quote(str(path))} {spare}",
        f"mount -t tmpfs -o mode=755 none {shlex.quote(str(closed[0]))}",
        f"mkdir -p {shlex.quote(str(path))}",
        f"mount --bind {spare} {shlex.quote(str(path))}",
    ]


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
