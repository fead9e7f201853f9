from __future__ import annotations

from nip_export.support.progress import progress_lines


def test_long_stages_say_in_lines_how_far_they_are() -> None:
    lines: list[str] = []
    now = 0.0
    begin = progress_lines(lines.append, clock=lambda: now)
    advance = begin("Profile images", 1000)
    for _ in range(10):
        now += 6
        advance(100)
    # Lines after 15 seconds at the earliest: at 18, 36 and 54; what is left follows from the pace so far.
    assert lines == [
        "Profile images …",
        "Profile images: 30% of 1000, about 42 s left",
        "Profile images: 60% of 1000, about 24 s left",
        "Profile images: 90% of 1000, about 6 s left",
    ]
    slow = begin("Inverse perturbations", 100)
    now += 180
    slow(1)
    assert lines[-1] == "Inverse perturbations: 1% of 100, about 5.0 h left"
    begin("Short", 3)(3)
    assert lines[-1] == "Short …"
