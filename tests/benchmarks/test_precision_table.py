"""The section on precisions says what the committed results say."""

from __future__ import annotations

from benchmarks.robustness.networks import kind_of
from benchmarks.robustness.precision import budget_of
from benchmarks.robustness.precision_table import attacks, benign, main, read, section
from benchmarks.robustness.tables import share
from nip_runtime.file.rates import Rate

NETWORKS = read()


def test_every_network_was_measured_in_every_precision_at_one_budget() -> None:
    assert [network.name for network in NETWORKS] == ["vgg-1", "resnet-1", "cifar-resnet20"]
    for network in NETWORKS:
        assert [row["precision"] for row in network.rows] == ["fp32", "fp16", "int8"]
        assert network.benign_budget == budget_of(network.name)
        assert not network.commit.endswith("-dirty")
        names = [[attack["name"] for attack in row["attacks"]] for row in network.rows]
        assert names[0] == names[1] == names[2]
        assert len(names[0]) == (9 if kind_of(network.name).is_cifar else 8)


def test_numbers_stand_where_they_belong() -> None:
    for network in NETWORKS:
        lines = [line for line in benign(NETWORKS) if line.startswith(f"| {network.name} ")]
        for row, line in zip(network.rows, lines, strict=True):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            told = row["benign"]
            assert cells[1] == row["precision"]
            assert cells[2] == f"{row['size_bytes'] / 1e3:.0f}"
            assert cells[7] == share(Rate(told["defended"]["count"], told["defended"]["n"]))
        (line,) = [line for line in attacks(network) if line.startswith("| PGD 8/255 ")]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for place, row in enumerate(network.rows):
            found = next(attack for attack in row["attacks"] if attack["name"] == "PGD 8/255")
            assert cells[2 + 2 * place] == share(Rate(found["dsr"]["count"], found["dsr"]["n"]))


def test_the_section_says_what_was_not_measured() -> None:
    text = "\n".join(section(NETWORKS))
    assert "not yet measured on a GPU" in text
    assert "2000 or 4000 fresh benign images" in text
    assert section(()) == ["Not measured yet.", ""]


def test_the_document_says_what_the_results_say() -> None:
    assert main(["--check"]) == 0
