"""The files under `cluster/`: no field that nobody reads, no metric that nobody exports."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[2]
CLUSTER = PROJECT / "cluster"
RAY_UP = ["aws", "gcp"]
KUBERNETES = ["raycluster", "rayjob"]

# The fields of ray.io/v1 (KubeRay 1.5.1 to 1.6) and core/v1 that may be used, the ones that we have
# a reason for: `{...}` a record, `[...]` a list of such, None anything, `{"*": …}` free keys.
QUANTITIES = {"*": str}
SECURITY = {
    "runAsNonRoot": bool,
    "runAsUser": int,
    "allowPrivilegeEscalation": bool,
    "readOnlyRootFilesystem": bool,
    "capabilities": {"drop": [str], "add": [str]},
    "seccompProfile": {"type": str},
}
PROBE = {
    "exec": {"command": [str]},
    "httpGet": {"path": str, "port": None, "scheme": str},
    "initialDelaySeconds": int,
    "periodSeconds": int,
    "timeoutSeconds": int,
    "successThreshold": int,
    "failureThreshold": int,
}
ENV_FROM = [
    {
        "secretRef": {"name": str, "optional": bool},
        "configMapRef": {"name": str, "optional": bool},
    }
]
RESOURCES = {"requests": QUANTITIES, "limits": QUANTITIES}
CONTAINER = {
    "name": str,
    "image": str,
    "imagePullPolicy": str,
    "env": [{"name": str, "value": str, "valueFrom": {"secretKeyRef": {"name": str, "key": str}}}],
    "envFrom": ENV_FROM,
    "ports": [{"name": str, "containerPort": int, "protocol": str}],
    "resources": RESOURCES,
    "securityContext": SECURITY,
    "livenessProbe": PROBE,
    "readinessProbe": PROBE,
    "lifecycle": {"preStop": {"exec": {"command": [str]}}},
    "volumeMounts": [{"name": str, "mountPath": str, "readOnly": bool, "subPath": str}],
}
POD_TEMPLATE = {
    "metadata": {"labels": {"*": str}, "annotations": {"*": str}},
    "spec": {
        "containers": [CONTAINER],
        "serviceAccountName": str,
        "automountServiceAccountToken": bool,
        "terminationGracePeriodSeconds": int,
        "priorityClassName": str,
        "imagePullSecrets": [{"name": str}],
        "nodeSelector": {"*": str},
        "tolerations": [
            {"key": str, "operator": str, "value": str, "effect": str, "tolerationSeconds": int}
        ],
        "securityContext": {"fsGroup": int, "runAsNonRoot": bool, "runAsUser": int},
        "volumes": [{"name": str, "emptyDir": {"medium": str, "sizeLimit": str}}],
    },
}
GROUP = {"rayStartParams": {"*": str}, "template": POD_TEMPLATE, "labels": {"*": str}}
CLUSTER_SPEC = {
    "rayVersion": str,
    "suspend": bool,
    "managedBy": str,
    "authOptions": {"mode": str, "secretName": str},
    "enableInTreeAutoscaling": bool,
    "autoscalerOptions": {
        "version": str,
        "idleTimeoutSeconds": int,
        "upscalingMode": str,
        "image": str,
        "imagePullPolicy": str,
        "resources": RESOURCES,
        "securityContext": SECURITY,
        "env": CONTAINER["env"],
        "envFrom": ENV_FROM,
        "volumeMounts": CONTAINER["volumeMounts"],
    },
    "headServiceAnnotations": {"*": str},
    "headGroupSpec": {**GROUP, "serviceType": str, "enableIngress": bool},
    "workerGroupSpecs": [
        {
            **GROUP,
            "groupName": str,
            "replicas": int,
            "minReplicas": int,
            "maxReplicas": int,
            "numOfHosts": int,
            "idleTimeoutSeconds": int,
            "suspend": bool,
        }
    ],
}
METADATA = {"name": str, "namespace": str, "labels": {"*": str}, "annotations": {"*": str}}
OBJECT = {"apiVersion": str, "kind": str, "metadata": METADATA}
KINDS: dict[str, dict[str, Any]] = {
    "RayCluster": {**OBJECT, "spec": CLUSTER_SPEC},
    "RayJob": {
        **OBJECT,
        "spec": {
            "entrypoint": str,
            "entrypointNumCpus": float,
            "runtimeEnvYAML": str,
            "jobId": str,
            "submissionMode": str,
            "submitterConfig": {"backoffLimit": int},
            "submitterPodTemplate": POD_TEMPLATE,
            "backoffLimit": int,
            "activeDeadlineSeconds": int,
            "shutdownAfterJobFinishes": bool,
            "ttlSecondsAfterFinished": int,
            "suspend": bool,
            "managedBy": str,
            "metadata": {"*": str},
            "clusterSelector": {"*": str},
            "rayClusterSpec": CLUSTER_SPEC,
        },
    },
    "ServiceAccount": {**OBJECT, "automountServiceAccountToken": bool},
}


def wrong_fields(value: Any, allowed: Any, path: str = "") -> Iterator[str]:
    """The places in a document that the table above does not allow."""
    if allowed is None:
        return
    if isinstance(allowed, list):
        if not isinstance(value, list):
            yield f"{path}: not a list"
            return
        for number, each in enumerate(value):
            yield from wrong_fields(each, allowed[0], f"{path}[{number}]")
    elif isinstance(allowed, dict):
        if not isinstance(value, dict):
            yield f"{path}: not a record"
            return
        for key, each in value.items():
            known = allowed.get(key, allowed.get("*"))
            if known is None and key not in allowed:
                yield f"{path}.{key}: no such field"
            else:
                yield from wrong_fields(each, known, f"{path}.{key}")
    elif type(value) is not allowed:
        yield f"{path}: {value!r} is no {allowed.__name__}"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((CLUSTER / f"{name}.yaml").read_text()))


def cluster_spec(name: str) -> dict[str, Any]:
    (document,) = documents(name)
    spec = document["spec"]
    return spec if document["kind"] == "RayCluster" else spec["rayClusterSpec"]


def pods(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The pod specs of a cluster, the head's first."""
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


@pytest.mark.parametrize("name", [*KUBERNETES, "service-accounts"])
def test_kubernetes_files_have_only_fields_of_our_table(name: str) -> None:
    for document in documents(name):
        assert list(wrong_fields(document, KINDS[document["kind"]])) == []
        version = "ray.io/v1" if document["kind"].startswith("Ray") else "v1"
        assert document["apiVersion"] == version


def test_kubernetes_fields_that_are_misspelt_are_found() -> None:
    (document,) = documents("raycluster")
    container = document["spec"]["workerGroupSpecs"][1]["template"]["spec"]["containers"][0]
    container["volumeMount"] = container.pop("volumeMounts")
    document["spec"]["autoscalerOptions"]["idleTimeoutSeconds"] = "120"
    document["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0
    assert list(wrong_fields(document, KINDS["RayCluster"])) == [
        ".spec.autoscalerOptions.idleTimeoutSeconds: '120' is no int",
        ".spec.headGroupSpec.rayStartParams.num-cpus: 0 is no str",
        ".spec.workerGroupSpecs[1].template.spec.containers[0].volumeMount: no such field",
    ]


def test_kubernetes_job_has_the_same_cluster() -> None:
    assert cluster_spec("rayjob") == cluster_spec("raycluster")


def test_kubernetes_cluster_keeps_its_promises() -> None:
    spec = cluster_spec("raycluster")
    assert spec["authOptions"]["mode"] == "token"
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    gpu = spec["workerGroupSpecs"][1]
    assert gpu["minReplicas"] == 0 < gpu["maxReplicas"]
    assert gpu["template"]["spec"]["tolerations"]
    accounts = {each["metadata"]["name"] for each in documents("service-accounts")}
    assert {pod["serviceAccountName"] for pod in pods(spec)} == accounts
    for pod in pods(spec):
        volumes = {volume["name"] for volume in pod.get("volumes", ())}
        for container in pod["containers"]:
            assert container["securityContext"]["runAsNonRoot"]
            assert container["resources"].keys() == {"requests", "limits"}
            assert {"livenessProbe", "readinessProbe"} <= container.keys()
            assert {mount["name"] for mount in container.get("volumeMounts", ())} == volumes


def test_kubernetes_start_parameters_are_options_of_ray() -> None:
    from ray.scripts.scripts import start

    options = {option for each in start.params for option in each.opts}
    spec = cluster_spec("raycluster")
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        assert {f"--{name}" for name in group["rayStartParams"]} <= options


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_up_files_keep_to_the_schema_of_ray(name: str) -> None:
    import jsonschema
    import ray

    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    (config,) = documents(name)
    jsonschema.validate(config, schema)
    with pytest.raises(jsonschema.ValidationError, match="idle_minutes"):
        jsonschema.validate({**config, "idle_minutes": 1}, schema)

    nodes = config["available_node_types"]
    assert nodes["head"]["resources"] == {"CPU": 0}
    assert nodes["gpu_spot"]["min_workers"] == 0
    text = {kind: json.dumps(node["node_config"]).lower() for kind, node in nodes.items()}
    assert {kind for kind, config in text.items() if "spot" in config} == {"cpu", "gpu_spot"}
    # The image, and its constraints, hold everything; a type's own commands stand instead of all's.
    assert config["setup_commands"] == config["head_setup_commands"] == []
    for node in nodes.values():
        commands = node.get("initialization_commands", config["initialization_commands"])
        assert set(config["initialization_commands"]) <= set(commands)


def test_ray_up_waits_for_the_driver_where_the_image_installs_it() -> None:
    (config,) = documents("gcp")
    for node in config["available_node_types"].values():
        is_gpu = "GPU" in node["resources"]
        assert ("install-nvidia-driver" in json.dumps(node["node_config"])) == is_gpu
        commands = " ".join(node.get("initialization_commands", ()))
        assert ("nvidia-smi" in commands) == is_gpu


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_up_files_start_ray_with_options_that_it_has(name: str) -> None:
    from ray.scripts.scripts import start

    (config,) = documents(name)
    known = {option for each in start.params for option in each.opts}
    commands = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    used = set(re.findall(r"--[a-z-]+", " ".join(commands)))
    assert used and used <= known


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\bray_\w+", expression))


def rule_expressions() -> list[str]:
    monitor, rules = documents("prometheus-rules")
    assert monitor["spec"]["podMetricsEndpoints"][0]["port"] == "metrics"
    return [rule["expr"] for group in rules["spec"]["groups"] for rule in group["rules"]]


def dashboard_expressions() -> list[str]:
    dashboard = json.loads((CLUSTER / "grafana-dashboard.json").read_text())
    variables = [each["query"] for each in dashboard["templating"]["list"]]
    targets = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return targets + variables


def test_monitoring_names_the_metrics_that_are_exported() -> None:
    from xner.engine.metrics import METRICS

    exported = {
        metric.exported(name) + suffix
        for name, metric in METRICS.items()
        for suffix in (("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",))
    }
    # Ray's own; see ray/dashboard/modules/metrics/dashboards.
    exported.add("ray_object_store_memory")
    shown = set().union(*map(metrics_in, dashboard_expressions()))
    watched = set().union(*map(metrics_in, rule_expressions()))
    assert shown - exported == set()
    assert watched - exported == set()
    for name, metric in METRICS.items():
        assert any(each.startswith(metric.exported(name)) for each in shown), name


@pytest.mark.parametrize("expression", [*rule_expressions(), *dashboard_expressions()])
def test_monitoring_expressions_are_balanced_and_name_known_labels(expression: str) -> None:
    from xner.engine.metrics import METRICS

    for opening, closing in ("()", "[]", "{}"):
        assert expression.count(opening) == expression.count(closing)
    labels = {metric.label for metric in METRICS.values()} | {
        "le",
        "SessionName",
        "WorkerId",
        "Location",
    }
    used = set(re.findall(r"by \(([^)]*)\)", expression))
    assert {label.strip() for group in used for label in group.split(",")} <= labels


def pyproject() -> dict[str, Any]:
    return tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]


def test_image_is_pinned_and_not_root() -> None:
    lines = (CLUSTER / "Dockerfile").read_text().splitlines()
    instructions = [line.split() for line in lines if re.match(r"[A-Z]+ ", line)]
    bases = [words[1] for words in instructions if words[0] == "FROM"]
    assert all(re.search(r":\d+\.\d+\.\d+", base) for base in bases) and bases
    assert [words[1] for words in instructions if words[0] == "USER"][-1] == "1000"
    assert not any(words[0] == "USER" and words[1] in ("root", "0") for words in instructions)
    installs = [line for line in lines if "pip install" in line]
    assert all("--constraint" in line or "--no-deps" in line for line in installs)
    ignored = (PROJECT / ".dockerignore").read_text().splitlines()
    for words in instructions:
        if words[0] == "COPY":
            for source in words[2:-1]:
                assert (PROJECT / source).exists()
                assert any(f"!{source}".startswith(line) for line in ignored if line[:1] == "!")


def test_image_pins_what_the_project_needs() -> None:
    project = pyproject()
    extras = project["optional-dependencies"]
    (installed,) = re.findall(r"'\.\[(.+)\]'", (CLUSTER / "Dockerfile").read_text())
    needed = [
        *project["dependencies"],
        *(each for name in installed.split(",") for each in extras[name]),
    ]
    lines = (CLUSTER / "constraints.txt").read_text().splitlines()
    pins = {
        canonicalize_name(name): version
        for name, _, version in (line.partition("==") for line in lines if "==" in line)
    }
    for requirement in map(Requirement, needed):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def test_ray_is_one_version_everywhere() -> None:
    allowed = next(r for r in map(Requirement, pyproject()["dependencies"]) if r.name == "ray")
    (base,) = re.findall(r"rayproject/ray:([\d.]+)", (CLUSTER / "Dockerfile").read_text())
    (pin,) = re.findall(r"^ray==(.+)$", (CLUSTER / "constraints.txt").read_text(), re.MULTILINE)
    versions = {base, pin, *(cluster_spec(name)["rayVersion"] for name in KUBERNETES)}
    assert len(versions) == 1
    assert allowed.specifier.contains(versions.pop())


def test_runtime_env_is_one_that_ray_takes() -> None:
    from ray.runtime_env import RuntimeEnv

    (environment,) = documents("runtime_env")
    RuntimeEnv(**environment)
    (job,) = documents("rayjob")
    RuntimeEnv(**yaml.safe_load(job["spec"]["runtimeEnvYAML"]))


# Keys of clouds and of the hub, private keys, and values given to what sounds like a secret.
SECRET = re.compile(
    r"AKIA[0-9A-Z]{16}|AIza[\w-]{35}|hf_\w{30,}|-----BEGIN|"
    r"(?i:password|secret_?(?:access_?)?key|auth_?token|api_?key)\w*[\"']?\s*[:=]\s*[\"']?[\w+/]{12,}"
)


@pytest.mark.parametrize("path", sorted(CLUSTER.iterdir()), ids=lambda path: path.name)
def test_no_file_holds_a_secret(path: Path) -> None:
    assert SECRET.search(path.read_text()) is None


@pytest.mark.parametrize(
    "line",
    [
        "aws_secret_access_key: wJalrXUtnFEMIK7MDENG",
        "AUTH_TOKEN=0123456789abcdef",
        "AKIA" + "Z" * 16,
    ],
)
def test_secrets_are_found(line: str) -> None:
    assert SECRET.search(line)
