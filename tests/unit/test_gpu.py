"""The GPU table: names people write, and what compiled code runs on which card."""

from __future__ import annotations

import pytest

from coldstart_sdk import gpu

CU126 = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
CU129 = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("L4", "L4"),
        ("l40s", "L40S"),
        ("rtx-4090", "RTX 4090"),
        ("4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 5090", "RTX 5090"),
        ("RTX6000Ada", "RTX 6000 Ada"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA RTX A6000", "RTX A6000"),
        ("A100", "A100-80GB"),
        ("a100_40gb", "A100-40GB"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("H100:8", "H100"),
        ("RTX-PRO-6000", "RTX PRO 6000"),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "RTX PRO 6000"),
        ("Tesla T4", "T4"),
        (" b300 ", "B300"),
    ],
)
def test_a_card_is_found_however_it_is_written(written: str, meant: str) -> None:
    found = gpu.find(written)

    assert found is not None
    assert found.name == meant


@pytest.mark.parametrize(
    "written",
    [
        "",
        "H1000",
        "RTX",
        "H100:0",
        "H100:two",
        "H100:",
        "H100:1.5",
        ":2",
        "L4!",
        "A100-40GB!",
        "H200+",
        "H100!!",
        "H100!:0",
        "!",
    ],
)
def test_a_name_that_means_no_card_is_not_found(written: str) -> None:
    assert gpu.find(written) is None
    assert gpu.canonical(written) is None


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("nvidia h100:1", "H100"),
        ("h100:2", "H100:2"),
        ("A100:4", "A100-80GB:4"),
        ("h100!", "H100!"),
        ("NVIDIA H100 SXM!:2", "H100!:2"),
        (" b200+ ", "B200+"),
    ],
)
def test_equal_wishes_have_one_spelling(written: str, canonical: str) -> None:
    assert gpu.canonical(written) == canonical


@pytest.mark.parametrize(
    ("written", "first"),
    [
        ("H1000", "H100"),
        ("RTX 4099", "RTX 4090"),
        ("A10OG", "A10G"),
        ("H100:x", "H100"),
        ("L4!", "L4"),
        ("B200!", "B200"),
        ("H100+", "H100"),
    ],
)
def test_a_misspelt_card_has_its_neighbour_named(written: str, first: str) -> None:
    assert gpu.nearest(written)[0] == first


def test_a_word_that_is_no_card_has_no_neighbours() -> None:
    assert gpu.nearest("threadripper") == ()


def test_no_two_cards_share_a_word() -> None:
    words = [word for card in gpu.GPUS for word in (card.name, *card.aliases)]

    assert len({word.casefold().replace(" ", "").replace("-", "") for word in words}) == len(words)
    for card in gpu.GPUS:
        assert {gpu.find(word) for word in (card.name, *card.aliases)} == {card}


@pytest.mark.parametrize("card", gpu.GPUS, ids=lambda card: card.name)
def test_every_card_knows_the_cuda_and_the_driver_it_needs(card: gpu.Gpu) -> None:
    assert card.cuda
    assert int(card.driver.split(".")[0]) >= 410
    assert card.vram_gb >= 16


@pytest.mark.parametrize(
    ("card", "archs", "runs"),
    [
        # A cubin runs within its major version, from its minor version up.
        ("A10", ("sm_80",), True),
        ("L4", ("sm_86",), True),
        ("A100", ("sm_86",), False),
        ("A100", ("sm_80",), True),
        ("H100", ("sm_80", "sm_86", "sm_89"), False),
        ("T4", ("sm_70",), True),
        ("B300", ("sm_100",), True),
        ("B200", ("sm_103",), False),
        # Every wheel of a kind, against cards older and newer than what it was built for.
        ("RTX 4090", CU126, True),
        ("H200", CU126, True),
        ("RTX 5090", CU126, False),
        ("B200", CU126, False),
        ("RTX 5090", CU129, True),
        ("B300", CU129, True),
        # PTX is compiled on the spot for anything as new or newer, and for nothing older.
        ("RTX 5090", (*CU126, "compute_90"), True),
        ("B200", ("compute_80",), True),
        ("T4", ("compute_80",), False),
        # `a` is one chip alone, `f` is its family.
        ("H100", ("sm_90a",), True),
        ("H200", ("sm_90a",), True),
        ("B200", ("sm_90a", "compute_90a"), False),
        ("B300", ("sm_100a", "compute_100a"), False),
        ("B300", ("sm_100f",), True),
        ("B300", ("compute_100f",), True),
        ("RTX 5090", ("compute_100f",), False),
        # Nothing, or nothing of NVIDIA's.
        ("T4", (), False),
        ("T4", ("gfx942", "sm_", "75"), False),
    ],
)
def test_a_card_runs_what_was_built_for_it(card: str, archs: tuple[str, ...], *, runs: bool) -> None:
    found = gpu.find(card)

    assert found is not None
    assert gpu.runs_on(found.sm, archs) is runs


def test_the_arch_list_names_each_capability_once_and_in_order() -> None:
    cards = [card for name in ("B200", "L4", "RTX 4090", "A10G") if (card := gpu.find(name))]

    assert gpu.arch_list(cards) == "8.6;8.9;10.0"


def test_an_architecture_is_spelled_as_compilers_spell_it() -> None:
    assert [gpu.arch(sm) for sm in ("7.5", "8.9", "10.3", "12.0")] == ["sm_75", "sm_89", "sm_103", "sm_120"]
