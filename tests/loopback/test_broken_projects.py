"""Projects with one known waste each: its rule finds it in a start that really happens, and no other does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import broken, variants
from benchmarks.broken import REMARKS, Workshop
from benchmarks.limits import UnlimitedError
from coldstart_sdk.rehearsal.faults import Refuse
from coldstart_sdk.rehearsal.hub import Hub

WASTE_S = 0.8
RULES = [pair.rule for pair in broken.pairs("", WASTE_S)]
NEEDS_TORCH = {"repeated-work", "random-init", *REMARKS}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"), WASTE_S)


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with broken.origin() as address:
        yield address


@pytest.mark.parametrize("rule", RULES)
def test_a_waste_is_found_by_its_rule_alone(rule: str, workshop: Workshop, origin: str) -> None:
    if rule in NEEDS_TORCH:
        pytest.importorskip("torch")
    pair = next(pair for pair in broken.pairs(origin, WASTE_S) if pair.rule == rule)

    ran = workshop.run("wasteful", pair.wasteful, again=pair.again)

    assert ran.fired == {rule}


@pytest.mark.slow  # it holds a worker to a fraction of this machine, which a busy one does by itself
@pytest.mark.parametrize("rule", ["mapped-weights", "too-many-threads"])
def test_what_a_small_machine_makes_slow_is_found_on_one(rule: str, workshop: Workshop) -> None:
    if rule == "too-many-threads":
        pytest.importorskip("torch")
    pair = next(pair for pair in broken.machine_pairs() if pair.rule == rule)
    try:
        ran = workshop.look(pair, pair.wasteful)
        mended = workshop.look(pair, pair.mended)
    except UnlimitedError as none:
        pytest.skip(str(none))

    assert ran.fired == {rule}
    assert rule not in mended.fired


def test_graphs_that_are_compiled_again_and_those_that_no_cache_may_hold_are_told_of(
    workshop: Workshop,
) -> None:
    pytest.importorskip("torch")
    if shutil.which("g++") is None:
        pytest.skip("Inductor needs g++, and there is none")

    ran = workshop.run("bypassing", broken.bypassing())

    assert ran.fired >= {"compile-cache-missed", "compile-cache-bypassed"}
    assert "extension-rebuilt" not in ran.fired


@pytest.mark.parametrize("name", variants.NAMES)
def test_a_waste_that_is_written_otherwise_is_found_too(name: str, workshop: Workshop, origin: str) -> None:
    variant = variants.variants(origin, WASTE_S)[name]
    if variant.needs:
        pytest.importorskip(variant.needs)

    assert variant.rule in workshop.run("variant", variant.project).fired


def test_a_hub_that_limits_a_client_without_a_name_is_told_of(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org/w").mkdir(parents=True)
    (tmp_path / "org/w/model.bin").write_bytes(bytes(range(250)) * 12_000)
    with Hub(tmp_path, rate_bytes_s=4e6) as hub:
        hub.cdn.fail(Refuse(path="*model.bin", status=429, retry_after="2"))
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.delenv("HF_TOKEN", raising=False)

        ran = workshop.run("limited", broken.load("pass", weights='{"w": Weights.hf("org/w")}'))

    assert ran.fired == {"rate-limited"}


def test_code_that_is_compiled_for_each_shape_is_told_of(workshop: Workshop) -> None:
    pytest.importorskip("torch")
    code = """
    def slowly(graph, inputs):
        time.sleep(0.8)
        return graph.forward
    step = torch.compile(lambda x: x + 1, backend=slowly, dynamic=False)
    step(torch.ones(2)), step(torch.ones(3))
    """

    ran = workshop.run("shapes", broken.load(code, top="import torch, torch._dynamo\n"))

    assert "compiled-per-shape" in ran.fired


@pytest.mark.parametrize("rule", REMARKS)
def test_a_mistake_without_a_price_is_worth_a_word(rule: str, workshop: Workshop) -> None:
    pytest.importorskip("torch")

    ran = workshop.run("remarked", REMARKS[rule])

    assert rule in ran.fired
    assert rule not in ran.promised


def test_no_rule_blames_a_project_where_everything_is_in_its_place(workshop: Workshop, origin: str) -> None:
    assert workshop.run("clean", broken.clean(origin, WASTE_S)).fired == set()


def test_the_workshop_wastes_nothing_where_all_is_mended(tmp_path: Path, origin: str) -> None:
    """Else a promise would be held against a start that still wastes."""
    small = Workshop(tmp_path, WASTE_S)
    late = next(pair for pair in broken.pairs(origin, WASTE_S) if pair.rule == "late-imports")

    assert small.run("mended", late.mended).fired == set()
