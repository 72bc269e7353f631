"""README's picture of the state machine, drawn from the table (Mermaid)."""

from collections import defaultdict

from states.table import INITIAL, TERMINAL, TRANSITIONS, State


def mermaid() -> str:
    """Return a Mermaid `stateDiagram-v2` with one arrow for each pair of states."""
    arrows: dict[tuple[State, State], list[str]] = defaultdict(list)
    for rule in TRANSITIONS:
        for source in State:  # the enum's order, so that the picture does not shuffle
            if source in rule.sources:
                arrows[source, rule.target].append(rule.trigger.value)
    lines = ["stateDiagram-v2", f"    [*] --> {INITIAL.value}"]
    lines += [
        f"    {source.value} --> {target.value}: {', '.join(triggers)}"
        for (source, target), triggers in arrows.items()
    ]
    lines += [f"    {state.value} --> [*]" for state in State if state in TERMINAL]
    return "\n".join(lines) + "\n"
