"""NVIDIA's graphics cards, as far as the driver lets this process see them. That there are none is nothing special.

Read with NVML (https://docs.nvidia.com/deploy/nvml-api/), whose library comes with the driver: Docker puts it into a
container that asks for a GPU with the capability `utility`. It is loaded at the first look.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

from clawloops.model.gauge import Card, Graphics, Process

T = TypeVar("T")

NONE_SEEN = "No NVIDIA driver is seen here."
_MOST_PROCESSES = 32  # of one card that are told of


class Gpus:
    """A driver that hangs holds whoever looks: look in a thread. One look at a time."""

    def __init__(self) -> None:
        self._looking = threading.Lock()
        self._nvml: ModuleType | None = None  # while it is open

    def look(self) -> Graphics:
        """What the cards do now; `Graphics.why` where none can be told of."""
        with self._looking:
            import pynvml  # noqa: PLC0415  # a box without a GPU never carries it

            try:
                if self._nvml is None:
                    pynvml.nvmlInit()
                    self._nvml = pynvml
                cards = [_card(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
                driver = str(pynvml.nvmlSystemGetDriverVersion())
            except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
                return Graphics(why=NONE_SEEN)
            except pynvml.NVMLError as error:  # fallen off the bus, or replaced under us: the next look begins anew
                self._close()
                return Graphics(why=f"The NVIDIA driver does not tell: {error}. See nvidia-smi on the host.")
            why = "" if cards else "The NVIDIA driver is here, and sees no card."
            return Graphics(tuple(cards), driver, why)

    def _close(self) -> None:
        nvml, self._nvml = self._nvml, None
        if nvml is not None:
            _told(nvml, nvml.nvmlShutdown)


def _card(nvml: ModuleType, index: int) -> Card:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = _told(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    rates = _told(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    running: list[Any] = []
    for ask in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
        running += _told(nvml, partial(ask, handle)) or []
    processes = {each.pid: Process(each.pid, each.usedGpuMemory) for each in running}  # some are of both kinds
    most = sorted(processes.values(), key=lambda each: -(each.memory or 0))[:_MOST_PROCESSES]
    return Card(
        name=str(nvml.nvmlDeviceGetName(handle)),
        memory=memory.total if memory else None,
        memory_used=memory.used if memory else None,
        busy=rates.gpu if rates else None,
        celsius=_told(nvml, lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        processes=tuple(most),
    )


def _told(nvml: ModuleType, ask: Callable[[], T]) -> T | None:
    """None for what this card or this driver does not tell; a card that is lost is lost as a whole."""
    try:
        return ask()
    except (nvml.NVMLError_GpuIsLost, nvml.NVMLError_Uninitialized):
        raise
    except nvml.NVMLError:
        return None
