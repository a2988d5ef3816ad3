"""The machine: devices, kept programs, and forms of programs for CPUs."""

from configs.rules import ANY, AXIS, whole
from configs.setting import Setting

SETTINGS: dict[str, Setting] = {
    "mesh.data": Setting(-1, AXIS, "number of devices, over all processes, that each hold a copy "
                         "of the model; -1: all that mesh.fsdp leaves"),
    "mesh.fsdp": Setting(1, AXIS, "number of devices among which each copy of parameters, averages "
                         "and optimizer state is divided; mesh.data x mesh.fsdp must be the number "
                         "of devices"),
    "mesh.smallest": Setting(2**14, whole(1, 2**62), "arrays with fewer numbers than this are not "
                             "divided but copied to every device"),
    "compiled": Setting("", ANY, "folder in which compiled programs are kept; empty: "
                        "~/.cache/score_sde/compiled; none: keep none"),
    "cpu_tuned": Setting(True, ANY, "on CPUs: whether programs are written as is fastest there, "
                         "with other rounding; on other platforms without effect"),
}  # fmt: skip
