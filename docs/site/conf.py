"""Sphinx's settings. `python -m docs.site.build` uses them on a staged copy of the pages."""

import re
from typing import Any

from nip_runtime import __version__

project = "nip-runtime"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"nip-runtime {__version__}"
html_show_copyright = False
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["wide.css"]

myst_heading_anchors = 3
# Notes and generated tables skip heading levels, which harms nobody.
suppress_warnings = ["myst.header"]

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
# The references need signatures and texts, not PyTorch.
autodoc_mock_imports = [
    "cv2",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "onnxscript",
    "prometheus_client",
    "rich",
    "safetensors",
    "torch",
]
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False


def setup(app: Any) -> None:
    """Stars of shapes such as (N, *shape) are no emphasis."""

    def escape(*given: Any) -> None:
        lines = given[-1]
        lines[:] = [re.sub(r"(?<![`*\\])\*(?=shape\b)", r"\\*", line) for line in lines]

    app.connect("autodoc-process-docstring", escape)
