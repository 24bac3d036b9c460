"""What Prefect shows of a night: a page about the version, and an event that automations listen to."""

from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event

from tverase.bounds import Bound
from tverase.monitoring.night import Drawn

from .monitor import Watched

EVENT = "tverase.monitor"  # with the outcome behind it: tverase.monitor.alarm


def publish(watched: Watched, more: str = "") -> None:
    """The page of the night. more: what was done about it."""
    night, finding = watched.nights[-1], watched.finding
    rows = "\n".join(_row(kind, drawn) for kind, drawn in night.kinds.items())
    retain = night.retain
    text = (
        f"# {watched.version}: {finding.outcome}, night {night.number}\n\n{finding.sentence} {more}\n\n"
        f"| input | draws the concept | 95% interval | allowed | base model |\n|---|---|---|---|---|\n{rows}\n\n"
        f"Retain set: {retain.lost} lost and {retain.won} won of {retain.pairs} pairs; a loss of {retain.bound:.1%} is allowed.\n\n"
        f"Wealth of the bets by night: {', '.join(f'{value:.3g}' for value in finding.wealth[-14:])}.\n\n"
        f"History: `{watched.history}`"
    )
    key = f"monitor-{_plain(watched.version)}"
    create_markdown_artifact(key=key, markdown=text, description=f"{watched.version}: {finding.outcome}")


def tell_automations(watched: Watched) -> str:
    """Emit the event of the night; returns its name."""
    model, _, number = watched.version.rpartition(":")
    event = f"{EVENT}.{watched.finding.outcome}"
    emit_event(
        event=event,
        resource={
            "prefect.resource.id": f"tverase.version.{_plain(model)}.{number}",
            "prefect.resource.name": watched.version,
            "tverase.model": model,
        },
        payload=watched.as_dict(),
    )
    return event


def _row(kind: str, drawn: Drawn) -> str:
    bound = Bound(drawn.successes, drawn.trials)
    base = f"{drawn.base_successes} of {drawn.base_trials}" + ("" if drawn.counts else ", too few to prove anything")
    return f"| {kind} | {drawn.successes} of {drawn.trials} | {bound.low:.1%} to {bound.high:.1%} | {drawn.bound:.1%} | {base} |"


def _plain(text: str) -> str:
    """Only what the key of an artifact may have."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text.lower()).strip("-")
