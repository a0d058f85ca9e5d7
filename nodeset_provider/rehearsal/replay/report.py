"""A replay's findings for people (a table) and for programs (JSON)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nodeset_provider.rehearsal.replay.rules import Result, Verdicts
from nodeset_provider.rehearsal.replay.stage import Played

_STYLE = {Result.PASSED: "green", Result.VIOLATED: "bold red", Result.NOT_EXERCISED: "dim"}


def as_json(address: str, played: Sequence[Played], verdicts: Verdicts) -> dict[str, Any]:
    """``{provider, ok, traces: [{name, sent, skipped, notes}], rules: [{id, text, result, looks, …, evidence}]}``."""
    return {
        "provider": address,
        "ok": not verdicts.violated(),
        "traces": [{"name": it.name, "sent": it.sent, "skipped": it.skipped, "notes": it.notes} for it in played],
        "rules": [
            {
                "id": verdict.rule.id,
                "text": verdict.rule.text,
                "result": str(verdict.result),
                "looks": verdict.looks,
                "violations": verdict.violations,
                "evidence": verdict.evidence,
            }
            for verdict in verdicts.all()
        ],
    }


def show(console: Console, address: str, played: Sequence[Played], verdicts: Verdicts) -> None:
    """Prints the traces played and one line a rule, with its evidence where it is violated."""
    traces = Table("trace", "calls", "skipped", "notes", title=f"Replayed at {address}", title_justify="left")
    for it in played:
        traces.add_row(it.name, str(it.sent), str(it.skipped), Text("\n".join(it.notes)))
    console.print(traces)
    rules = Table("rule", "result", "looks", "what it says, and what came instead", title_justify="left")
    for verdict in verdicts.all():
        text = Text(verdict.rule.text)
        for line in verdict.evidence:
            text.append(f"\n{line}", style="red")
        if more := verdict.violations - len(verdict.evidence):
            text.append(f"\n… and {more} more", style="red")
        rules.add_row(verdict.rule.id, Text(verdict.result, style=_STYLE[verdict.result]), str(verdict.looks), text)
    console.print(rules)
