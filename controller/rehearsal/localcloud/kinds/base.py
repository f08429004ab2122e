"""What a resource type must be able to do, so that an engine can manage it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from controller.rehearsal.localcloud.calls import Aws
from controller.rehearsal.localcloud.shapes import BadInputError, Bag, has_unknown, reflect


@dataclass(frozen=True, slots=True)
class Found:
    """A resource as AWS has it: what an API call describes, and the outputs that are computed."""

    described: Bag
    computed: Bag


class Kind(ABC):
    """
    One resource type: its inputs as the program gives them, applied to the AWS API.

    Ids and outputs are those of the real provider, as far as the program uses them. Names must be
    given: nothing here makes one up.
    """

    token: ClassVar[str]
    creates: ClassVar[tuple[str, str]]  # service and operation of the call that creates it
    replaced_by: ClassVar[frozenset[str]] = frozenset()  # inputs that need a new resource
    always_replaced: ClassVar[bool] = False
    computed: ClassVar[tuple[str, ...]] = ("arn",)  # outputs that only AWS knows

    def __init__(self, aws: Aws) -> None:
        self.aws = aws

    @abstractmethod
    def request(self, inputs: Bag) -> Bag:
        """Return the members of the creating call, in Pulumi's spelling."""

    def rules(self, inputs: Bag) -> None:  # noqa: B027 - most types have none
        """Refuse what AWS refuses and the API's model does not say; unknowns pass."""

    def references(self, inputs: Bag) -> None:  # noqa: B027 - most types have none
        """Refuse what refers to something that is not there; everything is known."""

    @abstractmethod
    def create(self, inputs: Bag) -> str:
        """Create the resource and return its id."""

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        raise BadInputError(f"{self.token} cannot be updated in place")

    @abstractmethod
    def find(self, id_: str, state: Bag) -> Found | None:
        """Describe the resource as it is; None where it is gone. *state* is what is remembered."""

    @abstractmethod
    def delete(self, id_: str, state: Bag) -> None: ...

    # ------------------------------------------------------------ the same for every type

    def check(self, inputs: Bag) -> None:
        """
        Refuse inputs that AWS would refuse, without calling it.

        Raises:
            BadInputError: what is wrong, and what is allowed.
        """
        self.rules(inputs)
        self.aws.arguments(*self.creates, self.request(inputs))

    def created(self, inputs: Bag) -> Any:
        """Make the creating call."""
        self.references(inputs)
        return self.aws.call(*self.creates, self.request(inputs))

    def read(self, id_: str, inputs: Bag, state: Bag) -> tuple[Bag, Bag] | None:
        """Return live inputs, in the form of *inputs*, and all outputs; None where it is gone."""
        found = self.find(id_, {**inputs, **state})
        if found is None:
            return None
        live = reflect(inputs, found.described)
        return live, {**live, **found.computed}

    def network(self, subnets: list[str], groups: list[str]) -> None:
        """Refuse subnets and security groups that are not there."""
        for name, operation, argument, ids in (
            ("subnet", "DescribeSubnets", "subnetIds", subnets),
            ("security group", "DescribeSecurityGroups", "groupIds", groups),
        ):
            for id_ in ids:
                if not self.aws.find("ec2", operation, {argument: [id_]}):
                    raise BadInputError(f"{self.token} refers to {id_}; there is no such {name}")

    def changed(self, old: Bag, new: Bag) -> tuple[list[str], list[str]]:
        """Return the inputs that differ, and those of them that need a new resource."""
        keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        return keys, keys if self.always_replaced else [k for k in keys if k in self.replaced_by]


def without(inputs: Bag, *keys: str) -> Bag:
    return {key: value for key, value in inputs.items() if key not in keys}


def only(inputs: Bag, *keys: str) -> Bag:
    return {key: inputs[key] for key in keys if key in inputs}


def within(name: str, value: Any, low: int, high: int) -> None:
    """Refuse a number outside of low..high."""
    if value is None or has_unknown(value):
        return
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadInputError(f"{name} is {value!r}; it should be a whole number in {low}..{high}")


def one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value is not None and not has_unknown(value) and value not in allowed:
        words = ", ".join(map(str, allowed))
        raise BadInputError(f"{name} is {value!r}; it should be one of {words}")
