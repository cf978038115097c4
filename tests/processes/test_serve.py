"""`booking serve` as a whole: start, stop, recovery, and leaving nothing behind."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from booking.cli.main import main
from booking.inventory.embedded import find_program
from tests.contract.api import open_api
from tests.fixtures.commands import run_command
from tests.fixtures.forks import ForkedProgram
from tests.fixtures.process_tree import descendants, is_alive, listens_on_tcp
from tests.fixtures.service import RunningService, running_service
from tests.fixtures.waiting import eventually


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with two workers for the tests that leave it running."""
    with running_service(tmp_path_factory.mktemp("lasting") / "data", {"BOOKING_WORKERS": "2"}) as running:
        yield running


def answers(service: RunningService, path: str = "/healthz") -> bool:
    try:
        return httpx.get(service.base_url + path, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def serve(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A `booking serve` that is expected to end by itself."""
    return run_command(["serve", *arguments], {"BOOKING_PORT": "0", **environment})


def test_a_log_that_is_not_read_freezes_no_part_of_the_service(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    pipe = Path(f"/proc/{os.getpid()}/fd/{writing}")
    service = RunningService(tmp_path / "data", "s" * 48, {"BOOKING_RATE_LIMIT": "off"}, output_to=pipe)
    try:
        service.start()
        os.set_blocking(writing, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * 4_096)  # the pipe is full, although few lines were written so far
        os.set_blocking(writing, True)
        with open_api(service) as api:
            event_id = api.event(available_tickets=1_000)
            assert [user.book(event_id).status for user in api.users(1_000)] == [201] * 1_000
            killed = service.kill("worker-1")
            eventually(lambda: service.parts().get("worker-1", killed) != killed, "a killed worker is replaced")
            eventually(lambda: answers(service, "/readyz"), "the new worker answers")
            eventually(lambda: bookings_in_sql(service) == 1_000, "the persister goes on")
        assert service.stop() == 0
    finally:
        if service.process is not None:
            service.process.kill()
        os.close(writing)
        os.close(reading)


def bookings_in_sql(service: RunningService) -> int:
    with closing(sqlite3.connect(service.data_dir / "booking.sqlite3")) as database:
        (count,) = database.execute("SELECT count(*) FROM bookings").fetchone()
        return int(count)


def command(service: RunningService, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """One of the other commands, on the service's data folder."""
    return run_command(arguments, {"BOOKING_DATA_DIR": str(service.data_dir)})


def book(service: RunningService, event_id: int, user: str) -> int:
    """The status of the answer to a booking."""
    headers = {"Authorization": f"Bearer {service.token(user)}"}
    return httpx.post(f"{service.base_url}/book", json={"event_id": event_id}, headers=headers).status_code


@pytest.mark.timeout(300)  # it starts the service three times
def test_a_damaged_end_of_the_append_only_file_costs_no_sale_that_sql_has(tmp_path: Path) -> None:
    buyers = ["ann", "bob", "eve", "zoë"]
    with running_service(tmp_path / "data") as service:
        with open_api(service) as api:
            event_id = api.event(available_tickets=5)
            assert [api.user(buyer).book(event_id).status for buyer in buyers] == [201] * 4
        assert service.stop() == 0
        (commands,) = (service.data_dir / "redis" / "appendonlydir").glob("*.incr.aof")

        with commands.open("ab") as file:  # as after a power cut
            file.write(b"\0" * 4_096)
        told = command(service, "doctor")
        assert told.returncode == 0
        assert f"{commands} ended in 4,096 damaged bytes -> the next start repairs it" in told.stdout
        service.start()
        service.logs(f"booking: {commands} ended in 4,096 damaged bytes: they are cut off. ")
        with open_api(service) as api:
            assert [api.user(buyer).booking(event_id).data["status"] for buyer in buyers] == ["confirmed"] * 4
        assert service.stop() == 0

        with commands.open("r+b") as file:  # a disk that lost what it had acknowledged
            last_booking = file.seek(file.read().index("zoë".encode()))
            file.write(b"\0" * (commands.stat().st_size - last_booking))
        service.start("/healthz")
        service.logs("damaged bytes: they are cut off (a copy is in ")
        assert book(service, event_id, "ann") == 503, "its shard has lost changes that SQL has"
        assert command(service, "restore", "--yes").returncode == 0
        eventually(lambda: book(service, event_id, "ann") == 409, "the restored shard knows its bookings")
        with open_api(service) as api:
            assert api.user().book(event_id).status == 201
            assert api.user().book(event_id).status == 202
        eventually(lambda: command(service, "audit").returncode == 0, "both sides agree, once SQL has the last changes")


def stored_events(service: RunningService) -> list[tuple[str]]:
    with closing(sqlite3.connect(service.data_dir / "booking.sqlite3")) as database:
        return database.execute("SELECT name FROM events").fetchall()


def test_the_service_answers_at_the_address_that_it_prints(lasting: RunningService) -> None:
    described = json.loads((lasting.data_dir / "service.json").read_bytes())
    assert answers(lasting)
    assert described["url"] == lasting.base_url
    assert described["port"] == httpx.URL(lasting.base_url).port
    assert set(described["parts"]) == {"worker-1", "worker-2", "persister", "outbox", "redis"}
    lasting.logs(f"serving on {lasting.base_url}")


def test_a_second_copy_on_the_same_folder_is_refused_in_one_line(lasting: RunningService) -> None:
    second = serve({"BOOKING_DATA_DIR": str(lasting.data_dir)})
    assert second.returncode == 2
    assert second.stderr == (f"booking: another booking serve (pid {lasting.pid}) is using {lasting.data_dir}\n")
    assert answers(lasting)


@pytest.mark.parametrize("part", ["worker-1", "persister", "outbox", "redis"])
def test_a_killed_child_process_is_replaced(lasting: RunningService, part: str) -> None:
    killed = lasting.kill(part)
    eventually(lambda: lasting.parts().get(part, killed) != killed, f"{part} has been started again")
    eventually(lambda: answers(lasting, "/readyz"), "all of it is ready again")
    lasting.logs(f"{part} was ended by SIGKILL; starting it again")


def test_a_worker_that_dies_is_replaced_by_one_if_service_json_cannot_be_written(lasting: RunningService) -> None:
    no_room = lasting.data_dir / ".service.json"
    no_room.mkdir()
    killed = lasting.kill("worker-1")
    eventually(lambda: not is_alive(killed), "it has died")
    eventually(lambda: len(descendants(lasting.pid)) == 5, "another worker takes its place")
    no_room.rmdir()
    eventually(lambda: lasting.parts().get("worker-1", killed) != killed, "it is described once there is room")
    eventually(lambda: answers(lasting, "/readyz"), "all of it is ready again")
    eventually(lambda: len(descendants(lasting.pid)) == 5, "no second process takes its place")


def scheduling(service: RunningService) -> set[int]:
    """The scheduling classes of the persister's threads."""
    try:
        tasks = list(Path(f"/proc/{service.parts()['persister']}/task").iterdir())
        return {os.sched_getscheduler(int(task.name)) for task in tasks}
    except (KeyError, OSError):
        return set()


def test_a_persister_that_is_starved_gets_its_priority_back(tmp_path: Path) -> None:
    with running_service(tmp_path / "data") as service, open_api(service) as api:
        eventually(lambda: scheduling(service) == {os.SCHED_IDLE}, "it has caught up, and every thread gives way")
        starved = service.kill("persister", signal.SIGSTOP)  # as if other processes used all of the processor
        api.user().book(api.event())
        eventually(lambda: service.parts().get("persister", starved) != starved, "another has taken its place")
        pressing = service.parts()["persister"]
        eventually(lambda: lag_entries(service) == 0, "it carries what was left lying")
        assert scheduling(service) == {os.SCHED_OTHER}
        service.logs("falls behind; it goes on at normal priority")
        service.kill("persister")
        eventually(lambda: service.parts().get("persister", pressing) != pressing, "a third has taken its place")
        eventually(lambda: scheduling(service) == {os.SCHED_OTHER}, "nor does the next")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may raise a priority")
def test_a_stop_gives_the_persister_its_priority_back_for_the_last_entries(tmp_path: Path) -> None:
    def has_its_priority() -> bool:  # the normal one if this machine is so busy that it was starved already
        return scheduling(service) == {os.SCHED_IDLE} or "falls behind" in service.output

    with running_service(tmp_path / "data") as service:
        eventually(has_its_priority, "it has caught up, and every thread gives way")
        persister = service.kill("persister", signal.SIGSTOP)  # as if other processes used all of the processor
        service.kill("service", signal.SIGTERM)
        eventually(lambda: os.sched_getscheduler(persister) == os.SCHED_OTHER, "it has normal priority")
        os.kill(persister, signal.SIGCONT)
        assert service.stop() == 0
        assert "killed" not in service.output, "it did not end by itself"


def lag_entries(service: RunningService) -> object:
    return httpx.get(f"{service.base_url}/readyz", timeout=5).json()["parts"]["persister"]["lag_entries"]


def test_no_connection_is_refused_while_a_worker_is_away(lasting: RunningService) -> None:
    lasting.kill("worker-2")
    for _ in range(10):
        assert httpx.get(f"{lasting.base_url}/healthz", timeout=30).status_code == 200
    eventually(lambda: "worker-2" in lasting.parts(), "worker-2 has been started again")


def test_no_secret_is_on_a_command_line_or_in_a_child_s_environment(lasting: RunningService) -> None:
    children = descendants(lasting.pid)
    assert len(children) >= 4
    for pid in children:
        assert lasting.secret.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert lasting.secret.encode() not in environment
        assert b"BOOKING_" not in environment


def test_the_embedded_server_is_its_owner_s_alone(lasting: RunningService) -> None:
    data_dir = lasting.data_dir
    assert stat.S_IMODE((data_dir / "redis.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert not listens_on_tcp(lasting.parts()["redis"])
    assert listens_on_tcp(lasting.parts()["worker-1"])


@contextmanager
def hangups(action: signal.Handlers) -> Iterator[None]:
    """Resets SIGHUP in a child, which inherits its handling; the tests may run under nohup."""
    before = signal.signal(signal.SIGHUP, action)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_the_service_ends_with_exit_code_0_and_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    """At SIGTERM, too: `running_service` checks that at each end of a service."""
    with hangups(signal.SIG_DFL), running_service(tmp_path / "data") as service:
        children = descendants(service.pid)
        os.killpg(service.pid, number)  # as a terminal does it
        assert service.stop(number) == 0
        assert [pid for pid in children if is_alive(pid)] == []
        assert not (tmp_path / "data" / "service.json").exists()
        assert "Traceback" not in service.output


def test_with_nohup_the_service_outlives_its_terminal(tmp_path: Path) -> None:
    with hangups(signal.SIG_IGN), running_service(tmp_path / "data", arguments=["--without-persister"]) as service:
        service.kill("service", signal.SIGHUP)
        service.kill("worker-1")
        service.logs("worker-1 was ended by SIGKILL; starting it again")
        assert "stopping" not in service.output
        eventually(lambda: answers(service), "it serves")


def test_a_killed_supervisor_leaves_no_process_and_the_next_start_has_the_data(tmp_path: Path) -> None:
    with running_service(tmp_path / "data") as service:
        organizer = {"Authorization": f"Bearer {service.token('boss', 'organizer')}"}
        buyer = {"Authorization": f"Bearer {service.token(17)}"}
        made = httpx.post(
            f"{service.base_url}/initialize", json={"event_name": "E", "available_tickets": 5}, headers=organizer
        )
        event = made.json()["event_id"]
        booked = httpx.post(f"{service.base_url}/book", json={"event_id": event}, headers=buyer)
        assert booked.status_code == 201

        children = descendants(service.pid)
        service.kill("service")
        assert service.stop() == -signal.SIGKILL
        eventually(lambda: not any(is_alive(pid) for pid in children), "nothing of it lives on")

        service.start()
        found = httpx.get(f"{service.base_url}/events/{event}/booking", headers=buyer)
        assert found.status_code == 200
        assert found.json()["data"] == booked.json()["data"]


def test_every_process_of_a_service_keeps_its_folder_locked(tmp_path: Path) -> None:
    """So the next start waits for the last of them, which may still have the port."""
    with running_service(tmp_path / "data") as service:
        lock = tmp_path / "data" / "lock"
        children = descendants(service.pid)
        assert len(children) >= len(("redis", "worker-1", "persister", "outbox"))
        for pid in children:
            assert lock in [descriptor.readlink() for descriptor in Path(f"/proc/{pid}/fd").iterdir()]


def test_a_second_signal_speeds_up_the_stop(tmp_path: Path) -> None:
    with running_service(tmp_path / "data", arguments=["--without-persister"]) as service:
        service.kill("worker-1", signal.SIGSTOP)  # it cannot react to the first one
        service.kill("service", signal.SIGTERM)
        service.logs("stopping")
        assert service.stop(signal.SIGTERM) == 0
        assert "killing all processes except Redis" in service.output


def test_the_service_works_and_stops_with_a_closed_output(tmp_path: Path) -> None:
    described = tmp_path / "data" / "service.json"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BOOKING_")}
    environment |= {"BOOKING_PORT": "0", "BOOKING_DATA_DIR": str(tmp_path / "data")}
    with subprocess.Popen(
        [sys.executable, "-m", "booking", "serve"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            eventually(described.exists, "it serves")
            assert process.stdout is not None
            process.stdout.close()  # as if Ctrl-C had ended the `tee` behind the pipe first
            before = json.loads(described.read_bytes())
            os.kill(before["parts"]["worker-1"], signal.SIGKILL)
            eventually(lambda: worker_of(described) != before["parts"]["worker-1"], "another worker is started")
            ready = f"{before['url']}/readyz"
            eventually(lambda: httpx.get(ready, timeout=30).status_code == 200, "it is ready")
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()


def worker_of(described: Path) -> int:
    pid: int = json.loads(described.read_bytes())["parts"]["worker-1"]
    return pid


def test_a_data_folder_with_a_long_path_is_served(tmp_path: Path) -> None:
    data_dir = tmp_path / ("d" * 100) / "data"
    with running_service(data_dir, arguments=["--without-persister"]) as service:
        assert answers(service)
        assert not (data_dir / "redis.sock").exists()


@pytest.mark.parametrize(
    ("environment", "lines"),
    [
        ({"BOOKING_PORT": "70000", "BOOKING_LOG_FORMAT": "xml"}, ["BOOKING_PORT", "BOOKING_LOG_FORMAT"]),
        ({"BOOKING_JWT_SECRET": "too-short-to-be-safe"}, ["BOOKING_JWT_SECRET"]),
        ({"BOOKING_DATA_DIR": "/dev/null/data"}, ["BOOKING_DATA_DIR"]),
        ({"BOOKING_HOST": "203.0.113.1"}, ["BOOKING_HOST"]),
        ({"BOOKING_HOST": "shop..example"}, ["BOOKING_HOST"]),
        ({"BOOKING_REDIS_URL": "redis://localhost:1/0?no_such_option=1"}, ["starting", "BOOKING_REDIS_URL"]),
        ({"BOOKING_REDIS_SERVER": "/nonexistent/valkey-server"}, ["BOOKING_REDIS_SERVER"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_wrong_setting_ends_the_start_with_one_line_and_exit_code_2(
    tmp_path: Path, environment: dict[str, str], lines: list[str]
) -> None:
    ended = serve({"BOOKING_DATA_DIR": str(tmp_path / "data")} | environment)
    assert ended.returncode == 2
    said = ended.stderr.splitlines()
    assert [line.removeprefix("booking: ").split()[0].rstrip(":,") for line in said] == lines
    assert "too-short-to-be-safe" not in ended.stderr


def test_a_port_in_use_is_reported_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = serve({"BOOKING_DATA_DIR": str(tmp_path / "data")}, "--port", port)
    assert ended.returncode == 2
    assert ended.stderr == f"booking: BOOKING_HOST, BOOKING_PORT: 127.0.0.1:{port}: Address already in use\n"


def test_an_unreachable_database_ends_the_start_with_one_line(tmp_path: Path) -> None:
    address = "postgresql://shop:s3cret-word@127.0.0.1:1/shop"
    ended = serve({"BOOKING_DATA_DIR": str(tmp_path / "data"), "BOOKING_DATABASE_URL": address})
    assert ended.returncode == 1
    assert "booking: database: " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "s3cret-word" not in ended.stderr


def test_an_unreachable_redis_ends_the_start_with_the_reason(tmp_path: Path) -> None:
    ended = serve({"BOOKING_DATA_DIR": str(tmp_path / "data"), "BOOKING_REDIS_URL": f"unix://{tmp_path}/none.sock"})
    assert ended.returncode == 1
    assert ended.stderr.count("booking: Redis cannot be reached") == 3
    assert ended.stderr.count(f"booking: BOOKING_REDIS_URL: {tmp_path}/none.sock: Redis cannot be reached") == 1
    assert ended.stderr.endswith("booking: worker-1 died 3 times at its start\n")
    assert "Traceback" not in ended.stderr + ended.stdout


def test_a_setting_that_contradicts_the_stored_data_is_one_line(lasting: RunningService, tmp_path: Path) -> None:
    shutil.copytree(lasting.data_dir, tmp_path / "data", ignore=shutil.ignore_patterns("*.sock", "lock", "redis"))
    same = {"BOOKING_DATA_DIR": str(tmp_path / "data"), "BOOKING_JWT_SECRET": lasting.secret}
    ended = serve(same | {"BOOKING_SHARDS": "4"})
    assert ended.returncode == 2
    starting, advice, refusal = ended.stderr.splitlines()
    assert "booking user add EMAIL --organizer" in advice
    assert starting.startswith("booking: starting an embedded Redis")
    assert refusal.startswith("booking: BOOKING_SHARDS: ")
    assert ended.stdout == ""


def test_the_persister_may_be_a_process_of_its_own(tmp_path: Path) -> None:
    with running_service(tmp_path / "data", arguments=["--without-persister"]) as service:
        assert set(service.parts()) == {"worker-1", "redis", "outbox"}
        environment = {**os.environ, "BOOKING_DATA_DIR": str(service.data_dir)}
        persister = ForkedProgram(main, ["persist"], environment, output=tmp_path / "log")
        organizer = {"Authorization": f"Bearer {service.token('boss', 'organizer')}"}
        sale = {"event_name": "E", "available_tickets": 5}
        made = httpx.post(f"{service.base_url}/initialize", json=sale, headers=organizer)
        assert made.status_code == 201
        eventually(lambda: stored_events(service) == [("E",)], "the event is in the database")
        persister.send_signal(signal.SIGTERM)
        assert persister.wait(30) == 0


def test_a_signal_during_the_start_ends_it(tmp_path: Path) -> None:
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o700)
    process = ForkedProgram(
        main,
        ["serve", "--port", "0", "--data-dir", str(tmp_path / "data")],
        {**os.environ, "BOOKING_REDIS_SERVER": str(program)},
        output=tmp_path / "log",
    )
    eventually(lambda: len(descendants(process.pid)) >= 4, "all parts are being started")
    children = descendants(process.pid)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert [pid for pid in children if is_alive(pid)] == []


def test_a_missing_server_program_is_waited_for_when_redis_dies(tmp_path: Path) -> None:
    program, aside = tmp_path / "valkey-server", tmp_path / "aside"
    program.symlink_to(find_program(None))
    with running_service(tmp_path / "data", {"BOOKING_REDIS_SERVER": str(program)}) as service:
        program.rename(aside)  # as a package manager does for a moment
        service.kill("redis")
        service.logs("redis cannot be started: BOOKING_REDIS_SERVER: ")
        aside.rename(program)
        eventually(lambda: answers(service, "/readyz"), "it is found again")


def test_files_that_cannot_be_created_are_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "redis").touch()
    ended = serve({"BOOKING_DATA_DIR": str(tmp_path / "data")})
    assert ended.returncode == 1
    said = f"booking: the embedded server's files cannot be created: {tmp_path}/data/redis: File exists\n"
    assert ended.stderr.endswith(said)
    assert "Traceback" not in ended.stderr


def test_an_embedded_server_that_cannot_run_is_reported_with_its_log(tmp_path: Path) -> None:
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\necho the disk is on fire\nexit 1\n")
    program.chmod(0o700)
    ended = serve({"BOOKING_DATA_DIR": str(tmp_path / "data"), "BOOKING_REDIS_SERVER": str(program)})
    assert ended.returncode == 1
    assert "the embedded server ended at its start" in ended.stderr
    assert "the disk is on fire" in ended.stderr
