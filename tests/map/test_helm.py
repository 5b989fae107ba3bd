"""The Helm chart: what it makes of values is what Kubernetes takes, theramap reads and a hospital may run."""

from __future__ import annotations

import base64
import json
import re
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from sqlalchemy.engine import make_url

from app.settings import SETTINGS_VARIABLE, Settings, read_settings
from tests.helm import CHART, NAMESPACE, Chart, Manifest, helm, render

ROOT = Path(__file__).parents[2]
OLDEST, NEWEST = "1.27", "1.37"
NAME = "site-theramap"
PACS = {"name": "pacs", "ae_title": "PACS", "host": "10.1.0.5", "port": 104}
AE = {"title": "THERAMAP", "allow": {"ae_titles": ["PACS"]}, "pacs": "pacs", "destinations": ["pacs"]}
OPEN = {"senders": ["10.1.0.5/32"], "destinations": [{"cidr": "10.1.0.5/32", "ports": [104, 443]}]}
STORE = {
    "url": "s3://bucket/theramap",
    "endpoint": "https://s3.example",
    "existingSecret": "store",
    "ca": "/run/secrets/store/ca.crt",
}
SCRAPER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "prometheus"}}}
OTHER_DATABASE = {
    "bundled": {"enabled": False},
    "url": "postgresql+psycopg://theramap@db.example:5432/theramap?sslmode=verify-full&sslrootcert=/run/secrets/db/ca.crt",
    "existingSecret": "db",
}

VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "site": {"settings": {"gateway": {"ae_titles": [AE], "remotes": [PACS]}}, "networkPolicy": OPEN},
    "other database": {
        "database": OTHER_DATABASE,
        "networkPolicy": {**OPEN, "database": [{"cidr": "10.2.0.0/16", "ports": [5432]}]},
    },
    "object store": {
        "exchange": {"s3": STORE},
        "networkPolicy": {**OPEN, "objectStore": [{"cidr": "10.3.0.9/32", "ports": [443]}]},
    },
    "gpu and keda": {
        "work": {
            "gpu": {"count": 1},
            "runtimeClassName": "nvidia",
            "nodeSelector": {"nvidia.com/gpu.present": "true"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "autoscaling": {"kind": "keda", "max": 8},
            "models": {"existingClaim": "site-models"},
        }
    },
    "hpa": {"work": {"autoscaling": {"kind": "hpa", "hpa": {"labels": {"namespace": NAMESPACE}}}}},
    "tls and stow": {
        "receive": {
            "tls": {"existingSecret": "receiver-tls"},
            "stow": {"enabled": True},
            "service": {"type": "LoadBalancer", "annotations": {"example.org/address": "10.1.0.9"}},
        },
        "networkPolicy": OPEN,
    },
    "node port": {"receive": {"service": {"type": "NodePort", "nodePort": 31112}}},
    "no policies": {"networkPolicy": {"enabled": False}},
    "monitoring": {
        "monitoring": {
            "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
            "rules": {"enabled": True, "labels": {"release": "prometheus"}},
        },
        "networkPolicy": {"scrapers": [SCRAPER]},
    },
    "secrets of the site": {
        "siteKey": {"existingSecret": "site", "key": "uid-key"},
        "database": {"existingSecret": "db"},
        "exchange": {"volume": {"existingClaim": "shared"}},
        "secrets": [{"name": "pacs", "secret": "pacs-credentials"}],
        "settings": {
            "gateway": {
                "remotes": [
                    {
                        **PACS,
                        "dicomweb": {
                            "url": "https://pacs.example/dicom-web",
                            "user": "theramap",
                            "password_file": "/run/secrets/pacs/password",
                        },
                    }
                ]
            }
        },
        "image": {
            "repository": "registry.example/theramap",
            "digest": "sha256:" + "0" * 64,
            "pullSecrets": ["registry"],
        },
        "work": {"image": {"tag": "site-cpu"}},
    },
}


@pytest.fixture(scope="module", params=sorted(VALUES))
def chart(request: pytest.FixtureRequest) -> Chart:
    return render(VALUES[request.param])


def read(chart: Chart, folder: Path, patch: pytest.MonkeyPatch) -> Settings:
    """The settings of a chart as theramap reads them."""
    path = folder / "theramap.yaml"
    path.write_text(chart.find("ConfigMap", "")["data"]["theramap.yaml"], "utf-8")
    patch.setenv(SETTINGS_VARIABLE, str(path))
    return read_settings()


def containers(chart: Chart) -> Iterator[tuple[str, Manifest]]:
    for name, pod in chart.pods().items():
        for container in [*pod["containers"], *pod.get("initContainers", ())]:
            yield f"{name}/{container['name']}", container


# ---- as helm and Kubernetes see it ----------------------------------------------------------------


def test_chart_has_no_fault_that_helm_knows() -> None:
    done = helm("lint", "--strict", CHART)
    assert done.returncode == 0, done.stdout


def test_chart_has_the_projects_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert (chart["version"], chart["appVersion"]) == (project, project)
    assert chart["kubeVersion"] == f">={OLDEST}.0-0"


def test_chart_can_be_packaged(tmp_path: Path) -> None:
    done = helm("package", CHART, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["theramap-0.1.0.tgz"]
    assert helm("template", "site", tmp_path / "theramap-0.1.0.tgz").returncode == 0


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_takes_every_manifest(chart: Chart, version: str) -> None:
    for manifest in chart.manifests:
        if manifest["apiVersion"].split("/")[0] in {"keda.sh", "monitoring.coreos.com"}:
            continue  # not of Kubernetes itself
        kubernetes_validate.validate(manifest, version, strict=True)


def test_every_manifest_is_in_the_releases_namespace_and_of_one_name(chart: Chart) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in chart.manifests]
    assert len(names) == len(set(names))
    for one in chart.manifests:
        assert one["metadata"]["namespace"] == NAMESPACE
        assert one["metadata"]["name"].startswith(NAME)


# ---- as a cluster's security asks ------------------------------------------------------------------


def test_every_pod_fits_the_restricted_profile_and_has_no_token(chart: Chart) -> None:
    for name, pod in chart.pods().items():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == security["fsGroup"] == (999 if name == f"{NAME}-postgres" else 1000)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["shareProcessNamespace"] is True
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        kinds = {kind for volume in pod.get("volumes", ()) for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}


def test_every_container_is_without_rights_and_within_limits(chart: Chart) -> None:
    for name, container in containers(chart):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False, name
        assert security["readOnlyRootFilesystem"] is True, name
        assert security["capabilities"] == {"drop": ["ALL"]}, name
        assert container["resources"]["limits"]["memory"], name
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name


def test_volumes_in_memory_or_on_the_node_have_a_size(chart: Chart) -> None:
    for pod in chart.pods().values():
        for volume in pod.get("volumes", ()):
            assert volume.get("emptyDir") is None or volume["emptyDir"]["sizeLimit"]


def test_every_mount_has_its_volume_and_every_volume_a_mount(chart: Chart) -> None:
    claims = {
        one["metadata"]["name"]: [each["metadata"]["name"] for each in one["spec"]["volumeClaimTemplates"]]
        for one in chart.of_kind("StatefulSet")
    }
    for name, pod in chart.pods().items():
        there = {volume["name"] for volume in pod.get("volumes", ())} | set(claims.get(name, ()))
        mounts = [mount for container in pod["containers"] for mount in container.get("volumeMounts", ())]
        assert {mount["name"] for mount in mounts} == there
        for container in pod["containers"]:
            paths = [mount["mountPath"] for mount in container.get("volumeMounts", ())]
            assert len(paths) == len(set(paths))


def test_no_secret_is_in_anything_but_secrets(chart: Chart) -> None:
    made = {
        base64.b64decode(value).decode()
        for one in chart.of_kind("Secret")
        for value in one.get("data", {}).values()
    }
    assert all(len(value) == 48 for value in made)
    text = json.dumps([one for one in chart.manifests if one["kind"] != "Secret"])
    assert not [value for value in made if value in text]
    assert not re.search(r"(?i)password\"?: \"[^\"/]", text)


def test_own_secrets_are_used_and_none_is_made() -> None:
    chart = render(VALUES["secrets of the site"])
    assert chart.of_kind("Secret") == []
    (keys,) = (one for one in chart.pods()[f"{NAME}-work"]["volumes"] if one["name"] == "keys")
    assert [one["secret"] for one in keys["projected"]["sources"]] == [
        {"name": "db", "items": [{"key": "database-password", "path": "database-password"}]},
        {"name": "site", "items": [{"key": "uid-key", "path": "site-key"}]},
    ]


# ---- as theramap sees it ---------------------------------------------------------------------------


def test_theramap_reads_the_settings(chart: Chart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(chart, tmp_path, monkeypatch)
    gateway = settings.gateway
    assert gateway.stop_grace_s == 300
    assert gateway.database is not None
    host = make_url(gateway.database.get_secret_value()).host
    assert host in {f"{NAME}-postgres", "db.example"}
    mounted = {mount["mountPath"] for mount in chart.container("Deployment", "-work", "work")["volumeMounts"]}
    assert str(gateway.data) in mounted
    for file in (gateway.database_password_file, gateway.site_key_file):
        assert file is not None
        assert str(file.parent) in mounted
    for remote in gateway.remotes:
        if remote.dicomweb is not None and remote.dicomweb.password_file is not None:
            assert str(remote.dicomweb.password_file.parent) in mounted
    assert gateway.exchange == ("file:///exchange" if "/exchange" in mounted else "s3://bucket/theramap")
    assert settings.models.folder is None or str(settings.models.folder) in mounted


def test_ports_of_settings_containers_services_and_policies_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chart = render(VALUES["tls and stow"])
    receiver = read(chart, tmp_path, monkeypatch).gateway.receiver
    assert receiver.tls is not None
    assert receiver.stow is not None
    receive = chart.container("StatefulSet", "-receive", "receive")
    assert str(receiver.tls.ca.parent) in {mount["mountPath"] for mount in receive["volumeMounts"]}
    ports = {one["name"]: one["containerPort"] for one in receive["ports"]}
    assert ports == {"dicom": receiver.port, "stow": receiver.stow.port} == {"dicom": 11112, "stow": 8443}
    assert [(one["port"], one["targetPort"]) for one in chart.find("Service", "-dicom")["spec"]["ports"]] == [
        (11112, "dicom"),
        (8443, "stow"),
    ]
    policy = chart.find("NetworkPolicy", "-receive")["spec"]["ingress"]
    assert policy[0] == {
        "from": [{"ipBlock": {"cidr": "10.1.0.5/32"}}],
        "ports": [{"port": 11112}, {"port": 8443}],
    }
    assert policy[1]["ports"] == [{"port": 8080}]


def test_each_role_has_a_container_and_time_to_stop(chart: Chart) -> None:
    found = {name: container.get("args") for name, container in containers(chart)}
    for place, role in (
        ("receive/receive", "receive"),
        ("receive/console", "console"),
        ("work/work", "work"),
        ("deliver/deliver", "deliver"),
    ):
        assert found[f"{NAME}-{place}"] == [role]
    for name, pod in chart.pods().items():
        if name not in {f"{NAME}-postgres", f"{NAME}-ready"}:
            assert pod["terminationGracePeriodSeconds"] == 315


def test_receiver_is_one_and_keeps_its_spool(chart: Chart) -> None:
    spec = chart.find("StatefulSet", "-receive")["spec"]
    assert spec["replicas"] == 1
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    console = chart.container("StatefulSet", "-receive", "console")
    data = {mount["mountPath"]: mount.get("readOnly", False) for mount in console["volumeMounts"]}
    assert data["/var/lib/theramap"] is True


def test_probes_name_roles_that_beat(chart: Chart) -> None:
    for name, container in containers(chart):
        for kind in ("startupProbe", "livenessProbe"):
            command = container.get(kind, {}).get("exec", {}).get("command", [])
            if "alive" in command:
                roles = [word.split("=")[0] for word in command[2:]]
                begins = name.endswith("/receive") and kind == "startupProbe"
                expected = ["receive", "keeper"] if begins else [container["name"]]
                assert roles == expected


# ---- what single values do -------------------------------------------------------------------------


def test_a_gpu_brings_its_image_device_and_shared_memory() -> None:
    chart = render(VALUES["gpu and keda"])
    work = chart.container("Deployment", "-work", "work")
    assert work["image"] == "theramap:0.1.0-gpu"
    assert work["resources"]["limits"] == {"memory": "16Gi", "nvidia.com/gpu": 1}
    assert {"name": "THERAMAP_DEVICE", "value": "cuda"} in work["env"]
    pod = chart.pods()[f"{NAME}-work"]
    assert pod["runtimeClassName"] == "nvidia"
    assert {"medium": "Memory", "sizeLimit": "1Gi"} in [one.get("emptyDir") for one in pod["volumes"]]
    deliver = chart.container("Deployment", "-deliver", "deliver")
    assert deliver["image"] == "theramap:0.1.0-cpu"
    assert "THERAMAP_DEVICE" not in {one["name"] for one in deliver["env"]}


def test_workers_follow_the_open_studies_by_keda_or_by_a_metric() -> None:
    chart = render(VALUES["gpu and keda"])
    (scaled,) = chart.of_kind("ScaledObject")
    assert scaled["spec"]["scaleTargetRef"] == {"name": f"{NAME}-work"}
    assert (scaled["spec"]["minReplicaCount"], scaled["spec"]["maxReplicaCount"]) == (1, 8)
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["metadata"] == {
        "url": f"http://{NAME}-console.{NAMESPACE}.svc:8080/metrics",
        "format": "prometheus",
        "valueLocation": "theramap_open_jobs",
        "targetValue": "1",
    }
    ingress = chart.find("NetworkPolicy", "-receive")["spec"]["ingress"]
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}
    assert peer in ingress[0]["from"]
    (scaler,) = render(VALUES["hpa"]).of_kind("HorizontalPodAutoscaler")
    (metric,) = scaler["spec"]["metrics"]
    assert metric["external"] == {
        "metric": {
            "name": "theramap_open_jobs",
            "selector": {"matchLabels": {"namespace": NAMESPACE}},
        },
        "target": {"type": "AverageValue", "averageValue": "1"},
    }
    for values in ("gpu and keda", "hpa"):
        assert "replicas" not in render(VALUES[values]).find("Deployment", "-work")["spec"]


def test_senders_keep_their_address() -> None:
    for values, kind in (("tls and stow", "LoadBalancer"), ("node port", "NodePort")):
        spec = render(VALUES[values]).find("Service", "-dicom")["spec"]
        assert (spec["type"], spec["externalTrafficPolicy"]) == (kind, "Local")
    assert render(VALUES["tls and stow"]).find("Service", "-dicom")["spec"]["loadBalancerSourceRanges"] == [
        "10.1.0.5/32"
    ]
    spec = render().find("Service", "-dicom")["spec"]
    assert (spec["type"], "externalTrafficPolicy" in spec) == ("ClusterIP", False)


def test_nothing_is_open_by_default_but_between_the_pods() -> None:
    chart = render()
    closed = chart.find("NetworkPolicy", "-closed")["spec"]
    assert closed["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in closed
    assert "egress" not in closed
    policies = chart.of_kind("NetworkPolicy")
    assert len(policies) == 5
    assert "ipBlock" not in json.dumps(policies)
    (console,) = chart.find("NetworkPolicy", "-receive")["spec"]["ingress"]
    (tester,) = console["from"]
    assert tester["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "test"
    egress = chart.find("NetworkPolicy", "-roles")["spec"]["egress"]
    assert [[port["port"] for port in rule["ports"]] for rule in egress] == [[53, 53], [5432]]
    assert "egress" not in chart.find("NetworkPolicy", "-postgres")["spec"]


def test_places_outside_are_opened_one_by_one() -> None:
    egress = render(VALUES["other database"]).find("NetworkPolicy", "-roles")["spec"]["egress"]
    assert egress[1:] == [
        {"to": [{"ipBlock": {"cidr": "10.2.0.0/16"}}], "ports": [{"port": 5432}]},
        {"to": [{"ipBlock": {"cidr": "10.1.0.5/32"}}], "ports": [{"port": 104}, {"port": 443}]},
    ]
    assert render(VALUES["no policies"]).of_kind("NetworkPolicy") == []


def test_peers_within_the_cluster_are_opened_by_their_labels() -> None:
    """An address matches no pod where the network is Cilium's."""
    pacs = {"podSelector": {"matchLabels": {"app": "pacs"}}}
    policy = {"senderPods": [pacs], "destinations": [{"peer": pacs, "ports": [104]}]}
    chart = render({"networkPolicy": {**policy, "dns": {"namespace": "openshift-dns", "ports": [5353]}}})
    assert chart.find("NetworkPolicy", "-receive")["spec"]["ingress"][0]["from"] == [pacs]
    egress = chart.find("NetworkPolicy", "-roles")["spec"]["egress"]
    assert {one["port"] for one in egress[0]["ports"]} == {5353}
    assert egress[-1] == {"to": [pacs], "ports": [{"port": 104}]}


def test_object_store_takes_the_place_of_the_volume() -> None:
    chart = render(VALUES["object store"])
    assert chart.of_kind("PersistentVolumeClaim") == []
    environment = {one["name"]: one for one in chart.container("Deployment", "-work", "work")["env"]}
    assert environment["AWS_ENDPOINT_URL_S3"]["value"] == "https://s3.example"
    assert environment["AWS_CA_BUNDLE"]["value"] == "/run/secrets/store/ca.crt"
    assert environment["AWS_SECRET_ACCESS_KEY"]["valueFrom"] == {
        "secretKeyRef": {"name": "store", "key": "secret-key"}
    }
    (claim,) = render().of_kind("PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_alarms_are_about_metrics_that_there_are() -> None:
    chart = render(VALUES["monitoring"])
    (rule,) = chart.of_kind("PrometheusRule")
    (group,) = rule["spec"]["groups"]
    expressions = [one["expr"] for one in group["rules"]]
    assert len(expressions) == 8
    of_site = f'{{namespace="{NAMESPACE}",service="{NAME}-console"}}'
    assert f"theramap_free_bytes{of_site} < 3221225472" in expressions
    named = set(re.findall(r"theramap_\w+", " ".join(expressions)))
    source = (ROOT / "app" / "health.py").read_text("utf-8")
    assert all(f'"{name.removeprefix("theramap_")}"' in source for name in [*named, "theramap_open_jobs"])
    (monitor,) = chart.of_kind("ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    service = chart.find("Service", "-console")["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service.items()


def test_services_find_their_pods(chart: Chart) -> None:
    kinds = [*chart.of_kind("Deployment"), *chart.of_kind("StatefulSet")]
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in kinds]
    for service in chart.of_kind("Service"):
        selector = service["spec"]["selector"].items()
        assert sum(selector <= one.items() for one in labels) == 1


def test_notes_say_what_is_not_open_yet(tmp_path: Path) -> None:
    copy = tmp_path / "theramap"
    shutil.copytree(CHART, copy)
    (copy / "templates" / "NOTES.txt").rename(copy / "notes.txt")
    template = 'kind: Notes\nmetadata: {name: x}\ntext: {{ tpl (.Files.Get "notes.txt") . | quote }}\n'
    (copy / "templates" / "notes.yaml").write_text(template, "utf-8")

    def notes(values: Mapping[str, Any]) -> str:
        (found,) = render(values, copy).of_kind("Notes")
        return str(found["text"])

    assert "NOBODY MAY SEND YET" in notes({})
    assert "Results go nowhere yet" in notes({})
    assert "kubectl -n imaging exec site-theramap-receive-0 -c receive" in notes({})
    assert "YET" not in notes(VALUES["site"]).upper().replace("NOT YET", "")
    assert "Network policies are off" in notes(VALUES["no policies"])
    assert "pin it there by receive.nodeSelector" in notes(VALUES["node port"])


def test_images_come_by_digest_or_tag_and_with_their_pull_secret() -> None:
    chart = render(VALUES["secrets of the site"])
    images = {name: container["image"] for name, container in containers(chart)}
    assert images[f"{NAME}-receive/receive"] == "registry.example/theramap@sha256:" + "0" * 64
    assert images[f"{NAME}-work/work"] == "registry.example/theramap:site-cpu"
    assert images[f"{NAME}-postgres/postgres"] == "postgres:17"
    assert all(pod["imagePullSecrets"] == [{"name": "registry"}] for pod in chart.pods().values())


def test_the_example_of_the_readme_is_a_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```yaml\n(.+?)```", (CHART / "README.md").read_text("utf-8"), re.DOTALL)
    chart = render(yaml.safe_load(example))
    gateway = read(chart, tmp_path, monkeypatch).gateway
    assert [remote.host for remote in gateway.remotes] == ["pacs.hospital.example"]
    assert gateway.ae_titles[0].destinations == ("pacs",)
    assert len(chart.find("NetworkPolicy", "-receive")["spec"]["ingress"]) == 2


# ---- what is refused -------------------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"replicas": 2}, "Additional property replicas is not allowed"),
    ({"receive": {"replicas": 2}}, "receive: Additional property replicas is not allowed"),
    ({"work": {"gpu": {"count": -1}}}, "work.gpu.count: Must be greater than or equal to 0"),
    ({"receive": {"service": {"type": "ExternalName"}}}, "receive.service.type must be one of"),
    ({"networkPolicy": {"senders": ["10.1.0.5"]}}, "networkPolicy.senders.0: Does not match pattern"),
    ({"networkPolicy": {"destinations": [{"cidr": "10.0.0.0/8"}]}}, "ports is required"),
    ({"database": {"url": "postgresql+psycopg://u:secret@db/x"}}, "database.url: Does not match pattern"),
    ({"image": {"digest": "sha256:12"}}, "image.digest: Does not match pattern"),
    ({"secrets": [{"name": "theramap", "secret": "x"}]}, "secrets.0.name: Must not validate the schema"),
    ({"settings": {"gateway": {"data": "/x"}}}, "settings.gateway.data: the chart decides it"),
    (
        {"settings": {"gateway": {"database": "sqlite:///x"}}},
        "settings.gateway.database: use database.url",
    ),
    ({"settings": {"gateway": {"receiver": {"port": 104}}}}, "receiver.port: use receive.service.port"),
    ({"settings": {"gateway": {"work": {"name": "w1"}}}}, "each takes the name of its pod"),
    (
        {"settings": {"gateway": {"ae_titles": [{"title": "T", "priors": {"via": "c-move"}}]}}},
        "settings.gateway.ae_titles (T): priors by c-move would come to the receiver's pod",
    ),
    ({"database": {"url": OTHER_DATABASE["url"]}}, "database.url: a bundled database is enabled"),
    ({"database": {"bundled": {"enabled": False}}}, "database.url: name the database"),
    ({"database": {**OTHER_DATABASE, "existingSecret": ""}}, "name the Secret that holds"),
    ({"database": OTHER_DATABASE}, "networkPolicy.database: say where your database is"),
    ({"exchange": {"s3": STORE}}, "networkPolicy.objectStore: say where the object store is"),
    (
        {"exchange": {"s3": STORE, "volume": {"existingClaim": "x"}}},
        "exchange: give either s3.url or volume.existingClaim",
    ),
    ({"receive": {"stow": {"enabled": True}}}, "receive.stow: other machines reach it"),
    ({"settings": {"device": "cuda"}}, "settings.device: cuda, but workers have no GPU"),
    ({"settings": {"device": "cpu"}, "work": {"gpu": {"count": 1}}}, "asks for a GPU"),
    ({"image": {"tag": "1"}, "work": {"gpu": {"count": 1}}}, "name that of the gpu variant in work.image"),
    ({"work": {"autoscaling": {"min": 5}}}, "work.autoscaling: min is greater than max"),
]


@pytest.mark.parametrize(("values", "sentence"), REFUSED, ids=[sentence for _, sentence in REFUSED])
def test_wrong_values_are_refused_with_a_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        render(values)


def test_a_release_name_that_is_too_long_is_refused() -> None:
    done = helm("template", "a" * 41, CHART)
    assert "is too long: names of pods would not fit" in done.stderr
