"""One door for backends, ours and other people's: real distributions, found as pip leaves them."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coldstart_sdk import bundle, gpu, plugins
from coldstart_sdk.cli.rehearse import refuse_unknown
from coldstart_sdk.errors import PluginError, UsageError
from coldstart_sdk.planner import plan
from coldstart_sdk.plugins import BACKENDS, STORES, Backend
from tests.builders import LOAD, a_spec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # Python 3.11 brought it into the standard library

THIRDPARTY = Path(__file__).parents[1] / "thirdparty"
A_BARE_BACKEND = """
from types import SimpleNamespace
from coldstart_sdk.backends.local import backend as local
backend = SimpleNamespace(name="bare", capabilities=local.capabilities)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed distributions on the path."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def install(site: Path, project: Path) -> None:
    """What `pip install` leaves of a pure-Python project: its packages and its dist-info."""
    declared = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    for package in project.iterdir():
        if (package / "__init__.py").is_file():
            shutil.copytree(package, site / package.name)
    write_dist_info(site, declared["name"], declared["version"], declared["entry-points"])


def write_dist_info(site: Path, name: str, version: str, entry_points: dict[str, dict[str, str]]) -> None:
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        line
        for group, points in entry_points.items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in points.items()))
    ]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
    importlib.invalidate_caches()


def a_plugin(site: Path, name: str, claim: str, source: str, group: str = BACKENDS) -> None:
    """A distribution of one module that claims one name with its `backend`."""
    module = name.replace("-", "_")
    (site / f"{module}.py").write_text(source)
    write_dist_info(site, name, "1.0", {group: {claim: f"{module}:backend"}})


def test_our_backends_come_through_the_door() -> None:
    ours = {found.name: found for found in plugins.found() if found.distribution == "coldstart-sdk"}

    assert set(ours) == {"local", "modal", "runpod"}
    assert [found.problem for found in ours.values()] == [None, None, None]
    assert plugins.backend("modal").capabilities.title == "Modal"


def test_a_backend_of_somebody_else_is_planned_and_built_for_like_ours(site: Path, tmp_path: Path) -> None:
    install(site, THIRDPARTY / "harbour")
    (tmp_path / "voice.py").write_text("class Voice: ...\n")
    harbour = plugins.backend("harbour")
    spec = a_spec(LOAD, gpu=("L4",), overrides={"harbour": {"berth": "7"}})

    made = plan(spec, harbour.name, harbour.capabilities, sdk="1.2.3")
    built = plugins.compiler(harbour).compile(made, tmp_path)
    bundle.write(built, tmp_path / "out")

    assert made.gpu == ("small",)
    assert (tmp_path / "out" / "harbour.txt").read_text() == "run: voice.py\ncard: small\nberth: 7\n"
    assert [found.version for found in plugins.found() if found.name == "harbour"] == ["0.3.0"]


def test_two_claims_on_one_name_are_an_error_that_names_both(site: Path) -> None:
    install(site, THIRDPARTY / "harbour")
    a_plugin(site, "harbour-again", "harbour", "backend = None\n")

    with pytest.raises(PluginError, match="claimed by coldstart-harbour and harbour-again"):
        plugins.backend("harbour")
    problems = [found.problem for found in plugins.found() if found.name == "harbour"]
    assert problems == ["the backend 'harbour' is claimed by coldstart-harbour and harbour-again"] * 2


def test_nobody_takes_one_of_our_names_unseen(site: Path) -> None:
    a_plugin(site, "impostor", "modal", "backend = None\n")

    with pytest.raises(PluginError, match="coldstart-sdk and impostor"):
        plugins.backend("modal")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (
            "import no_such_module_anywhere\n",
            "ModuleNotFoundError: No module named 'no_such_module_anywhere'",
        ),
        ("raise RuntimeError('no licence')\n", "RuntimeError: no licence"),
        ("backend: = 1\n", "SyntaxError"),
        ("something_else = 1\n", "AttributeError"),
    ],
)
def test_a_broken_plugin_is_an_error_only_when_it_is_asked_for(site: Path, source: str, why: str) -> None:
    a_plugin(site, "broken", "sunk", source)

    assert plugins.backend("local").name == "local"
    with pytest.raises(PluginError, match="'sunk' of broken cannot be loaded") as raised:
        plugins.backend("sunk")
    assert why in raised.value.message
    assert raised.value.fix == "Reinstall or remove it: pip uninstall broken"
    listed = next(found for found in plugins.found() if found.name == "sunk")
    assert listed.problem == raised.value.message


def test_what_is_no_backend_is_refused_by_the_name_of_its_distribution(site: Path) -> None:
    a_plugin(site, "pretender", "pretends", "backend = object()\n")

    with pytest.raises(PluginError, match="pretender: pretender:backend is no backend"):
        plugins.backend("pretends")


def test_a_backend_that_calls_itself_otherwise_is_refused(site: Path) -> None:
    source = "from coldstart_sdk.backends.local import backend\n"
    a_plugin(site, "renamed", "elsewhere", source)

    with pytest.raises(PluginError, match="registers the backend 'local' under the name 'elsewhere'"):
        plugins.backend("elsewhere")


def test_an_unknown_name_is_an_error_with_the_nearest_one() -> None:
    with pytest.raises(PluginError, match="there is no backend called 'runpd'") as raised:
        plugins.backend("runpd")

    assert raised.value.fix.startswith("Did you mean 'runpod'? There are ")


def test_a_store_comes_through_a_door_of_its_own(site: Path) -> None:
    a_plugin(site, "tape", "tape", "backend = 'a store'\n", STORES)

    assert plugins.store("tape") == "a store"
    with pytest.raises(PluginError, match="no store called 'disc'"):
        plugins.store("disc")


@pytest.mark.parametrize(
    ("ask", "verb"),
    [(plugins.compiler, "build"), (plugins.platform, "deploy"), (plugins.rehearsal, "rehearse")],
)
def test_what_a_backend_cannot_do_yet_is_said_with_what_it_can(
    ask: Callable[[Backend], object], verb: str, site: Path
) -> None:
    a_plugin(site, "bare", "bare", A_BARE_BACKEND)

    with pytest.raises(PluginError, match=f"the backend 'bare' cannot {verb} yet") as raised:
        ask(plugins.backend("bare"))
    assert raised.value.fix == "It can plan: coldstart plan FILE --target bare"


def test_a_rehearsal_that_names_its_options_is_given_no_other_and_one_that_does_not_is_given_all(
    site: Path,
) -> None:
    said = "\nbackend.rehearsal_options = {'tide': ('low', 'high')}\n"
    a_plugin(site, "open-sea", "open", A_BARE_BACKEND.replace('"bare"', '"open"'))
    a_plugin(site, "harbour-sea", "harbour", A_BARE_BACKEND.replace('"bare"', '"harbour"') + said)

    assert plugins.rehearsal_options(plugins.backend("open")) is None
    refuse_unknown({"wind": "5"}, None, "open")
    known = plugins.rehearsal_options(plugins.backend("harbour"))
    refuse_unknown({"tide": "low"}, known, "harbour")
    with pytest.raises(UsageError, match="harbour has no option 'tides'") as raised:
        refuse_unknown({"tides": "low"}, known, "harbour")
    assert (raised.value.where, raised.value.fix) == ("--set tides=…", "Did you mean tide? It takes tide.")


def test_the_verb_that_was_wanted_is_the_one_that_is_missing() -> None:
    with pytest.raises(PluginError, match="'local' cannot rollback yet") as raised:
        plugins.platform(plugins.backend("local"), "rollback")
    assert raised.value.fix.startswith("It can plan and build")


def test_what_a_backend_can_do_is_offered() -> None:
    local = plugins.backend("local")

    assert id(plugins.compiler(local)) == id(local)


def test_listing_the_backends_loads_no_vendor_and_nothing_heavy() -> None:
    source = (
        "import sys; from coldstart_sdk import plugins; found = plugins.found();"
        "assert {'local', 'modal', 'runpod'} <= {one.name for one in found}, found;"
        "print(*{'torch', 'modal', 'runpod', 'pydantic', 'click', 'asyncio', 'numpy'} & set(sys.modules))"
    )
    listed = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)

    assert listed.stdout.strip() == ""


def test_every_card_that_is_sold_stands_in_the_gpu_table() -> None:
    for name in ("modal", "runpod"):
        for card in plugins.backend(name).capabilities.cards or ():
            assert gpu.canonical(card.gpu) == card.gpu
