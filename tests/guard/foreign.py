"""Bodies that are almost ours: each entry changes one thing in the create body of a runtime, in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clawloops.model.runtime import Runtime, Want
from clawloops.runtimes import names
from clawloops.runtimes.spec import Install

INSTALL = Install(
    install_id="0a0b0c0d", data="/var/lib/clawloops", edge="clawloops-0a0b0c0d-edge", image="clawloops/openclaw:1"
)
ROW = Runtime("r1", "u1", "ada", Want.RUNNING, "10.201.0.8/29", 3, None, 1, 0, "", 0, 1, volume=2)
NAME = names.container("0a0b0c0d", "r1")

Body = dict[str, Any]


def _host(**more: Any) -> Callable[[Body], object]:
    return lambda body: body["HostConfig"].update(more)


def _label(name: str, value: str) -> Callable[[Body], object]:
    return lambda body: body["Labels"].update({name: value})


def _mounted(number: int, **more: Any) -> Callable[[Body], object]:
    return lambda body: body["HostConfig"]["Mounts"][number].update(more)


SECRET_ELSEWHERE = "/var/lib/clawloops/runtimes/r2/secret"
ROUTER = "traefik.http.routers.cl-r1"
FOREIGN: dict[str, Callable[[Body], object]] = {
    "privileged": _host(Privileged=True),
    "a bind beside ours": _host(Binds=["/:/host"]),
    "another key of the same meaning": _host(binds=["/:/host"]),
    "a mount beside ours": lambda body: body["HostConfig"]["Mounts"].append(
        {"Type": "bind", "Source": "/", "Target": "/host"}
    ),
    "the host's root in place of its config": _mounted(0, Source="/"),
    "a folder beside ours": _mounted(0, Source="/var/lib/clawloops/keys"),
    "another member's secret": _mounted(1, Source=SECRET_ELSEWHERE),
    "a path that climbs": _mounted(0, Source="/var/lib/clawloops/runtimes/r1/../../keys"),
    "its config to write": _mounted(0, ReadOnly=False),
    "mounts that spread": _mounted(0, BindOptions={"Propagation": "rshared"}),
    "a volume that is a bind in disguise": _mounted(
        2, VolumeOptions={"DriverConfig": {"Name": "local", "Options": {"type": "none", "o": "bind", "device": "/etc"}}}
    ),
    "another member's workspace": _mounted(2, Source="clawloops-0a0b0c0d-ws-r2"),
    "a volume of somebody else": _mounted(2, Source="portainer_data"),
    "the socket": _mounted(2, Type="bind", Source="/var/run/docker.sock"),
    "the host's network": _host(NetworkMode="host"),
    "the network of the edge": _host(NetworkMode="container:clawloops-0a0b0c0d-edge"),
    "the host's processes": _host(PidMode="host"),
    "the host's ipc": _host(IpcMode="host"),
    "the host's users": _host(UsernsMode="host"),
    "the host's hostname": _host(UTSMode="host"),
    "the host's cgroups": _host(CgroupnsMode="host"),
    "a cgroup parent": _host(CgroupParent="/"),
    "a device": _host(Devices=[{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda", "CgroupPermissions": "rwm"}]),
    "a device rule": _host(DeviceCgroupRules=["a *:* rwm"]),
    "a GPU": _host(DeviceRequests=[{"Count": -1, "Capabilities": [["gpu"]]}]),
    "a capability": _host(CapAdd=["SYS_ADMIN"]),
    "capabilities kept": _host(CapDrop=[]),
    "no seccomp": _host(SecurityOpt=["no-new-privileges:true", "seccomp=unconfined"]),
    "new privileges": _host(SecurityOpt=[]),
    "unmasked paths": _host(MaskedPaths=[]),
    "a root that can be written": _host(ReadonlyRootfs=False),
    "another runtime": _host(Runtime="runc-with-hooks"),
    "a sysctl": _host(Sysctls={"net.ipv4.ip_forward": "1"}),
    "a published port": _host(PortBindings={"22/tcp": [{"HostPort": "22"}]}),
    "all ports published": _host(PublishAllPorts=True),
    "volumes of another": _host(VolumesFrom=["clawloops-0a0b0c0d-clawloops"]),
    "a link": _host(Links=["clawloops-0a0b0c0d-postgres:db"]),
    "another resolver": _host(Dns=["8.8.8.8"]),
    "a host that is the gateway": _host(ExtraHosts=["clawloops-gateway:10.201.0.11"]),
    "a log elsewhere": _host(LogConfig={"Type": "syslog", "Config": {"syslog-address": "udp://10.0.0.1:514"}}),
    "a restart by Docker": _host(RestartPolicy={"Name": "always"}),
    "no limit of memory": _host(Memory=0),
    "no limit of processes": _host(PidsLimit=-1),
    "the size of another with more memory": _host(Memory=64 << 30),
    "a tmpfs over ours": _host(Tmpfs={"/etc": ""}),
    "root": lambda body: body.update(User="0:0"),
    "another program": lambda body: body.update(Entrypoint=["/bin/sh"]),
    "a command": lambda body: body.update(Cmd=["sh"]),
    "an environment": lambda body: body["Env"].append("LD_PRELOAD=/home/node/x.so"),
    "a check that runs": lambda body: body.update(Healthcheck={"Test": ["CMD", "id"]}),
    "an anonymous volume": lambda body: body.update(Volumes={"/etc": {}}),
    "a foreign image": lambda body: body.update(Image="alpine:3"),
    "an image by its id": lambda body: body.update(Image="sha256:" + "a" * 64),
    "a like-named image": lambda body: body.update(Image="clawloops/openclaw-evil:1"),
    "the same name elsewhere": lambda body: body.update(Image="evil.example/clawloops/openclaw:1"),
    "an image by what looks like a name": lambda body: body.update(Image="sha256:" + "a" * 12),
    "our own image": lambda body: body.update(Image="clawloops/clawloops:1"),
    "a second network": lambda body: body["NetworkingConfig"]["EndpointsConfig"].update({"clawloops-0a0b0c0d_db": {}}),
    "an alias": lambda body: body["NetworkingConfig"]["EndpointsConfig"][NAME].update(Aliases=["litellm"]),
    "the dashboard's host": _label(f"{ROUTER}.rule", "Host(`clawloops.localhost`)"),
    "two hosts": _label(f"{ROUTER}.rule", "Host(`ada.ws.clawloops.localhost`) || PathPrefix(`/`)"),
    "a host in a host": _label(f"{ROUTER}.rule", "Host(`ada`) || Host(`x.ws.clawloops.localhost`)"),
    "a slug with a dot": _label(f"{ROUTER}.rule", "Host(`a.b.ws.clawloops.localhost`)"),
    "priority": _label(f"{ROUTER}.priority", "100000"),
    "no ForwardAuth": _label(f"{ROUTER}.middlewares", ""),
    "ForwardAuth of another": _label("traefik.http.middlewares.cl-r1-auth.forwardauth.address", "http://10.0.0.1/"),
    "headers believed": _label("traefik.http.middlewares.cl-r1-auth.forwardauth.trustForwardHeader", "true"),
    "a second router": _label("traefik.http.routers.evil.rule", "PathPrefix(`/`)"),
    "a TCP router": _label("traefik.tcp.routers.evil.rule", "HostSNI(`*`)"),
    "a service elsewhere": _label("traefik.http.services.cl-r1.loadbalancer.server.url", "http://127.0.0.1:8081"),
    "certificates of its own": _label(f"{ROUTER}.tls.certresolver", "acme"),
    "another install": _label(names.INSTALL, "ffffffff"),
    "another label": _label("com.docker.compose.service", "clawloops"),
    "a carrier that runs": _label(names.CARRIER, "true"),
    "another member": _label(names.RUNTIME, "r2"),
    "no labels": lambda body: body.pop("Labels"),
    "labels that are none": lambda body: body.update(Labels=7),
    "no mounts": lambda body: body["HostConfig"].pop("Mounts"),
    "a true that is one": _host(ReadonlyRootfs=1),
}
