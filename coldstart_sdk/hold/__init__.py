"""Hold a start to what it was, or to what it may cost: a diff, a budget, a receipt.

receipt = check(trace, budget("ready=15s,first=1.1x"))
"""

from __future__ import annotations

from coldstart_sdk.hold.budget import Budget, Limit, Verdict, budget
from coldstart_sdk.hold.receipt import Receipt, check, refuse_over

__all__ = ["Budget", "Limit", "Receipt", "Verdict", "budget", "check", "refuse_over"]
