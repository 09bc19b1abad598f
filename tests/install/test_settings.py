"""What install.sh finds out about the box by itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

IP = """#!/bin/sh
case "$*" in
  "-4 -o addr show scope global")
    echo "2: eth0    inet 203.0.113.7/24 brd 203.0.113.255 scope global eth0"
    echo "2: eth0    inet 192.168.1.20/24 brd 192.168.1.255 scope global secondary eth0"
    echo "3: docker0    inet 172.17.0.1/16 brd 172.17.255.255 scope global docker0"
    echo "4: br-0123456789ab    inet 10.201.32.1/24 scope global br-0123456789ab" ;;
  "-6 -o addr show scope global")
    echo "2: eth0    inet6 2a02:8071:1::7/64 scope global dynamic mngtmpaddr"
    echo "2: eth0    inet6 2a02:8071:2::9/128 scope global"
    echo "2: eth0    inet6 fd00::7/64 scope global" ;;
  "-6 route show")
    echo "2a02:8071:1::/64 dev eth0 proto ra metric 100 pref medium"
    echo "2a02:8071:3::/64 via fe80::1 dev eth0 proto ra metric 100 pref medium"
    echo "fd00::/64 dev eth0 proto kernel metric 256 pref medium"
    echo "fe80::/64 dev eth0 proto kernel metric 256 pref medium"
    echo "default via fe80::1 dev eth0 proto ra metric 100 pref medium" ;;
esac
"""


def test_the_boxs_own_addresses_are_found_and_those_of_bridges_are_not(tmp_path: Path) -> None:
    (tmp_path / "ip").write_text(IP)
    (tmp_path / "ip").chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [". install.d/settings.sh; host_addresses"]
    found = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", *command], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert found.stdout == "192.168.1.20,203.0.113.7,2a02:8071:1::/64,2a02:8071:1::7,2a02:8071:2::9\n"
