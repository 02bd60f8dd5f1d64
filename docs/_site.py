"""What mkdocs builds: pages at the places that they have in the repository, so that their links hold there as here."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

BEGIN = ("README.md",)
LINK = re.compile(r"\]\(([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The theme's files, README.md, docs/, and whatever these link to, and so on."""
    root = Path(config.config_file_path).parent
    docs = Path(config.docs_dir)
    ours = [file for file in files if file.src_dir == config.docs_dir]
    found = dict.fromkeys([*(root / name for name in BEGIN), *(docs / file.src_uri for file in ours)])
    waiting = list(found)
    while waiting:
        page = waiting.pop()
        if page.suffix != ".md":
            continue
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            target = (page.parent / link).resolve()
            if target.is_file() and target.is_relative_to(root) and target not in found:
                found[target] = None
                waiting.append(target)
    made = [file for file in files if file not in ours]
    for path in found:
        uri = path.relative_to(root).as_posix()
        made.append(File(uri, str(root), config.site_dir, config.use_directory_urls))
    return Files(made)
