#!/usr/bin/env python3
"""
Cut an OpenAPI description down to some operations and what they refer to.

    npm pack @octokit/openapi && tar xzf octokit-openapi-*.tgz
    tools/prune-openapi.py package/generated/api.github.com.json tests/forges/openapi/github.json \\
        'GET /repos/{owner}/{repo}/pulls' 'POST /repos/{owner}/{repo}/pulls' ...

Without operations it takes those that the file to be written already has. Prose and examples are left out, nothing else
of what is kept. What it was cut from is to be noted in `PROVENANCE.md` beside it; the digest is printed.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

METHODS = ("get", "put", "post", "patch", "delete", "head")
PROSE = ("description", "summary", "example", "examples", "externalDocs", "x-github", "operationId", "tags")
NAMES = ("properties", "patternProperties", "schemas", "parameters", "responses", "headers")  # whose keys are names


def bare(value: Any, *, names: bool = False) -> Any:
    """Leave out prose; below *names* a key such as `description` is the name of a property."""
    if isinstance(value, list):
        return [bare(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: item for key, item in value.items() if names or key not in PROSE}
    made = {key: bare(item, names=key in NAMES and not names and isinstance(item, dict)) for key, item in kept.items()}
    if "responses" in made and not names:
        made["responses"] = {code: described(response) for code, response in made["responses"].items()}
    return made


def described(response: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI wants a description of a response, be it empty."""
    return response if "$ref" in response else {"description": "", **response}


def references(value: Any) -> set[str]:
    return set(re.findall(r'"\$ref": "#/components/([^"]+)"', json.dumps(value)))


def prune(whole: dict[str, Any], operations: list[str]) -> dict[str, Any]:
    """Raises: KeyError: an operation is not in the description."""
    paths: dict[str, Any] = {}
    for operation in operations:
        method, path = operation.split()
        item = whole["paths"][path]
        kept = paths.setdefault(path, {key: item[key] for key in ("parameters",) if key in item})
        kept[method.lower()] = bare(item[method.lower()])
    components: dict[str, Any] = {}
    todo, done = references(paths), set[str]()
    while todo:
        name = todo.pop()
        done.add(name)
        kind, _, key = name.partition("/")
        found = bare(whole["components"][kind][key])
        components.setdefault(kind, {})[key] = described(found) if kind == "responses" else found
        todo |= references(found) - done
    info = {"title": whole["info"]["title"], "version": whole["info"]["version"]}
    return {"openapi": whole["openapi"], "info": info, "paths": paths, "components": sorted_(components)}


def sorted_(components: dict[str, Any]) -> dict[str, Any]:
    return {kind: dict(sorted(found.items())) for kind, found in sorted(components.items())}


def main(source: str, target: str, *operations: str) -> None:
    data = Path(source).read_bytes()
    chosen = list(operations)
    if not chosen:
        paths = json.loads(Path(target).read_text())["paths"]
        chosen = [f"{m.upper()} {path}" for path, item in paths.items() for m in item if m in METHODS]
    pruned = prune(json.loads(data), chosen)
    Path(target).write_text(json.dumps(pruned, separators=(",", ":"), ensure_ascii=False) + "\n")
    size = Path(target).stat().st_size
    print(f"{target}: {size} bytes, {len(chosen)} operations; sha256 of {source}: {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
