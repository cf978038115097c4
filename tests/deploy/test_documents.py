"""The examples for Compose, Kubernetes and systemd: settings that exist, pinned images, ports and times that agree."""

import configparser
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it ships no types

from booking.cli.main import app
from booking.domain.diagnosis import Verdict
from booking.inventory.server_checks import check_version
from booking.processes.supervisor import STOP_ORDER
from booking.settings import EXIT_WRONG_SETTING, Settings

DEPLOY = Path(__file__).parents[2] / "scripts" / "deploy"
STOP_SECONDS = STOP_ORDER[-1][1]
"""How long `booking serve` takes to stop, besides its drain."""

SECRET = "0f9d" * 16
UNITS = ("booking.service", "booking-persist.service")
PERSIST_STOP_SECONDS = 5.0
"""How long `booking persist` takes to stop: what it drains, and its end."""

Document = dict[str, Any]


def compose() -> Document:
    text = (DEPLOY / "compose.yaml").read_text()
    document: Document = yaml.safe_load(re.sub(r"\$\{\w+:\?is not set\}", SECRET, text))
    assert "$" not in re.sub(r"\$\{\w+:\?is not set\}", "", text.partition("\nname:")[2]), "a variable has a default"
    return document


def objects() -> list[Document]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


def pods() -> Iterator[Document]:
    yield from (one["spec"]["template"]["spec"] for one in objects() if one["kind"] == "Deployment")


def containers() -> Iterator[tuple[Document, Document]]:
    yield from ((pod, container) for pod in pods() for container in pod["containers"])


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # as the documentation has it
    parser.read_string((DEPLOY / name).read_text())
    return parser


def own_services() -> dict[str, Document]:
    return {name: one for name, one in compose()["services"].items() if one["image"] == "booking"}


def settings_of(environment: dict[str, object]) -> Settings:
    return Settings.read({name: str(value) for name, value in environment.items()})


def commands() -> set[str]:
    return {command.callback.__name__ for command in app.registered_commands if command.callback}


@pytest.mark.parametrize("path", sorted(DEPLOY.iterdir()), ids=lambda path: path.name)
def test_every_setting_that_is_named_exists(path: Path) -> None:
    known = {f"BOOKING_{name.upper()}" for name in Settings.model_fields} | {"BOOKING_PYTHON"}
    named = set(re.findall(r"\bBOOKING_[A-Z_]+[A-Z]\b", path.read_text()))
    assert named <= known


def test_images_have_a_version() -> None:
    images = [one["image"] for one in compose()["services"].values() if one["image"] != "booking"]
    images += [container["image"] for _, container in containers()]
    assert len(images) >= 5
    for image in images:
        assert re.fullmatch(r"[a-z0-9.]+(/[a-z0-9-]+)+:\d+\.\d+[\w.-]*", image)


def test_the_redis_of_the_compose_file_is_fit_and_has_no_known_hole() -> None:
    services = compose()["services"]
    _, version = services["valkey"]["image"].rpartition("/")[2].split(":")
    assert check_version("Valkey", version).verdict is Verdict.OK
    assert services["valkey-replica"]["image"] == services["valkey"]["image"]
    words = services["valkey"]["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options["--maxmemory-policy"] == "noeviction"
    assert (options["--appendonly"], options["--appendfsync"]) == ("yes", "always")


def test_the_compose_files_services_settings_and_volumes_agree() -> None:
    document = compose()
    services = document["services"]
    for name, one in services.items():
        assert set(one.get("depends_on", ())) <= services.keys(), name
        for volume in one.get("volumes", ()):
            source, target, *_ = volume.split(":")
            assert source in document["volumes"] or (DEPLOY / source).is_file(), name
            assert target.startswith("/")
    for name, one in own_services().items():
        settings = settings_of(one["environment"])
        assert one["command"][0] in commands()
        assert (one["read_only"], one["cap_drop"]) == (True, ["ALL"])
        assert any(volume.endswith(":/data") for volume in one["volumes"])
        assert settings.redis_address.startswith("redis://valkey:")
        assert "@postgres:5432/booking" in settings.database_address
        seconds = float(one.get("stop_grace_period", "10s").rstrip("s"))
        if one["command"][0] == "serve":
            assert settings.node == name
            assert seconds > settings.drain_seconds + STOP_SECONDS
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"] == SECRET


def test_both_proxies_name_the_nodes_of_the_compose_file_at_their_port() -> None:
    nodes = {name for name, one in own_services().items() if one["command"][0] == "serve"}
    port = Settings.model_fields["port"].default
    for name in ("haproxy.cfg", "nginx.conf"):
        assert set(re.findall(r"server (?:node-\d )?(node-\d:\d+)", (DEPLOY / name).read_text())) == {
            f"{node}:{port}" for node in nodes
        }
    (published,) = compose()["services"]["proxy"]["ports"]
    assert f"bind :{published.split(':')[1]}\n" in (DEPLOY / "haproxy.cfg").read_text()
    networks = settings_of(own_services()["node-1"]["environment"]).trusted_proxies
    assert [pool["subnet"] for pool in compose()["networks"]["default"]["ipam"]["config"]] == list(networks)


def test_the_persisters_health_is_asked_on_its_port() -> None:
    persister = own_services()["persister"]
    port = settings_of(persister["environment"]).persist_port
    assert f":{port}/healthz" in persister["healthcheck"]["test"][-1]
    assert float(persister["stop_grace_period"].rstrip("s")) > PERSIST_STOP_SECONDS


def test_containers_of_kubernetes_are_unprivileged_and_have_their_time_to_stop() -> None:
    found = list(containers())
    assert {container["args"][0] for _, container in found} == {"serve", "persist"}
    for pod, container in found:
        environment = {one["name"]: one.get("value", "a-pod") for one in container["env"]}
        settings = settings_of(environment)
        ports = {one["name"]: one["containerPort"] for one in container["ports"]}
        probes = [container[name] for name in container if name.endswith("Probe")]
        asked = {next(iter(probe.values()))["port"] for probe in probes if "httpGet" in probe or "tcpSocket" in probe}
        assert asked == set(ports)
        serves = container["args"][0] == "serve"
        assert list(ports.values()) == [settings.port if serves else settings.persist_port]
        stop_seconds = settings.drain_seconds + STOP_SECONDS if serves else PERSIST_STOP_SECONDS
        assert pod["terminationGracePeriodSeconds"] > stop_seconds
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"] == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/data"]
        assert [volume["name"] for volume in pod["volumes"]] == ["data"]


def test_the_kubernetes_service_leads_to_the_nodes() -> None:
    by_kind = {one["kind"]: one for one in objects() if one["metadata"]["name"] == "booking"}
    labels = by_kind["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert by_kind["Service"]["spec"]["selector"] == labels
    assert by_kind["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    (port,) = by_kind["Service"]["spec"]["ports"]
    (container,) = by_kind["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert port["targetPort"] in {one["name"] for one in container["ports"]}


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_a_command_and_gives_it_time_to_stop(name: str) -> None:
    service = unit(name)["Service"]
    program, command = service["ExecStart"].split()
    assert (Path(program).name, command in commands()) == ("booking", True)
    assert int(service["RestartPreventExitStatus"]) == EXIT_WRONG_SETTING
    assert float(service["TimeoutStopSec"]) > (STOP_SECONDS if command == "serve" else PERSIST_STOP_SECONDS)
    folders = re.findall(r"^Environment=BOOKING_DATA_DIR=(\S+)$", (DEPLOY / name).read_text(), re.MULTILINE)
    assert folders == [f"/var/lib/{service['StateDirectory']}"]


@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_every_line_of_a_unit(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = (DEPLOY / name).read_text().replace("/opt/booking/bin/booking", "/bin/true")
    (tmp_path / name).write_text(text)
    run = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / name], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    exposure = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=40", "--json=short", tmp_path / name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert exposure.returncode == 0, json.loads(exposure.stdout)
