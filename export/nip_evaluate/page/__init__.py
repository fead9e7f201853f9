"""The report for people: one self-contained HTML page, and the measurements that only it shows."""

from nip_evaluate.page.gallery import Gallery, Panel, make_gallery
from nip_evaluate.page.influence import influence_groups
from nip_evaluate.page.latency import measure_latency
from nip_evaluate.page.render import render_page

__all__ = ["Gallery", "Panel", "influence_groups", "make_gallery", "measure_latency", "render_page"]
