"""Checks Kubernetes manifests: schema of every given version, then the house's own policy.

    check_manifests.py [--kube VERSION]... FILE...     prints every violation; exit 1 if there is one
    check_manifests.py --self-test FILE                breaks FILE in each known way; exit 1 if one passes
    check_manifests.py --same FILE FILE                exit 1 if the two hold different objects

Runs on plain files: there is no cluster behind it, and no chart knowledge but names and labels.
"""

import argparse
import copy
import sys

import kubernetes_validate
import yaml

SERVICES = ("ads", "care", "evaluate", "profile", "recommend")
# The call graph: who may open a connection to whom. `client` stands for the shop's back ends.
CALLS = {(caller, "profile") for caller in SERVICES if caller != "profile"} | {
    (caller, "evaluate") for caller in ("ads", "recommend")
}
EDGES = {(caller, service) for service in SERVICES for caller in ("client", "healthcheck")} | CALLS
NAME = "app.kubernetes.io/name"
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
# Custom resources have no schema in Kubernetes itself.
# The most that a server takes beside the drain of its calls: DRAIN_WAIT, HOOK_MAX and FLUSH_MAX.
DRAIN_REST_SECONDS = 13
CUSTOM_GROUPS = ("monitoring.coreos.com", "kustomize.config.k8s.io")


def load(path):
    with open(path, encoding="utf-8") as stream:
        return [document for document in yaml.safe_load_all(stream) if document]


def title(document):
    return f"{document['kind']}/{document['metadata']['name']}"


def of_kind(documents, kind):
    return [document for document in documents if document["kind"] == kind]


def schema_violations(documents, versions):
    for document in documents:
        if document["apiVersion"].split("/")[0] in CUSTOM_GROUPS:
            continue
        for version in versions:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = "/".join(str(step) for step in error.path)
                yield f"{title(document)}: schema {version}: {where}: {error.message}"


def pods(documents):
    for document in documents:
        if document["kind"] == "Deployment":
            yield document, document["spec"]["template"]["spec"]
        elif document["kind"] == "Pod":
            yield document, document["spec"]


def pod_violations(owner, pod):
    """Policy for every pod, tests included."""
    name = title(owner)
    if pod.get("automountServiceAccountToken") is not False:
        yield f"{name}: mounts a service account token"
    security = pod.get("securityContext", {})
    if security.get("runAsNonRoot") is not True or security.get("runAsUser", 0) < 10_001:
        yield f"{name}: may run as root or as a user of the node"
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield f"{name}: seccomp profile is not RuntimeDefault"
    for shared in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(shared):
            yield f"{name}: {shared}"
    for volume in pod.get("volumes", []):
        if "hostPath" in volume:
            yield f"{name}: volume {volume['name']} is a path of the node"
        if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
            yield f"{name}: volume {volume['name']} has no maximum"
    for container in pod.get("initContainers", []) + pod["containers"]:
        yield from container_violations(f"{name}/{container['name']}", container)


def container_violations(name, container):
    security = container.get("securityContext", {})
    if security.get("readOnlyRootFilesystem") is not True:
        yield f"{name}: root file system is writable"
    if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
        yield f"{name}: may gain privileges"
    if security.get("capabilities", {}) != {"drop": ["ALL"]}:
        yield f"{name}: keeps capabilities"
    if security.get("runAsUser", 10_001) < 10_001 or security.get("runAsNonRoot", True) is not True:
        yield f"{name}: overrides the pod's user"
    limits = container.get("resources", {}).get("limits", {})
    requests = container.get("resources", {}).get("requests", {})
    for resource in ("cpu", "memory"):
        if resource not in limits or resource not in requests:
            yield f"{name}: no {resource} request or limit"
    if limits.get("memory") != requests.get("memory"):
        yield f"{name}: memory request differs from its limit"
    for variable in container.get("env", []):
        secret = variable["name"].endswith(("_URL", "_KEY", "_TOKEN", "_PASSWORD")) and "@" in variable.get("value", "")
        if secret:
            yield f"{name}: {variable['name']} holds a secret in plain sight"


def service_violations(documents):
    """Policy for the five services: objects, probes, ports, drain."""
    deployments = {d["metadata"]["labels"][NAME]: d for d in of_kind(documents, "Deployment")}
    if set(deployments) != set(SERVICES):
        yield f"deployments are {sorted(deployments)}"
    for service, deployment in deployments.items():
        name = title(deployment)
        pod = deployment["spec"]["template"]["spec"]
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        [container] = pod["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        yield from probe_violations(name, container, ports)
        yield from account_violations(name, pod, documents)
        yield from port_violations(name, labels, ports, documents)
        yield from environment_violations(name, service, container, ports)
        yield from token_violations(name, service, pod, container)
        sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if sleep < 5:
            yield f"{name}: leaves before clients have re-resolved"
        env = {variable["name"]: variable.get("value", "") for variable in container["env"]}
        drain = int(env["RAPPORT_DRAIN_MAX"].removesuffix("s"))
        if pod["terminationGracePeriodSeconds"] < sleep + drain + DRAIN_REST_SECONDS:
            yield f"{name}: is killed before it can drain"
        if len(pod.get("topologySpreadConstraints", [])) < 2:
            yield f"{name}: is not spread over zones and hosts"


def probe_violations(name, container, ports):
    for probe in PROBES:
        if container.get(probe, {}).get("grpc", {}).get("port") != ports["grpc"]:
            yield f"{name}: {probe} does not ask the gRPC port"
    if "service" in container.get("livenessProbe", {}).get("grpc", {}):
        yield f"{name}: liveness must ask the process, not a service that may wait for a database"
    if "service" not in container.get("readinessProbe", {}).get("grpc", {}):
        yield f"{name}: readiness must ask the service"


def account_violations(name, pod, documents):
    accounts = {a["metadata"]["name"]: a for a in of_kind(documents, "ServiceAccount")}
    account = accounts.get(pod.get("serviceAccountName"))
    if account is None:
        yield f"{name}: has no service account of its own"
    elif account.get("automountServiceAccountToken") is not False:
        yield f"{title(account)}: mounts its token"


def port_violations(name, labels, ports, documents):
    selecting = [s for s in of_kind(documents, "Service") if s["spec"]["selector"].items() <= labels.items()]
    if len(selecting) != 1:
        yield f"{name}: {len(selecting)} Services select it"
        return
    for port in selecting[0]["spec"]["ports"]:
        target = port.get("targetPort", port["port"])
        if ports.get(target, target) not in ports.values():
            yield f"{title(selecting[0])}: port {port['name']} leads to no container port"
        if ports.get(port["name"]) != port["port"]:
            yield f"{title(selecting[0])}: port {port['name']} differs from the container's"


def environment_violations(name, service, container, ports):
    env = {variable["name"]: variable for variable in container["env"]}
    prefix = service.upper()
    for variable, port in (("RAPPORT_LISTEN", "grpc"), ("RAPPORT_METRICS_LISTEN", "metrics")):
        if env.get(variable, {}).get("value") != f"0.0.0.0:{ports[port]}":
            yield f"{name}: {variable} is not the {port} port"
    if env.get("RAPPORT_AUTH", {}).get("value") not in ("ed25519", "hs256"):
        yield f"{name}: listens to other machines without tokens"
    for other in SERVICES:
        if (f"{prefix}_{other.upper()}_URL" in env) != ((service, other) in CALLS):
            yield f"{name}: {prefix}_{other.upper()}_URL differs from the call graph"
    if ("PROFILE_KEYRING" in env) != (service == "profile"):
        yield f"{name}: only profile holds wrapping keys"
    if f"{prefix}_DATABASE_URL" not in env:
        yield f"{name}: has no database"
    if len(env) != len(container["env"]):
        yield f"{name}: a variable is set twice"


def token_violations(name, service, pod, container):
    """Who calls another service holds a token of its own, in a folder that shows a rotation."""
    env = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    path = env.get("RAPPORT_PEER_TOKEN_FILE")
    if (path is not None) != any(caller == service for caller, _ in CALLS):
        yield f"{name}: exactly the services that call others need RAPPORT_PEER_TOKEN_FILE"
    if path is None:
        return
    folder, _, file = path.rpartition("/")
    mounts = [mount for mount in container["volumeMounts"] if mount["mountPath"] == folder]
    if len(mounts) != 1 or "subPath" in mounts[0] or not mounts[0].get("readOnly"):
        yield f"{name}: {folder} is not one read-only mount of a whole folder"
        return
    [volume] = [volume for volume in pod["volumes"] if volume["name"] == mounts[0]["name"]]
    if volume.get("secret", {}).get("items") != [{"key": service, "path": file}]:
        yield f"{name}: {path} is not this service's own token"


def scaler_violations(documents):
    for scaler in of_kind(documents, "HorizontalPodAutoscaler"):
        if scaler["metadata"]["labels"][NAME] != "recommend":
            yield f"{title(scaler)}: only recommend scales by itself"
        for deployment in of_kind(documents, "Deployment"):
            scaled = deployment["metadata"]["name"] == scaler["spec"]["scaleTargetRef"]["name"]
            if scaled and "replicas" in deployment["spec"]:
                yield f"{title(deployment)}: replicas would fight the autoscaler at every upgrade"


def peer_name(peer):
    """The service that a peer selects by its name label; `client` for one by the client label."""
    labels = peer.get("podSelector", {}).get("matchLabels", {})
    return "client" if "rapport/client" in labels else labels.get(NAME)


def allowed(rules, direction, port):
    """Names of the peers that the rules let through on the port; None where a rule names no peer."""
    for rule in rules or []:
        if not any(entry.get("port") == port for entry in rule.get("ports", [])):
            continue
        for peer in rule.get(direction) or [{}]:
            yield peer_name(peer)


def network_violations(documents):
    """The edges that the policies open are exactly the declared call graph, seen from both ends."""
    policies = of_kind(documents, "NetworkPolicy")
    if not policies:
        return
    if not any(
        set(p["spec"]["policyTypes"]) == {"Ingress", "Egress"} and not p["spec"].get("ingress") and not p["spec"].get("egress")
        for p in policies
    ):
        yield "NetworkPolicy: nothing denies by default"
    by_service = {p["spec"]["podSelector"]["matchLabels"].get(NAME): p for p in policies}
    port = of_kind(documents, "Service")[0]["spec"]["ports"][0]["port"]
    inward = {(c, s) for s in SERVICES for c in allowed(by_service[s]["spec"].get("ingress"), "from", port)}
    outward = {(c, s) for c in SERVICES for s in allowed(by_service[c]["spec"].get("egress"), "to", port)}
    for caller, service in sorted(inward ^ EDGES, key=str):
        yield f"NetworkPolicy: ingress {caller} -> {service} differs from the call graph"
    for caller, service in sorted(outward ^ {edge for edge in EDGES if edge[0] in SERVICES}, key=str):
        yield f"NetworkPolicy: egress {caller} -> {service} differs from the call graph"


def policy_violations(documents):
    for owner, pod in pods(documents):
        yield from pod_violations(owner, pod)
    yield from service_violations(documents)
    yield from scaler_violations(documents)
    yield from network_violations(documents)


def first(documents, kind):
    return of_kind(documents, kind)[0]


def container_of(documents):
    return first(documents, "Deployment")["spec"]["template"]["spec"]["containers"][0]


def pod_of(documents):
    return first(documents, "Deployment")["spec"]["template"]["spec"]


def set_variable(documents, name, value):
    next(v for v in container_of(documents)["env"] if v["name"] == name)["value"] = value


def drop_variable(documents, name):
    env = container_of(documents)["env"]
    env[:] = [variable for variable in env if variable["name"] != name]


def volume_of(documents, name):
    return next(volume for volume in pod_of(documents)["volumes"] if volume["name"] == name)


def policy_of(documents, name):
    return next(p for p in of_kind(documents, "NetworkPolicy") if p["metadata"]["name"].endswith(name))


# Negative controls: what is broken, and words of the violation that must follow.
BREAKS = [
    (lambda d: pod_of(d).pop("automountServiceAccountToken"), "mounts a service account token"),
    (lambda d: pod_of(d)["securityContext"].update(runAsUser=0), "may run as root"),
    (lambda d: pod_of(d)["securityContext"].pop("seccompProfile"), "seccomp"),
    (lambda d: pod_of(d).update(hostNetwork=True), "hostNetwork"),
    (lambda d: pod_of(d)["volumes"][1].update(emptyDir={}), "has no maximum"),
    (lambda d: container_of(d)["securityContext"].update(readOnlyRootFilesystem=False), "is writable"),
    (lambda d: container_of(d)["securityContext"].update(privileged=True), "may gain privileges"),
    (lambda d: container_of(d)["securityContext"]["capabilities"].update(add=["NET_RAW"]), "keeps capabilities"),
    (lambda d: container_of(d)["securityContext"].update(runAsUser=0), "overrides the pod's user"),
    (lambda d: container_of(d)["resources"]["limits"].pop("cpu"), "no cpu request or limit"),
    (lambda d: container_of(d)["resources"]["limits"].update(memory="9Gi"), "memory request differs"),
    (lambda d: container_of(d)["env"].append({"name": "ADS_DATABASE_URL", "value": "postgres://a:b@c"}), "plain sight"),
    (lambda d: container_of(d).pop("livenessProbe"), "livenessProbe does not ask"),
    (lambda d: container_of(d)["livenessProbe"]["grpc"].update(service="x"), "liveness must ask the process"),
    (lambda d: container_of(d)["readinessProbe"]["grpc"].pop("service"), "readiness must ask the service"),
    (lambda d: container_of(d)["ports"][0].update(containerPort=7701), "differs from the container's"),
    (lambda d: container_of(d)["env"][0].update(value="0.0.0.0:1"), "is not the grpc port"),
    (lambda d: set_variable(d, "RAPPORT_AUTH", "off"), "without tokens"),
    (lambda d: container_of(d)["env"].append({"name": "ADS_CARE_URL", "value": "x"}), "differs from the call graph"),
    (lambda d: set_variable(d, "RAPPORT_PEER_TOKEN_FILE", "/tmp/other/token"), "is not one read-only mount"),
    (lambda d: volume_of(d, "peer-token")["secret"].pop("items"), "is not this service's own token"),
    (lambda d: container_of(d)["env"].append({"name": "PROFILE_KEYRING", "value": "x"}), "only profile holds"),
    (lambda d: container_of(d)["lifecycle"]["preStop"]["sleep"].update(seconds=1), "leaves before clients"),
    (lambda d: pod_of(d).update(terminationGracePeriodSeconds=42), "is killed before it can drain"),
    (lambda d: drop_variable(d, "ADS_DATABASE_URL"), "has no database"),
    (lambda d: pod_of(d).pop("topologySpreadConstraints"), "is not spread"),
    (lambda d: first(d, "ServiceAccount").update(automountServiceAccountToken=True), "mounts its token"),
    (lambda d: first(d, "Service")["spec"]["ports"][0].update(targetPort="web"), "leads to no container port"),
    (lambda d: first(d, "HorizontalPodAutoscaler")["metadata"]["labels"].update({NAME: "ads"}), "only recommend"),
    (lambda d: [x["spec"].update(replicas=2) for x in of_kind(d, "Deployment")], "would fight the autoscaler"),
    (lambda d: d.remove(policy_of(d, "default-deny")), "nothing denies by default"),
    (lambda d: policy_of(d, "-care")["spec"]["ingress"][0].pop("from"), "ingress None -> care"),
    (lambda d: policy_of(d, "-profile")["spec"]["ingress"][0]["from"].pop(), "-> profile differs"),
    (lambda d: policy_of(d, "-ads")["spec"]["egress"].pop(1), "egress ads -> profile"),
    (lambda d: d.remove(first(d, "Deployment")), "deployments are"),
]


def self_test(path):
    """Returns the breaks that went unnoticed; the file itself must be clean."""
    good = load(path)
    unnoticed = [f"clean file: {violation}" for violation in policy_violations(good)]
    for number, (break_it, words) in enumerate(BREAKS, 1):
        broken = copy.deepcopy(good)
        break_it(broken)
        if not any(words in violation for violation in policy_violations(broken)):
            unnoticed.append(f"break {number} ({words}) went unnoticed")
    wrong_type = copy.deepcopy(good)
    first(wrong_type, "Deployment")["spec"]["minReadySeconds"] = "soon"
    if not list(schema_violations(wrong_type, ["1.33"])):
        unnoticed.append("a wrong type went unnoticed")
    return unnoticed


def differences(left_path, right_path):
    """Objects that differ between two renders. Namespaces and custom resources are left out."""

    def keyed(path):
        documents = [d for d in load(path) if d["kind"] not in ("Namespace", "ServiceMonitor", "Pod")]
        for document in documents:
            document["metadata"].pop("namespace", None)
            template = document.get("spec", {}).get("template", {})
            for holder in (document, template):
                holder.get("metadata", {}).get("labels", {}).pop("app.kubernetes.io/managed-by", None)
        return {title(document): document for document in documents}

    left, right = keyed(left_path), keyed(right_path)
    for name in sorted(left.keys() | right.keys()):
        if left.get(name) != right.get(name):
            yield f"{name} differs between {left_path} and {right_path}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kube", action="append", default=[], metavar="VERSION")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--same", action="store_true")
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    if arguments.self_test:
        violations = self_test(arguments.files[0])
    elif arguments.same:
        violations = list(differences(*arguments.files))
    else:
        violations = []
        for path in arguments.files:
            documents = load(path)
            found = [*schema_violations(documents, arguments.kube), *policy_violations(documents)]
            violations.extend(f"{path}: {violation}" for violation in found)
    for violation in violations:
        print(f"error: {violation}", file=sys.stderr)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
