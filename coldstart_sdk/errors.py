"""Every error a user can meet: what is wrong, where, and the mend.

The constructor insists on the mend. Only `cli.main` prints one, in three lines; its exit code is the class's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from coldstart_sdk.frozen import dataclass

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong, where it stands, and how to mend it."""

    message: str
    fix: str
    where: str | None = None


class ColdstartError(Exception):
    """Something a user can mend; `problems` holds every part of it that was found at once."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, fix: str, where: str | None = None) -> None:
        super().__init__(message)
        self.problems: tuple[Problem, ...] = (Problem(message=message, fix=fix, where=where),)

    @classmethod
    def of(cls, problems: tuple[Problem, ...]) -> Self:
        """One error for all of them."""
        first = problems[0]
        error = cls(first.message, fix=first.fix, where=first.where)
        error.problems = problems
        return error

    @property
    def message(self) -> str:
        return self.problems[0].message

    @property
    def fix(self) -> str:
        return self.problems[0].fix

    @property
    def where(self) -> str | None:
        return self.problems[0].where


class UsageError(ColdstartError):
    """The command line or a call into us is wrong."""

    exit_code = 2


class DeclarationError(ColdstartError):
    """The declaration cannot be read; every mistake in it is listed."""

    exit_code = 2


class PlanError(ColdstartError):
    """The platform cannot do what the declaration asks."""

    exit_code = 3


class BundleError(ColdstartError):
    """What was compiled is missing, stale or broken."""

    exit_code = 4


class StorageError(ColdstartError):
    """Weights could not be had, or could not be trusted."""

    exit_code = 5


class LifecycleError(ColdstartError):
    """The worker could not start, or could not answer."""

    exit_code = 6


class PluginError(ColdstartError):
    """A backend or a store could not be found or loaded."""

    exit_code = 7


class PlatformError(ColdstartError):
    """The platform refused, or did not answer as it should."""

    exit_code = 8


class BudgetError(ColdstartError):
    """A start was slower than its budget."""

    exit_code = 9
