"""Graphics cards by NVML: the real bindings on a library that is compiled here, since no card is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clawloops.model.gauge import Graphics
from clawloops.orchestrator.gpus import NONE_SEEN, Gpus

_LIBRARY = r"""
/* As much of NVML as is read; the structs are those of its nvml.h. What NVML_FAKE names does not work. */
#include <stdlib.h>
#include <string.h>
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } rates_t;
typedef struct { unsigned int pid; unsigned long long used; unsigned int gi, ci; } process_t;
static int cards[2] = {0, 1};
static int lost = 0; /* until it is closed, as a real one */
static int broken(const char *what) { const char *is = getenv("NVML_FAKE"); return is && strstr(is, what) != 0; }
int nvmlInitWithFlags(unsigned int flags) { if (broken("driver")) return 9; return 0; }
int nvmlShutdown(void) { lost = 0; return 0; }
int nvmlSystemGetDriverVersion(char *to, unsigned int length) { strncpy(to, "580.65.06", length); return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = broken("none") ? 0 : 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **card) {
  if (broken("lost")) lost = 1;
  if (lost) return 15;
  *card = &cards[index]; return 0; }
int nvmlDeviceGetName(void *card, char *to, unsigned int length) {
  strncpy(to, "NVIDIA GeForce RTX 4090", length); return 0; }
int nvmlDeviceGetMemoryInfo(void *card, memory_t *to) {
  to->total = 24ULL << 30; to->used = 6ULL << 30; to->free = 18ULL << 30; return 0; }
int nvmlDeviceGetUtilizationRates(void *card, rates_t *to) {
  if (*(int *)card) return 3; to->gpu = 42; to->memory = 7; return 0; }
int nvmlDeviceGetTemperature(void *card, int sensor, unsigned int *to) {
  if (*(int *)card) return 3; *to = 61; return 0; }
static int running(void *card, unsigned int *count, process_t *to, unsigned int number) {
  unsigned int room = *count;
  *count = number;
  if (number > room || !to) return number ? 7 : 0;
  for (unsigned int each = 0; each < number; each++) {
    to[each].pid = 4000 + each; to[each].used = each ? ~0ULL : 5ULL << 30; to[each].gi = to[each].ci = ~0U; }
  return 0; }
int nvmlDeviceGetComputeRunningProcesses_v3(void *card, unsigned int *count, process_t *to) {
  return running(card, count, to, *(int *)card ? 0 : 2); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *card, unsigned int *count, process_t *to) {
  return running(card, count, to, *(int *)card ? 0 : 1); }
const char *nvmlErrorString(int error) { return error == 15 ? "GPU is lost" : "Some error"; }
"""
_LOOK = """
import dataclasses, json, os
from clawloops.orchestrator.gpus import Gpus
gpus = Gpus()
told = [dataclasses.asdict(gpus.look())]
os.environ["NVML_FAKE"] = os.environ.get("THEN", "")
import ctypes; ctypes.CDLL(None).setenv(b"NVML_FAKE", os.environ["NVML_FAKE"].encode(), 1)
told.append(dataclasses.asdict(gpus.look()))
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a libnvidia-ml.so.1, for LD_LIBRARY_PATH."""
    folder = tmp_path_factory.mktemp("nvml")
    (folder / "nvml.c").write_text(_LIBRARY)
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", folder / "nvml.c"], check=True, timeout=60
    )
    return folder


def _looked(library: Path, *, first: str = "", then: str = "") -> list[dict[str, object]]:
    """Two looks of one process of its own: the loader reads LD_LIBRARY_PATH when it is started."""
    given = {**os.environ, "LD_LIBRARY_PATH": str(library), "NVML_FAKE": first, "THEN": then}
    told = subprocess.run([sys.executable, "-c", _LOOK], env=given, check=True, timeout=60, capture_output=True)
    found: list[dict[str, object]] = json.loads(told.stdout)
    return found


def test_without_a_driver_there_are_no_cards_and_that_is_nothing_special() -> None:
    assert Gpus().look() == Graphics(why=NONE_SEEN)


def test_each_card_tells_of_its_memory_its_load_its_heat_and_who_uses_it(library: Path) -> None:
    (told, again) = _looked(library)
    assert told == again and told["driver"] == "580.65.06" and told["why"] == ""
    assert told["cards"] == [
        {
            "name": "NVIDIA GeForce RTX 4090", "memory": 24 << 30, "memory_used": 6 << 30, "busy": 42, "celsius": 61,
            "processes": [{"pid": 4000, "memory": 5 << 30}, {"pid": 4001, "memory": None}],
        },
        {
            "name": "NVIDIA GeForce RTX 4090", "memory": 24 << 30, "memory_used": 6 << 30, "busy": None,
            "celsius": None, "processes": [],
        },
    ]  # fmt: skip


def test_a_library_whose_driver_is_not_loaded_is_as_none(library: Path) -> None:
    (told, _) = _looked(library, first="driver")
    assert (told["cards"], told["why"]) == ([], NONE_SEEN)


def test_a_driver_without_a_card_says_so(library: Path) -> None:
    (told, _) = _looked(library, first="none")
    assert (told["cards"], told["why"]) == ([], "The NVIDIA driver is here, and sees no card.")


def test_a_card_that_is_lost_is_told_of_and_looked_for_again(library: Path) -> None:
    before, lost = _looked(library, then="lost")
    assert before["why"] == "" and "GPU is lost" in str(lost["why"]) and lost["cards"] == []
    lost, after = _looked(library, first="lost")
    assert lost["cards"] == [] and len(list(after["cards"])) == 2  # type: ignore[call-overload]
