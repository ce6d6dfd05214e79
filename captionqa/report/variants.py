"""Lines for the end of a run whose questions were asked in another way. In: exported metrics. Out: lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def variant_lines(summary: Mapping[str, Any]) -> list[str]:
    """What holds over questions, where the table counts their items; [] for a run that asked each of them once."""
    lines = []
    if (turned := summary.get("circular")) is not None:
        lines.append(
            f"circular: {_share(turned['accuracy'])} of {turned['questions']} questions right in every rotation, "
            f"{_share(turned['consistency'])} answered alike in all, {_share(turned['unturned_accuracy'])} right in "
            f"their own order{_beside(turned, 'not_turned', 'asked once')}"
        )
    if (sampled := summary.get("samples")) is not None:
        passed = ", ".join(f"pass@{k} {_share(value)}" for k, value in sampled["pass_at"].items())
        lines.append(
            f"samples: {sampled['k']} each of {sampled['questions']} questions: mean "
            f"{_share(sampled['mean_accuracy'])}, majority {_share(sampled['majority_accuracy'])}"
            f"{', ' + passed if passed else ''}{_beside(sampled)}"
        )
    if summary.get("unshuffled"):
        reasons = ", ".join(f"{count} {reason}" for reason, count in summary["unshuffled"].items())
        lines.append(f"shown in their own order: {reasons}")
    return lines


def _beside(fields: Mapping[str, Any], name: str = "", words: str = "") -> str:
    parts = [f"{fields[name]} {words}"] if name and fields[name] else []
    if fields["incomplete"]:
        parts.append(f"{fields['incomplete']} not complete")
    return f" ({', '.join(parts)})" if parts else ""


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
