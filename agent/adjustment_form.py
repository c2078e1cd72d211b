"""The form with which a shop asks its bank for a manual adjustment: one self-contained HTML page, ready to print.

Made from an item as the API shows it: card numbers are masks. No script, no picture, no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from agent.money_effect import effect_of
from agent.texts import Text, catalogue
from agent.texts_operations import operations

_STYLE = """
@page { size: A4; margin: 18mm }
body { font: 11pt/1.5 sans-serif; max-width: 170mm; margin: auto; color: #000 }
h1 { font-size: 17pt; margin: 0 0 2mm } h1 small { display: block; font-size: 11pt; font-weight: normal }
table { border-collapse: collapse; width: 100%; margin: 4mm 0 }
th, td { border: .3mm solid #000; padding: 1.5mm 2.5mm; text-align: left; vertical-align: top }
th { width: 42%; font-weight: normal } td { font-family: monospace; overflow-wrap: anywhere }
.sign { border: .3mm solid #000; min-height: 26mm; padding: 2mm; margin: 4mm 0; break-inside: avoid }
.amount { font-size: 15pt; font-weight: bold }
"""


def form(item: Mapping[str, Any], made_at_utc: str) -> str:
    """The page for one item, in Chinese and English."""
    phrases = operations().phrases
    rows = "".join(_row(name, value) for name, value in facts(item) if value)
    title = phrases["form-title"]
    intro = phrases.get(f"form-intro-{effect_of(item['kind'])}", phrases["form-intro"])
    then = phrases["form-then"].fill({"id": item["id"]})
    return (
        '<!DOCTYPE html>\n<html lang="zh-CN"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title.zh)} {escape(item['id'])}</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>{escape(title.zh)}<small>{escape(title.en)}</small></h1>\n"
        f"<p>{_both(intro)}</p>\n<table>{rows}</table>\n"
        f'<div class="sign">{_both(phrases["form-bank"])}</div>\n'
        f'<div class="sign">{_both(phrases["form-shop"])}</div>\n'
        f"<p>{_both(then)}</p>\n<p>{escape(made_at_utc)}</p>\n</body></html>\n"
    )


def facts(item: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the bank needs to find the sale and to judge; names are words of the form."""
    origin, found = item["origin"], item["diagnosis"]
    tries, kind = _tries(item), catalogue().word("kind", item["kind"])
    return [
        ("amount", item["amount"]),
        ("card", item["card"]),
        ("merchant", item["merchant_id"]),
        ("terminal", item["terminal_id"]),
        ("batch", item["batch"]),
        ("stan", item["stan"]),
        ("rrn", item["rrn"]),
        ("approval", item["approval_code"]),
        ("kind", f"{kind.zh} / {kind.en}"),
        ("begun", item["begun_utc"]),
        ("response", item["response_code"]),
        ("host", item["host"]),
        ("reference", item["reference"]),
        ("item", item["id"]),
        ("origin", f"{origin['text_zh']} / {origin['text_en']}" if origin else ""),
        ("diagnosis", f"{found['code']}: {found['cause_zh']} / {found['cause_en']}"),
        ("tries", f"{tries.zh} / {tries.en}" if tries.en else ""),
    ]


def _tries(item: Mapping[str, Any]) -> Text:
    """How often the reversal was sent, and what came last; empty where there was none to send."""
    if not item["tries"]:
        return Text("", "")
    told = {"tries": str(item["tries"]), "when": item["last_try_utc"], "code": item["last_code"] or "-"}
    return operations().phrases["form-tries"].fill(told)


def _row(name: str, value: str) -> str:
    word = operations().word("form", name)
    shown = f'<span class="amount">{escape(value)}</span>' if name == "amount" else escape(value)
    return f"<tr><th>{escape(word.zh)}<br>{escape(word.en)}</th><td>{shown}</td></tr>"


def _both(text: Text) -> str:
    return f"{escape(text.zh)}<br>{escape(text.en)}"
