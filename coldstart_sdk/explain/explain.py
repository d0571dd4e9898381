"""Rank what the rules found by what READY would gain, one after another, so that the savings add up."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from coldstart_sdk.errors import UsageError
from coldstart_sdk.explain.evidence import Evidence
from coldstart_sdk.explain.finding import Advice, Explanation, Finding
from coldstart_sdk.explain.graph import Cut, Graph, Move
from coldstart_sdk.explain.rules import RULES
from coldstart_sdk.trace import metrics

LEAST_S = 0.1
"""What is worth less is not worth a line."""
LEAST_SHARE = 0.02
_PAIRED = 12
"""Findings that are tried two by two."""


def explain(evidence: Evidence) -> Explanation:
    """What could be saved, and how."""
    ready_s = evidence.trace.anchors.ready_s
    if ready_s is None:
        raise UsageError(
            f"this start was never ready: {evidence.trace.reason or evidence.trace.state.value}",
            where=evidence.trace.where,
            fix=evidence.trace.fix or "Mend what stopped it first; then there is a time to explain.",
        )
    least_s = max(LEAST_S, LEAST_SHARE * ready_s)
    found = [finding for rule in RULES for finding in rule(evidence)]
    timed = [finding for finding in found if finding.changes]
    advice = tuple(_ranked(evidence.graph, timed, least_s))
    taken = [part for one in advice for part in (one.finding, one.together_with) if part]
    after = evidence.graph.after([change for finding in taken for change in finding.changes])
    answer = metrics.first_answer(evidence.trace)
    answer_s = evidence.worked_s(answer) if answer else None
    return Explanation(
        name=evidence.trace.name,
        ready_s=ready_s,
        answer_s=answer_s,
        advice=(*advice, *_of_first_answer(found, least_s, answer_s)),
        beside=tuple(
            finding
            for finding in timed
            if not any(finding is one for one in taken) and _shortens_s(after, finding) >= least_s
        ),
        remarks=tuple(finding for finding in found if finding.is_remark),
    )


def _ranked(graph: Graph, findings: Sequence[Finding], least_s: float) -> Iterator[Advice]:
    """The best, then the best of what is left when it is done, until nothing is worth a line."""
    left = list(findings)
    while left:
        best = max(left, key=lambda finding: graph.saves_s(finding.changes))
        saves_s = graph.saves_s(best.changes)
        other = None
        if saves_s < least_s:
            # Two chains of one length: to shorten either is worth nothing, to shorten both is.
            pairs = itertools.combinations(left[:_PAIRED], 2)
            pair = max(pairs, key=lambda two: _saves_both_s(graph, two), default=None)
            if pair is None or (saves_s := _saves_both_s(graph, pair)) < least_s:
                return
            best, other = pair
            graph = graph.after(other.changes)
            left.remove(other)
        yield Advice(finding=best, saves_s=saves_s, of_ready=True, together_with=other)
        graph = graph.after(best.changes)
        left.remove(best)


def _saves_both_s(graph: Graph, pair: tuple[Finding, Finding]) -> float:
    return graph.saves_s((*pair[0].changes, *pair[1].changes))


def _of_first_answer(findings: Sequence[Finding], least_s: float, answer_s: float | None) -> Iterator[Advice]:
    left_s = answer_s or 0.0
    for finding in sorted(findings, key=lambda finding: -finding.first_s):
        saves_s = min(finding.first_s, left_s)
        if saves_s >= min(least_s, LEAST_S):
            left_s -= saves_s
            yield Advice(finding=finding, saves_s=saves_s, of_ready=False)


def _shortens_s(graph: Graph, finding: Finding) -> float:
    """How much less its steps would do, whether somebody else does it beside them or not."""
    changes = [
        Cut(step=change.step, stretches=change.stretches) if isinstance(change, Move) else change
        for change in finding.changes
    ]
    return graph.lasts_s() - graph.after(changes).lasts_s()
