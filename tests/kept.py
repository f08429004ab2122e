"""A local AWS as it was: brought up once for many tests, each of which finds it untouched."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.ecs.models import ecs_backends
from moto.elbv2.models import elbv2_backends
from moto.ssm.models import ssm_backends

from controller.rehearsal.localcloud import InProcess, LocalAws


def keep(cloud: LocalAws, pulumi: InProcess) -> Callable[[], None]:
    """
    Return what brings back the present state, dates and numbers of revisions included.

    Of AWS that is ECS, the load balancers and the parameters, all that a rollout or a break-glass act changes.
    """
    found: tuple[Any, ...] = (ecs_backends, elbv2_backends, ssm_backends)
    backends = [one[DEFAULT_ACCOUNT_ID][cloud.region] for one in found]
    ecs, elb, ssm = backends
    now, bad_images, states = cloud.now, set(cloud.life.bad_images), _copied(pulumi._states)

    def copied(state: Any) -> Any:
        return copy.deepcopy(state, {id(one): one for one in backends})  # what refers to a backend refers to it still

    kept = copied((vars(ecs), vars(elb), dict(ssm._parameters), cloud.life.past))

    def back() -> None:
        for whole, state in zip((vars(ecs), vars(elb), ssm._parameters), state_of := copied(kept), strict=False):
            whole.clear()
            whole.update(state)
        cloud.now, cloud.life.past[:] = now, state_of[-1]
        cloud.life.bad_images.clear()
        cloud.life.bad_images.update(bad_images)
        pulumi._states = _copied(states)

    return back


def _copied(states: dict[str, Any]) -> dict[str, Any]:
    return {name: dict(state) for name, state in states.items()}
