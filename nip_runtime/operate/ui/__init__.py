"""The page of ``nip ui``: one folder of files in which a defended file runs in the browser."""

from nip_runtime.operate.ui.engine import fetch_engine
from nip_runtime.operate.ui.serve import open_server
from nip_runtime.operate.ui.site import Site, build_site, write_site

__all__ = ["Site", "build_site", "fetch_engine", "open_server", "write_site"]
