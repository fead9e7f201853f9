"""The report for people: one self-contained HTML page, and the measurements that only it shows."""

from nip_evaluate.report.page.gallery import Gallery, Panel, make_gallery
from nip_evaluate.report.page.influence import influence_groups
from nip_evaluate.report.page.latency import measure_latency
from nip_evaluate.report.page.render import render_page

__all__ = ["Gallery", "Panel", "influence_groups", "make_gallery", "measure_latency", "render_page"]
