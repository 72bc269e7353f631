"""What the checks of `limner doctor` found."""

from dataclasses import dataclass, field
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; a *remedy* wherever it is not well."""

    check: str
    level: Level
    detail: str
    remedy: str | None = None


@dataclass(slots=True)
class Report:
    findings: list[Finding] = field(default_factory=list)

    def ok(self, check: str, detail: str) -> None:
        self.findings.append(Finding(check, Level.OK, detail))

    def warn(self, check: str, detail: str, remedy: str) -> None:
        self.findings.append(Finding(check, Level.WARN, detail, remedy))

    def fail(self, check: str, detail: str, remedy: str) -> None:
        self.findings.append(Finding(check, Level.FAIL, detail, remedy))

    @property
    def healthy(self) -> bool:
        return all(one.level is not Level.FAIL for one in self.findings)
