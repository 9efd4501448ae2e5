"""What runs the pipeline elsewhere (image, work pools, batch job): read and held against what is there.

No image is built and no cluster asked: that needs a Docker daemon, a Kubernetes cluster and Slurm.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
import tomllib
from functools import cache
from pathlib import Path

import jsonschema
import prefect
import pytest
from prefect.utilities.templating import apply_values

from tasks.core.io.lifeline import GRACE
from tasks.launch import LAUNCHERS, VARIABLE

ROOT = Path(__file__).parents[2]
PROFILES = ROOT / "profiles"
POOLS = ("process", "docker", "kubernetes")
KNOWN = "server/api/collections_data/views/aggregate-worker-metadata.json"


@cache
def instructions() -> list[tuple[str, str]]:
    """(instruction, its argument) of the Dockerfile, continued lines joined, comments left out."""
    text = (PROFILES / "docker/Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()
    return [(name.upper(), rest) for name, _, rest in (line.partition(" ") for line in joined)]


def arguments(name: str) -> list[str]:
    return [rest for each, rest in instructions() if each == name]


def test_the_image_keeps_the_rules_of_dockerfiles():
    """Those of hadolint that bear on it, by their numbers."""
    assert {name for name, _ in instructions()} <= {
        "FROM",
        "ARG",
        "SHELL",
        "RUN",
        "WORKDIR",
        "COPY",
        "ENV",
        "USER",
        "CMD",
    }
    [base] = arguments("FROM")
    assert ":" in base and not base.endswith(":latest"), "DL3006, DL3007"
    for command in arguments("RUN"):
        assert "sudo" not in command and not re.search(r"(^|&& )cd ", command), "DL3004, DL3003"
        if "apt-get install" in command:
            assert "-y --no-install-recommends" in command, "DL3014, DL3015"
            assert "apt-get update" in command and "rm -rf /var/lib/apt/lists/*" in command, "DL3009, DL3059"
    assert all(Path(folder).is_absolute() for folder in arguments("WORKDIR")), "DL3000"
    assert arguments("SHELL") == ['["/bin/bash", "-o", "pipefail", "-c"]'], "DL4006"
    assert [json.loads(command) for command in arguments("CMD")] == [["dvc", "repro"]], "DL3025"
    assert arguments("USER")[-1] != "root", "DL3002"


def test_the_image_holds_the_environment_of_the_lock():
    copied = [source for line in arguments("COPY") for source in shlex.split(line)[:-1]]
    ignored = (PROFILES / "docker/Dockerfile.dockerignore").read_text().splitlines()
    assert all((ROOT / source).exists() for source in copied)
    assert {f"!{source}" for source in copied} == {line for line in ignored if line.startswith("!")}
    assert "uv.lock" in copied and any("make setup" in command for command in arguments("RUN"))
    flavours = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["conflicts"][0]
    assert {"extra": arguments("ARG")[0].removeprefix("FLAVOUR=")} in flavours


@cache
def template(pool: str) -> dict:
    return json.loads((PROFILES / f"prefect/{pool}.json").read_text())


@cache
def known(pool: str) -> dict:
    """Prefect's own template of a work pool type, which it carries also for types whose worker is not installed."""
    collections = json.loads((Path(prefect.__file__).parent / KNOWN).read_text())
    return next(types[pool] for types in collections.values() if pool in types)["default_base_job_configuration"]


@pytest.mark.parametrize("pool", POOLS)
def test_a_template_says_nothing_that_its_worker_does_not_know(pool):
    ours, theirs = template(pool)["job_configuration"], known(pool)["job_configuration"]
    assert set(ours) <= set(theirs)
    jsonschema.Draft202012Validator.check_schema(template(pool)["variables"])


@pytest.mark.parametrize("pool", POOLS)
def test_every_variable_of_a_template_is_used_and_every_used_one_is_there(pool):
    used = set(re.findall(r"{{ (\w+) }}", json.dumps(template(pool)["job_configuration"])))
    assert used == set(template(pool)["variables"]["properties"])


@pytest.mark.parametrize("pool", POOLS)
def test_a_filled_template_runs_in_the_project_folder(pool):
    variables = template(pool)["variables"]["properties"]
    values = {name: field["default"] for name, field in variables.items() if "default" in field}
    values |= {"workspace": "/srv/video-r1", "command": "prefect flow-run execute", "name": "run"}
    jsonschema.validate(values, template(pool)["variables"])
    job = apply_values(template(pool)["job_configuration"], values)
    assert "{{" not in json.dumps(job)
    if pool == "process":
        assert job["working_dir"] == "/srv/video-r1"
    elif pool == "docker":
        assert job["volumes"] == ["/srv/video-r1:/srv/video-r1"]
    else:
        pod = job["job_manifest"]["spec"]["template"]["spec"]
        [container] = pod["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert (
            mounts == {"workspace": "/srv/video-r1", "shm": "/dev/shm"} and container["workingDir"] == "/srv/video-r1"
        )
        assert {volume["name"] for volume in pod["volumes"]} == set(mounts)
        assert pod["terminationGracePeriodSeconds"] > int(values["env"][GRACE])


def test_a_template_without_its_folder_is_refused():
    with pytest.raises(jsonschema.ValidationError, match="'workspace' is a required property"):
        jsonschema.validate({}, template("docker")["variables"])


SCRIPT = PROFILES / "slurm/video_r1.sbatch"
FLOW = """#!/usr/bin/env bash
printf '%s ' "$@" > arguments
echo "$VIDEO_R1_LAUNCH" > launch
[ -e fails ] && exit 3
[ -e ends ] && exit 0
trap 'sleep 1; touch checkpoint; exit 143' TERM
touch started
for _ in $(seq 600); do sleep 0.1; done
"""


@pytest.fixture
def job(tmp_path):
    """A project folder whose `python` is a script that stands for the flow, and a scontrol that notes its arguments."""
    binaries = tmp_path / ".venv/bin"
    binaries.mkdir(parents=True)
    (binaries / "python").write_text(FLOW)
    (binaries / "scontrol").write_text('#!/usr/bin/env bash\necho "$@" > requeued\n')
    for file in binaries.iterdir():
        file.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VIDEO_R1_")}
    environment |= {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_ID": "7"}

    def start(*targets: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["bash", str(SCRIPT), *targets], cwd="/", env=environment)

    return start


def test_the_batch_job_asks_for_one_node_and_a_signal_in_time():
    options = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", SCRIPT.read_text(), re.MULTILINE))
    assert options["nodes"] == "1" and "requeue" in options
    grace = re.search(rf"{GRACE}-(\d+)", SCRIPT.read_text())
    assert grace and int(options["signal"].removeprefix("B:TERM@")) > int(grace[1])
    launch = re.search(rf"{VARIABLE}-(\w+):([^}}]+)", SCRIPT.read_text())
    assert launch and launch[1] in LAUNCHERS and (ROOT / launch[2]).is_file()


def test_the_batch_job_passes_on_its_arguments_and_the_exit_code(job, tmp_path):
    (tmp_path / "ends").touch()
    assert job("--targets", "validate@sft").wait(60) == 0
    assert (tmp_path / "arguments").read_text() == "-m flows.video_r1 --targets validate@sft "
    assert (tmp_path / "launch").read_text().startswith("accelerate:")
    (tmp_path / "fails").touch()
    assert job().wait(60) == 3
    assert not (tmp_path / "requeued").exists()


def test_a_batch_job_out_of_time_waits_for_the_checkpoint_and_goes_back_into_the_queue(job, tmp_path):
    running = job()
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 0
    assert (tmp_path / "checkpoint").exists()
    assert (tmp_path / "requeued").read_text() == "requeue 7\n"


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_the_batch_job_passes_shellcheck():
    subprocess.run(["shellcheck", str(SCRIPT)], check=True)
