"""What MkDocs does besides: the reports, which lie beside the guide, become part of the site."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]


def on_files(files: Files, *, config: Any) -> Files:
    """Add the reports and their pictures."""
    for path in [*ROOT.glob("reports/*.md"), *ROOT.glob("reports/pictures/*")]:
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turn links that are right in the repository into those that are right on the site."""
    return markdown.replace("](../../reports/", "](reports/").replace("](../docs/guide/", "](../")
