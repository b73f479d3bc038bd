"""The analysts' pages among the manifests of a cluster."""

from __future__ import annotations

from headrace.cold import ARCHIVE_FOLDER
from headrace.settings import Settings
from review.service_addresses import ServiceAddresses
from scoring.live_models import registry_of
from tests.headrace.test_deploy import containers, documents, named


def test_the_pages_of_the_cluster_ask_every_pod_of_the_service_and_keep_cases_where_the_keeper_does() -> None:
    config = next(one for one in documents() if one["kind"] == "ConfigMap")["data"]
    pages = next(one for name, one in containers() if name == "headrace-pages/pages")
    given = {one["name"]: one for one in pages["env"]}
    settings = Settings({}, config | {name: one["value"] for name, one in given.items() if "value" in one})
    addresses = ServiceAddresses(settings.review_service, lambda name, port: [f"{name}/{port}"])
    assert addresses.are_looked_up and addresses.now() == ["http://scoring-pods/3000:3000"]
    service = named("Service", "scoring-pods")["spec"]
    scoring = named("Deployment", "headrace-scoring")["spec"]
    assert service["clusterIP"] == "None", "else the name has one address, and behind it now this pod and now that"
    assert service["selector"] == scoring["selector"]["matchLabels"] == scoring["template"]["metadata"]["labels"]
    assert service["ports"][0]["port"] == scoring["template"]["spec"]["containers"][0]["ports"][0]["containerPort"]
    # The keeper reads the same Secret, whole; the pages do not start without this one word of it.
    assert given["HEADRACE_CASES"]["valueFrom"] == {"secretKeyRef": {"name": "headrace", "key": "HEADRACE_CASES"}}
    assert {"secretRef": {"name": "headrace", "optional": True}} in next(
        one["envFrom"] for name, one in containers() if name.startswith("headrace-keeper/")
    )


def test_the_pages_of_the_cluster_are_watched_and_reached_at_their_port_and_find_what_they_read() -> None:
    config = next(one for one in documents() if one["kind"] == "ConfigMap")["data"]
    pages = next(one for name, one in containers() if name == "headrace-pages/pages")
    settings = Settings({}, config)
    assert pages["ports"] == [{"name": "http", "containerPort": settings.review_port}]
    assert named("Service", "pages")["spec"]["ports"][0]["port"] == settings.review_port
    probes = [pages[probe]["tcpSocket"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert probes == [{"port": "http"}] * 3, "of connections: an outage of PostgreSQL must not start it again"
    spec = named("Deployment", "headrace-pages")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    claims = {
        one["name"]: one["persistentVolumeClaim"]["claimName"]
        for one in spec["template"]["spec"]["volumes"]
        if "persistentVolumeClaim" in one
    }
    mounted = {one["mountPath"]: one for one in pages["volumeMounts"]}
    archive = mounted[str(settings.home / ARCHIVE_FOLDER)]
    assert claims[archive["name"]] == "headrace-archiver" and archive["readOnly"]
    assert claims[mounted[str(registry_of(settings.home).directory)]["name"]] == "headrace-home"
    assert claims[mounted[str(settings.home)]["name"]] == "headrace-pages"
    # The archive's claim is one node's.
    (near,) = spec["template"]["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    archiver = named("Deployment", "headrace-archiver")["spec"]["template"]["metadata"]["labels"]
    assert near["labelSelector"]["matchLabels"] == archiver
