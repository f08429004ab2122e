#!/usr/bin/env python3
"""
Describe operations of GitLab's API as OpenAPI, from the types of GitLab's own Go client.

    go mod download -json gitlab.com/gitlab-org/api/client-go@v1.46.0
    tools/describe-gitlab.py DIRECTORY_OF_THE_MODULE tests/forges/openapi/gitlab.json

GitLab's own description is in no package. The client says which fields there are, and of what type; it does not say
which are always there, which values they take, and with which status a refusal comes.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

CALLS = (
    *("GetProject", "GetBranch"),
    *("ListProjectMergeRequests", "GetMergeRequest", "CreateMergeRequest", "UpdateMergeRequest", "AcceptMergeRequest"),
    *("ListMergeRequestNotes", "CreateMergeRequestNote", "GetMergeRequestApprovals"),
    *("GetCommitStatuses", "SetCommitStatus"),
    *("GetMergeRequestOnAMergeTrain", "AddMergeRequestToMergeTrain", "CurrentUser"),
)
PLAIN = {"string": "string", "bool": "boolean", "float64": "number", "int": "integer", "int64": "integer"}
TIMES = {"time.Time": "date-time", "ISOTime": "date"}

CALL = (
    r"^func \(s \*\w+\) {name}\((.*?)options \.\.\.RequestOptionFunc\) "
    r"\((.*?), \*Response, error\) \{{(.*?)^\}}"
)
STRUCT = r"^type {name} struct \{{\n(.*?)^\}}"
FIELD = re.compile(r"^\t(\w+)\s+(\S+)\s+`.*?json:\"([^\",]+)[^`]*`", re.MULTILINE)
UNTAGGED = re.compile(r"^\t([A-Z]\w*)\s+([*\[\]\w]+)$", re.MULTILINE)  # Go takes the name in any case
EMBEDDED = re.compile(r"^\t([A-Z]\w+)$", re.MULTILINE)


class Source:
    def __init__(self, folder: Path) -> None:
        files = [path for path in sorted(folder.glob("*.go")) if not path.name.endswith("_test.go")]
        self.text = "\n".join(path.read_text() for path in files)
        self.schemas: dict[str, Any] = {}

    def find(self, pattern: str, name: str) -> re.Match[str] | None:
        return re.search(pattern.format(name=name), self.text, re.MULTILINE | re.DOTALL)

    def fields(self, name: str) -> dict[str, Any]:
        struct = self.find(STRUCT, name)
        assert struct, f"no struct {name}"
        found: dict[str, Any] = {}
        for embedded in EMBEDDED.findall(struct[1]):
            found |= self.fields(embedded)
        found |= {name.lower(): self.schema(kind) for name, kind in UNTAGGED.findall(struct[1])}
        return found | {key: self.schema(kind) for _, kind, key in FIELD.findall(struct[1])}

    def schema(self, kind: str) -> dict[str, Any]:
        kind = kind.lstrip("*")
        if kind.startswith("[]"):
            return {"type": "array", "items": self.schema(kind[2:])}
        if kind in PLAIN:
            return {"type": PLAIN[kind]}
        if kind in TIMES:
            return {"type": "string", "format": TIMES[kind]}
        if other := self.find(r"^type {name} (\[\]string|string|int)$", kind):
            return self.schema(other[1])
        if not self.find(STRUCT, kind):
            return {}
        if kind not in self.schemas:
            self.schemas[kind] = {}
            self.schemas[kind] |= {"type": "object", "properties": self.fields(kind)}
        return {"$ref": f"#/components/schemas/{kind}"}

    def operation(self, name: str) -> tuple[str, str, dict[str, Any]]:
        call = self.find(CALL, name)
        assert call, f"no call {name}"
        arguments, result, code = call.groups()
        method = found[1].lower() if (found := re.search(r"http\.Method(\w+)", code)) else "get"
        path = re.search(r'withPath\("([^"]+)"', code)
        assert path, f"no path of {name}"
        parts = re.split(r"%[sd]", path[1])
        template = "/" + "".join(f"{part}{{p{n}}}" for n, part in enumerate(parts[:-1])) + parts[-1]
        operation: dict[str, Any] = {}
        options = re.search(r"opts? \*(\w+)", arguments)
        if options and method == "get":
            given = self.fields(options[1]).items()
            operation["parameters"] = [{"in": "query", "name": key, "schema": schema} for key, schema in given]
        elif options:
            operation["requestBody"] = {"content": {"application/json": {"schema": self.schema(options[1])}}}
        answer = {"content": {"application/json": {"schema": self.schema(result)}}, "description": ""}
        operation["responses"] = {"201" if method == "post" else "200": answer}
        return template, method, operation


def main(folder: str, target: str) -> None:
    source = Source(Path(folder))
    paths: dict[str, Any] = {}
    for name in CALLS:
        template, method, operation = source.operation(name)
        paths.setdefault(template, {})[method] = operation
    whole = {
        "openapi": "3.0.3",
        "info": {"title": "GitLab, as its Go client knows it", "version": Path(folder).name.partition("@")[2]},
        "paths": paths,
        "components": {"schemas": dict(sorted(source.schemas.items()))},
    }
    Path(target).write_text(json.dumps(whole, separators=(",", ":")) + "\n")
    print(f"{target}: {Path(target).stat().st_size} bytes, {len(CALLS)} operations")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
