#!/usr/bin/env python3
"""
Cut GitHub's GraphQL schema down to what the controller's documents name, after checking them against the whole.

    npm pack @octokit/graphql-schema && tar xzf octokit-graphql-schema-*.tgz
    tools/prune-graphql.py package/schema.graphql tests/forges/openapi/github.graphql

Of a type those fields are kept that a document asks for, with all their arguments; enums and inputs are kept whole. A
field that is not in the file is therefore one that nobody has checked: run this again.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

from graphql import (
    FieldNode,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    assert_valid_schema,
    build_schema,
    get_named_type,
    parse,
    print_type,
    specified_scalar_types,
    validate,
    visit,
)

sys.path.insert(0, str(Path(__file__).parents[1]))
from controller.forges import github_graphql

DOCUMENTS = [value for name, value in vars(github_graphql).items() if name.isupper() and isinstance(value, str)]


class Uses(Visitor):
    """Notes each field that a document asks for, of the type that it asks."""

    def __init__(self, types: TypeInfo) -> None:
        super().__init__()
        self.types = types
        self.fields: dict[str, set[str]] = {}
        self.named: set[str] = set()

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        parent, kind = self.types.get_parent_type(), self.types.get_type()
        if parent is not None:
            self.named.add(parent.name)
            if not node.name.value.startswith("__"):
                self.fields.setdefault(parent.name, set()).add(node.name.value)
        if kind is not None:
            self.named.add(get_named_type(kind).name)


def prune(schema: GraphQLSchema) -> str:
    types = TypeInfo(schema)
    uses = Uses(types)
    for text in DOCUMENTS:
        document = parse(text)
        errors = validate(schema, document)
        if errors:
            sys.exit(f"a document is wrong: {errors[0]}")
        visit(document, TypeInfoVisitor(types, uses))
    uses.named |= {"Bot", "User"}  # of what an Actor is
    uses.fields["Node"] = {"id"}  # which is all that it has
    for name in list(uses.named):
        for interface in getattr(schema.type_map[name], "interfaces", ()):
            if interface.name in uses.named:  # a type has its interface's fields
                uses.fields.setdefault(name, set()).update(uses.fields.get(interface.name, ()))
    todo = set(uses.named)
    for name in uses.named:
        found = schema.type_map[name]
        for field in uses.fields.get(name, ()):
            for argument in found.fields[field].args.values():  # type: ignore[attr-defined]
                todo.add(get_named_type(argument.type).name)
    for name in list(todo):
        found = schema.type_map[name]
        if isinstance(found, GraphQLInputObjectType):
            todo |= {get_named_type(field.type).name for field in found.fields.values()}
    scalars = {scalar if isinstance(scalar, str) else scalar.name for scalar in specified_scalar_types}
    parts = [_printed(schema.type_map[name], uses, todo) for name in sorted(todo - scalars)]
    return "\n\n".join(parts) + "\n"


def _printed(found: GraphQLNamedType, uses: Uses, kept: set[str]) -> str:
    found.description = None
    if isinstance(found, GraphQLObjectType | GraphQLInterfaceType):
        fields = {n: f for n, f in found.fields.items() if n in uses.fields.get(found.name, ())}
        for field in fields.values():
            field.description = None
            for argument in field.args.values():
                argument.description = None
        interfaces = [interface for interface in found.interfaces if interface.name in kept]
        kind = GraphQLObjectType if isinstance(found, GraphQLObjectType) else GraphQLInterfaceType
        return print_type(kind(found.name, fields, interfaces))
    if isinstance(found, GraphQLUnionType):
        return print_type(GraphQLUnionType(found.name, [one for one in found.types if one.name in kept]))
    if isinstance(found, GraphQLEnumType):
        for value in found.values.values():
            value.description = None
    if isinstance(found, GraphQLInputObjectType):
        for given in found.fields.values():
            given.description = None
    return print_type(found)


def main(source: str, target: str) -> None:
    data = Path(source).read_bytes()
    # It is not valid by the letter: two of its fields are there twice, and some deprecated ones should not be.
    text = prune(build_schema(data.decode(), assume_valid=True, assume_valid_sdl=True))
    assert_valid_schema(build_schema(text))
    Path(target).write_text(text)
    print(f"{target}: {len(text)} bytes; sha256 of {source}: {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
