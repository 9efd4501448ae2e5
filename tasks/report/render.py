"""From context to files' text: the page through its template, the markdown file and the terminal's tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from tasks.report.tables import Table, as_markdown, as_text, percent

FOLDER = Path(__file__).parent


def html_page(context: Mapping[str, Any], template: str = "page.html.j2") -> str:
    """A page. The template engine escapes every value except SVG drawings, which escape their own text.

    Raises:
        jinja2.UndefinedError: the context lacks a name the template uses.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"drawn": Markup, "percent": percent}
    return environment.get_template(template).render(context) + "\n"


def markdown(title: str, subtitle: str, findings: list[str], sections: Mapping[str, list[Table | str]]) -> str:
    """The same tables as a markdown file; a text among them is a paragraph."""
    parts = [f"# {title}\n", f"{subtitle}\n", "".join(f"- {line}\n" for line in findings)]
    for name, items in sections.items():
        parts.append(f"## {name}\n")
        for item in items:
            parts.append(f"{item}\n" if isinstance(item, str) else f"**{item.title}**\n\n{as_markdown(item)}")
    return "\n".join(parts)


def terminal(*tables: Table) -> str:
    """Tables one under the other, titles above."""
    return "\n\n".join(f"{table.title}\n{as_text(table)}" for table in tables)
