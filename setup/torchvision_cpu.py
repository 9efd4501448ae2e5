"""Let a CPU build of torch import a torchvision wheel that was linked against CUDA.

The default package index ships torchvision linked against CUDA. Its extension cannot load beside a CPU torch, and its
Python part then fails with "operator torchvision::nms does not exist", because it registers shape functions for two
operators that the extension would have defined. Declaring the two operators is enough: nothing in this project calls
them.

`install_shim.py` copies this file into the environment as `video_r1_torchvision_cpu.py`, imported by a `.pth` file,
so that it holds in every interpreter of the environment, child processes of vLLM included. Importing it costs one
list insertion; torch is not touched until torchvision is executed. Where torchvision's extension loads, nothing is
declared.
"""

import sys

SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_libraries: list[object] = []  # Declarations live as long as the library object does.


class TorchvisionFinder:
    """Meta-path finder that wraps the loader of the package `torchvision` and leaves every other import alone."""

    def find_spec(self, name, path=None, target=None):
        """Spec of torchvision whose execution is preceded by `declare_operators`; None for any other module."""
        if name != "torchvision":
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = None if finder is self or find is None else find(name, path, target)
            if spec is not None:
                break
        else:
            return None
        if spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                declare_operators(spec.submodule_search_locations or [])
                execute(module)

            spec.loader.exec_module = exec_module
        return spec


def declare_operators(locations):
    """Declare the missing operators if torch is a CPU build and torchvision's extension cannot load.

    Args:
        locations: folders of the torchvision package.

    Returns:
        Names of the operators declared; empty where torchvision needs no help.
    """
    import torch

    if torch.version.cuda is not None or getattr(torch.version, "hip", None) is not None or extension_loads(locations):
        return []
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in SCHEMAS.values():
        library.define(schema)
    _libraries.append(library)
    return sorted(SCHEMAS)


def extension_loads(locations):
    """Whether torchvision's compiled extension loads beside this torch (loading it again later is free)."""
    import glob
    import os

    import torch

    for location in locations:
        for library in glob.glob(os.path.join(glob.escape(location), "_C*")):
            try:
                torch.ops.load_library(library)
            except (ImportError, OSError):
                continue
            return True
    return False


if not any(type(finder).__name__ == "TorchvisionFinder" for finder in sys.meta_path):
    sys.meta_path.insert(0, TorchvisionFinder())
