"""The page behind an approval link: one document that loads nothing and runs nothing.

Prompts are texts of strangers: whatever is not written here passes through `escape`.
"""

import base64
import hashlib
from datetime import datetime
from html import escape

from fastapi.responses import HTMLResponse

from pipeline.approval import Draft, Picture
from pipeline.links import Purpose
from states.table import State

_STYLE = """
:root { color-scheme: light dark; font: 1.05rem/1.55 system-ui, sans-serif; }
body { max-width: 40rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 1.2rem 0 .6rem; }
img { max-width: 100%; height: auto; display: block; border-radius: 3px; }
blockquote { margin: 1rem 0; padding-left: 1rem; border-left: 3px solid; overflow-wrap: anywhere;
  white-space: pre-line; max-height: 16rem; overflow-y: auto; }
button { font: inherit; font-weight: 600; padding: .7rem 1.4rem; border-radius: 3px;
  border: 2px solid CanvasText; background: CanvasText; color: Canvas; cursor: pointer; }
button:focus-visible { outline: 3px solid Highlight; outline-offset: 3px; }
dt { float: left; clear: left; width: 7rem; }
dd { margin: 0 0 .3rem 7rem; overflow-wrap: anywhere; }
"""

_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; img-src data:; style-src 'sha256-{_STYLE_HASH}';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # The address is the key: it goes to nobody, and into no index and no cache.
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_QUESTIONS = {
    Purpose.APPROVE: ("Make this the picture?", "Approve this draft"),
    Purpose.REJECT: ("Reject this draft?", "Reject this draft"),
}
_OUTCOMES = {
    Purpose.APPROVE: "This draft is approved",
    Purpose.REJECT: "This draft is rejected",
}


def question(draft: Draft, purpose: Purpose, expires_at: datetime) -> HTMLResponse:
    """The draft and one button. Looking decides nothing."""
    title, button = _QUESTIONS[purpose]
    if purpose is Purpose.APPROVE:
        told = "Approving has the final picture made from this draft. It takes its place by itself."
    else:
        told = "Rejecting means that no final picture is made from this draft."
    facts = [("Cost", f"${draft.price:f}")] if _has_price(draft, purpose) else []
    facts.append(
        ("This link", f"decides until {_time(expires_at)}, unless somebody has decided before")
    )
    return _page(
        200,
        title,
        _figure(draft),
        f"<p>{told} Opening this page has decided nothing.</p>",
        _facts(draft, facts),
        # No action: the form is sent to the page's own address.
        f'<form method="post"><p><button type="submit">{button}</button></p></form>',
    )


def outcome(draft: Draft, *, note: str = "") -> HTMLResponse:
    """What was decided, by this link or before it; *note* is for who comes too late."""
    assert draft.decided is not None
    what = {
        Purpose.APPROVE: _final_told(draft),
        Purpose.REJECT: "No final picture is made from it.",
    }[draft.decided]
    return _page(
        200,
        _OUTCOMES[draft.decided],
        _figure(draft),
        f'<p role="status">{escape(note)} {what}</p>',
        _facts(draft, []),
        "<p>There is nothing more to do. You can close this page.</p>",
    )


def refusal(status: int, title: str, text: str) -> HTMLResponse:
    """Why nothing was done."""
    return _page(status, title, f'<p role="status">{escape(text)}</p>')


def _final_told(draft: Draft) -> str:
    if draft.final is not None and draft.final.state is State.COMPLETED:
        return "Its final picture is finished."
    return "Its final picture is being made and takes its place by itself."


def _has_price(draft: Draft, purpose: Purpose) -> bool:
    return purpose is Purpose.APPROVE and draft.price is not None


def _figure(draft: Draft) -> str:
    if draft.picture is None:
        return "<p>The draft's picture is not there any more.</p>"
    alt = (
        draft.job.request.get("alt_text") or f"Draft for the prompt: {draft.job.request['prompt']}"
    )
    return (
        f'<img src="{_data_url(draft.picture)}" alt="{escape(alt[:300])}"'
        f' width="{draft.picture.width}" height="{draft.picture.height}">'
    )


def _data_url(picture: Picture) -> str:
    data = base64.b64encode(picture.data).decode()
    return f"data:{escape(picture.content_type)};base64,{data}"


def _facts(draft: Draft, more: list[tuple[str, str]]) -> str:
    job = draft.job
    facts = [("Asked for", _time(job.created_at)), *more]
    if job.blog_id is not None:
        facts.insert(0, ("Place", f"{job.role} {job.position} of {job.blog_id}"))
    rows = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return f"<blockquote>{escape(job.request['prompt'])}</blockquote><dl>{rows}</dl>"


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def _page(status: int, title: str, *parts: str) -> HTMLResponse:
    title = escape(title)
    document = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="robots" content="noindex, nofollow"><title>{title} · Limner</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>{title}</h1>{''.join(parts)}</main></body>"
        "</html>\n"
    )
    return HTMLResponse(document, status, headers=HEADERS)
