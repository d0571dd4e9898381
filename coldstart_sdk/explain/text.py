"""An explanation as a person reads it: the most worth first, in 80 columns, without colour."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk.explain.finding import Advice, Explanation, Finding
from coldstart_sdk.trace import figures

_INDENT = 4
_LABEL = 9


def render(explained: Explanation, *, width: int = 80) -> str:
    """The whole text, ending in a newline."""
    lines = [headline(explained)]
    for number, advice in enumerate(explained.advice, start=1):
        lines += ["", *_advice(number, advice, width)]
    if explained.beside:
        lines += ["", "beside the critical path, worth 0 s now:"]
        lines += [line for finding in explained.beside for line in _wrapped(finding.what, width, "  - ")]
    for finding in explained.remarks:
        lines += ["", *_told(f"note  {finding.what}", finding, width)]
    return "\n".join(lines) + "\n"


def headline(explained: Explanation) -> str:
    """`41.2 s to ready; 28.1 s avoidable`, and the same of the first answer where it is worth a word."""
    said = f"{figures.duration(explained.ready_s)} to ready; {_avoidable(explained.avoidable_s)}"
    if explained.answer_s is not None and explained.avoidable_first_s:
        first = f"{figures.duration(explained.answer_s)} to the first answer"
        said += f". {first}; {_avoidable(explained.avoidable_first_s)}"
    return said


def _avoidable(seconds: float) -> str:
    return f"{figures.duration(seconds)} avoidable" if seconds > 0 else "nothing to save was found"


def _advice(number: int, advice: Advice, width: int) -> Iterator[str]:
    of = "" if advice.of_ready else " of the first answer"
    yield from _told(
        f"{number}.  {figures.duration(advice.saves_s)}{of}  {advice.finding.what}", advice.finding, width
    )
    if advice.together_with:
        yield from _told(
            f"    and, only together with it: {advice.together_with.what}", advice.together_with, width
        )


def _told(head: str, finding: Finding, width: int) -> Iterator[str]:
    yield from _wrapped(head, width, "", _INDENT)
    rows = [("why", finding.why), *(("seen", seen) for seen in finding.evidence), ("change", finding.fix)]
    if finding.supposes:
        rows.append(("if", finding.supposes))
    for label, text in rows:
        yield from _wrapped(text, width, f"{'':{_INDENT}}{label:<{_LABEL}}", _INDENT + _LABEL)
    yield f"{'':{_INDENT}}{'rule':<{_LABEL}}{finding.rule}"


def _wrapped(text: str, width: int, first: str, rest: int | None = None) -> list[str]:
    import textwrap  # noqa: PLC0415 - brings the regular expressions, which only a text needs

    indent = " " * (len(first) if rest is None else rest)
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False)
