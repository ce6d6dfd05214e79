"""Discovery: what a lease, its heartbeat and SLURM's queue together mean, and a pool that follows them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from captionqa.core.replies import NoAnswer, Verdict
from captionqa.errors import ServerGone, UsageError
from captionqa.process import Process
from captionqa.run import discovery, endpoints
from captionqa.run.client import Client
from captionqa.run.discovery import LeasedServers, Standing, judge, server_jobs
from captionqa.run.endpoints import EndpointPool
from captionqa.server.lease import Lease, LeaseState, PublishedLease, key_path, make_private_folder, write_private
from captionqa.slurm.jobs import Job

ME = Process("here", "boot", "ns", 1, "1")
ELSEWHERE = Process("gpu1", "boot-of-gpu1", "ns", 77, "5")
LEASE = Lease("s", LeaseState.READY, "http://gpu1:1/v1", "org/model", "gpu1", "standin", ELSEWHERE, 0.0, 0.0)


def a_job(**changes: Any) -> Job:
    return replace(
        Job("101", "101", "captionqa-server", "PENDING", "Resources", comment="captionqa-server", work_dir="/work"),
        **changes,
    )


def jobs(**changes: Any) -> dict[str, Job]:
    job = a_job(**changes)
    return {job.id: job}


@pytest.mark.parametrize(
    ("lease", "queue", "unmoved_s", "standing", "why"),
    [
        (LEASE, None, 0, Standing.READY, ""),
        (LEASE, None, 59, Standing.READY, ""),
        (LEASE, None, 60, Standing.DEAD, "no heartbeat for 60 s"),
        (replace(LEASE, state=LeaseState.STARTING, detail="loading"), None, 0, Standing.STARTING, "loading"),
        (replace(LEASE, state=LeaseState.DRAINING), None, 0, Standing.DRAINING, ""),
        (replace(LEASE, state=LeaseState.FAILED, detail="no GPU"), None, 0, Standing.DEAD, "it failed: no GPU"),
        (replace(LEASE, job="101"), {}, 0, Standing.DEAD, "SLURM job 101 is not in the queue any more"),
        (replace(LEASE, job="101"), jobs(state="CANCELLED"), 0, Standing.DEAD, "SLURM job 101 has ended (CANCELLED)"),
        (replace(LEASE, job="101"), jobs(), 999, Standing.QUEUED, "SLURM job 101 is PENDING, Resources"),
        (replace(LEASE, job="101"), jobs(state="RUNNING"), 0, Standing.READY, ""),
        (replace(LEASE, job="101"), jobs(state="RUNNING"), 60, Standing.LOST, "no heartbeat for 60 s"),
        (replace(LEASE, job="101"), None, 60, Standing.LOST, "no heartbeat for 60 s"),
        (replace(LEASE, process=replace(ME, pid=2**22 + 1)), None, 0, Standing.DEAD, "process 4194305 on this node"),
    ],
)
def test_what_a_server_is_good_for(lease: Lease, queue: Any, unmoved_s: float, standing: Standing, why: str) -> None:
    judgement = judge(lease, me=ME, jobs=queue, unmoved_s=unmoved_s)
    assert judgement.standing is standing
    assert why in judgement.why


@pytest.mark.parametrize(
    ("job", "found"),
    [
        (a_job(comment="captionqa-server output=/data/output"), True),
        (a_job(comment="captionqa-server output=/data/other"), False),
        (a_job(comment="captionqa-server", work_dir="/data"), True),
        (a_job(comment="captionqa-server", work_dir="/elsewhere"), False),
        (a_job(comment="captionqa-caption output=/data/output"), False),
        (a_job(comment="captionqa-server output=/data/output", state="CANCELLED"), False),
        (a_job(comment=""), False),
    ],
)
def test_a_job_brings_up_a_server_for_an_output_folder_by_its_comment_or_its_folder(job: Any, found: bool) -> None:
    assert bool(server_jobs({job.id: job}, Path("/data/output"))) is found


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "LOOK_EVERY_S", 0.005)
    monkeypatch.setattr(discovery, "QUEUE_EVERY_S", 0.01)
    monkeypatch.setattr(discovery, "HOPELESS_S", 0.05)
    monkeypatch.setattr(endpoints, "RECHECK_FIRST_S", 0.001)
    monkeypatch.setattr(endpoints, "RECHECK_MOST_S", 0.005)


@dataclass
class World:
    """A servers folder, the servers behind its leases, and SLURM's queue."""

    output_dir: Path
    make_server: Callable[..., Any]
    queue: Any = None
    servers: dict[tuple[str, str | None], Any] = None  # type: ignore[assignment]
    heard: list[str] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.servers, self.heard = {}, []
        make_private_folder(self.output_dir / "servers")

    def publish(self, name: str, **changes: Any) -> PublishedLease:
        """A lease with a key of its own."""
        folder = self.output_dir / "servers"
        write_private(key_path(folder, name), f"key-of-{name}\n")
        lease = replace(LEASE, name=name, url=f"http://{name}:1/v1", key_file=str(key_path(folder, name)))
        published = PublishedLease(folder, lease)
        published.update(**changes)
        return published

    def connect(self, url: str, key: str | None) -> Any:
        return self.servers.setdefault((url, key), self.make_server(url))

    def server(self, name: str) -> Any:
        return self.servers.get((f"http://{name}:1/v1", f"key-of-{name}"))

    @asynccontextmanager
    async def following(self, model: str | None = None, wait_s: float = 60.0, **settings: Any) -> Any:
        """A pool that follows the leases."""
        pool = EndpointPool((), limit=4, server_wait_s=wait_s, say=self.heard.append)
        servers = LeasedServers(self.output_dir, ask_queue=lambda: self.queue, **settings)
        task = asyncio.create_task(servers.follow(pool, self.connect, model))
        try:
            await pool.open(model)
            yield pool
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await pool.close()


@pytest.fixture
def world(tmp_path: Path, fake_server: Callable[..., Any]) -> World:
    return World(tmp_path / "output", fake_server)


def within_time(body: Callable[[], Awaitable[None]]) -> None:
    async def guarded() -> None:
        async with asyncio.timeout(20):
            await body()

    asyncio.run(guarded())


async def until(holds: Callable[[], object]) -> None:
    while not holds():
        await asyncio.sleep(0.002)


def urls(pool: EndpointPool) -> list[str]:
    return sorted(endpoint.url for endpoint in pool.endpoints if endpoint.up)


def test_ready_servers_are_used_each_with_its_own_key_and_one_that_appears_later_is_taken_in(world: World) -> None:
    async def body() -> None:
        world.publish("a")
        async with world.following() as pool:
            assert pool.model == "org/model"
            assert urls(pool) == ["http://a:1/v1"]
            world.publish("b")
            await until(lambda: len(urls(pool)) == 2)
            assert set(world.servers) == {("http://a:1/v1", "key-of-a"), ("http://b:1/v1", "key-of-b")}

    within_time(body)


def test_a_key_that_the_user_gave_replaces_that_of_the_lease(world: World) -> None:
    async def body() -> None:
        world.publish("a")
        async with world.following(api_key="given"):
            assert set(world.servers) == {("http://a:1/v1", "given")}

    within_time(body)


def test_a_starting_server_and_a_queued_job_are_waited_for_beyond_the_time_for_a_lost_one(world: World) -> None:
    async def body() -> None:
        world.queue = jobs(work_dir=str(world.output_dir.parent))
        opening = asyncio.create_task(world.following(wait_s=0.03).__aenter__())
        await until(lambda: "waiting for a server: SLURM job 101 is PENDING, Resources" in world.heard)
        await asyncio.sleep(0.1)  # three times the time it has
        lease = world.publish("a", state=LeaseState.STARTING, detail="loading the model", job="101")
        world.queue = jobs(state="RUNNING")
        await until(lambda: any("loading the model" in said for said in world.heard))
        await asyncio.sleep(0.1)
        assert not opening.done()
        lease.update(state=LeaseState.READY, detail="")
        assert urls(await opening) == ["http://a:1/v1"]

    within_time(body)


@pytest.mark.parametrize(
    ("changes", "queue", "said"),
    [
        ({"state": LeaseState.FAILED, "detail": "CUDA out of memory"}, None, "it failed: CUDA out of memory"),
        ({"job": "7"}, {}, "its SLURM job 7 is not in the queue any more"),
        ({"process": replace(Process.this(), started="0")}, None, "on this node is gone"),
    ],
)
def test_a_server_that_is_dead_for_good_ends_the_waiting_at_once(
    world: World, changes: dict[str, Any], queue: Any, said: str
) -> None:
    async def body() -> None:
        world.queue = queue
        world.publish("a", **changes)
        with pytest.raises(ServerGone, match=r"captionqa servers") as raised:
            async with world.following():
                pass
        assert said in str(raised.value)
        assert not world.servers

    within_time(body)


def test_a_server_whose_job_is_gone_ends_the_run_when_it_does_not_answer(world: World) -> None:
    async def body() -> None:
        world.queue = jobs(state="RUNNING")
        lease = world.publish("a", job="101")
        async with world.following() as pool:
            server = world.server("a")
            server.down = NoAnswer(Verdict.TRANSIENT, "connection", "refused")
            world.queue = {}
            with pytest.raises(ServerGone, match="job 101 is not in the queue any more"):
                await Client(pool).ask(b"{}")
            assert lease.path.exists()

    within_time(body)


def test_a_draining_server_gets_nothing_new_and_finishes_what_it_has(world: World) -> None:
    async def body() -> None:
        a = world.publish("a")
        world.publish("b")
        async with world.following() as pool:
            await until(lambda: len(urls(pool)) == 2)
            for server in world.servers.values():
                server.hold = asyncio.Event()
            client = Client(pool)
            asking = [asyncio.create_task(client.ask(b"%d" % number)) for number in range(4)]
            await until(lambda: world.server("a").requests and world.server("b").requests)
            a.update(state=LeaseState.DRAINING)
            await until(lambda: urls(pool) == ["http://b:1/v1"])
            before = len(world.server("a").requests)
            asking.append(asyncio.create_task(client.ask(b"new")))
            await until(lambda: b"new" in world.server("b").requests)
            for server in world.servers.values():
                server.hold.set()
            assert [(await task).attempts for task in asking] == [1] * 5
            assert len(world.server("a").requests) == before

    within_time(body)


def test_a_server_that_comes_back_elsewhere_is_followed_and_its_frozen_requests_are_asked_again(world: World) -> None:
    async def body() -> None:
        world.publish("a")
        async with world.following() as pool:
            world.server("a").hold = asyncio.Event()  # the node lost its power: nothing is ever said again
            asking = asyncio.create_task(Client(pool).ask(b"{}"))
            await until(lambda: world.server("a").requests)
            world.publish("a", url="http://gpu2:1/v1", node="gpu2", process=replace(ELSEWHERE, host="gpu2"))
            outcome = await asking
            assert (outcome.output, outcome.attempts) == ("yes", 2)
            assert urls(pool) == ["http://gpu2:1/v1"]

    within_time(body)


def test_a_server_that_refuses_its_old_key_has_restarted_and_fails_no_item(world: World) -> None:
    async def body() -> None:
        world.publish("a")
        async with world.following() as pool:
            world.server("a").script.append(NoAnswer(Verdict.REFUSED, "http_401", "Unauthorized"))
            outcome = await Client(pool).ask(b"{}")
            assert (outcome.output, outcome.attempts) == ("yes", 2)

    within_time(body)


def test_a_model_that_no_server_has_is_told_with_those_that_are_there(world: World) -> None:
    async def body() -> None:
        world.publish("a")
        with pytest.raises(ServerGone, match=r"no server of org/nope .*\n.*servers of org/model: choose with --model"):
            async with world.following("org/nope"):
                pass
        assert any("there is one of org/model (--model)" in words for words in world.heard)

    within_time(body)


def test_with_servers_of_two_models_the_user_must_choose(world: World) -> None:
    async def body() -> None:
        world.publish("a")
        world.publish("b", model="org/other")
        with pytest.raises(UsageError, match=r"several models are there \(org/model, org/other\).*--model"):
            async with world.following():
                pass
        world.connect("http://b:1/v1", "key-of-b").served = {"org/other": None}
        async with world.following(model="org/other") as pool:
            assert urls(pool) == ["http://b:1/v1"]

    within_time(body)


def test_a_lease_that_cannot_be_read_for_a_moment_changes_nothing(world: World) -> None:
    async def body() -> None:
        lease = world.publish("a")
        async with world.following() as pool:
            whole = lease.path.read_bytes()
            for torn in (b"", whole[: len(whole) // 2], b"null", b"\xff"):
                lease.path.write_bytes(torn)
                await asyncio.sleep(0.03)
                assert urls(pool) == ["http://a:1/v1"]
            lease.path.unlink()
            await until(lambda: not urls(pool))

    within_time(body)


def test_a_key_that_is_not_there_for_a_moment_is_looked_for_again(world: World) -> None:
    async def body() -> None:
        lease = world.publish("a")
        key = Path(lease.lease.key_file or "")
        aside = key.rename(key.with_suffix(".aside"))
        opening = asyncio.create_task(world.following().__aenter__())
        await until(lambda: any("the key of server a cannot be used" in said for said in world.heard))
        aside.rename(key)
        assert urls(await opening) == ["http://a:1/v1"]

    within_time(body)


def test_a_folder_that_cannot_be_read_for_a_moment_ends_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        world.publish("a")
        async with world.following() as pool:
            with monkeypatch.context() as patched:
                patched.setattr(discovery, "read_leases", stale)
                await until(lambda: "a stale NFS handle" in world.heard)
                await asyncio.sleep(0.03)
            assert urls(pool) == ["http://a:1/v1"]
            assert world.heard.count("a stale NFS handle") == 1

    def stale(_: Path) -> Any:
        raise UsageError("a stale NFS handle")

    within_time(body)
