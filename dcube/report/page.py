"""The page as a single HTML file with everything inline, without scripts and external requests."""

from datetime import UTC, datetime
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dcube.report.hard_images import hard_images_section
from dcube.report.material import Material
from dcube.report.parts import Section
from dcube.report.results import results_section, test_section
from dcube.report.sections import (
    about_section,
    blocks_section,
    data_section,
    images_section,
    lineage_section,
    parameters_section,
    training_section,
)


def page(material: Material) -> str:
    """Return the page as HTML. Heatmaps are computed if weights and images exist."""
    sections: list[Section] = [
        about_section(material),
        results_section(material),
        test_section(material),
        hard_images_section(material),
        data_section(material),
        images_section(material),
        training_section(material),
        blocks_section(material),
        parameters_section(material),
        lineage_section(material),
    ]
    # Names of classes, files and data sets are untrusted, so everything except the style sheet is escaped.
    templates = Environment(
        loader=PackageLoader("dcube.report", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    style = (resources.files("dcube.report") / "page.css").read_text(encoding="utf-8")
    made = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return templates.get_template("page.html").render(
        title=material.title, made=made, sections=sections, style=Markup(style)
    )
