"""Ports for tests and benchmarks: none is picked twice, by one process or by two."""

from __future__ import annotations

import subprocess
import sys

from clawloops.bench.peers import free_port

PICK = "from clawloops.bench.peers import free_port; print(*(free_port() // 500 for _ in range(20))); input()"


def test_processes_at_work_together_pick_from_ports_of_their_own() -> None:
    others = [
        subprocess.Popen([sys.executable, "-c", PICK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    picked = [{free_port() // 500 for _ in range(20)}]
    for each in others:
        assert each.stdout is not None
        picked.append(set(map(int, each.stdout.readline().split())))
    for each in others:
        each.communicate("\n")
    assert [len(each) for each in picked] == [1] * 4 and len(set.union(*picked)) == 4


def test_what_was_picked_and_is_not_yet_used_is_not_picked_again() -> None:
    assert len({free_port() for _ in range(250)}) == 250
