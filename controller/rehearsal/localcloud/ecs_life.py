"""
Give moto's ECS the life of a real one: deployments that begin, complete, fail and roll back.

moto 5.2.5 forgets deployment settings at create, leaves `deployments` on the first revision at
update, accepts a second service of a name and an inactive revision, lists deleted services,
never finishes a deployment, and tells of none that is over. While `EcsLife.installed()` is
entered, its backend does as ECS does, on a clock that is given; time passes for it only in `tick`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from unittest.mock import patch

from moto.cloudwatch.models import cloudwatch_backends
from moto.core.responses import ActionResult
from moto.ecs.exceptions import InvalidParameterException
from moto.ecs.models import EC2ContainerServiceBackend, Service, ecs_backends
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.moto_api._internal import mock_random

# A change of one of these starts a new deployment; of the rest, ECS just takes note.
_REDEPLOYS = ("task_definition", "network_configuration", "load_balancers", "platform_version")
_FORGOTTEN_AT_CREATE = ("deploymentConfiguration", "healthCheckGracePeriodSeconds")


class EcsLife:
    """
    The deployments of all services.

    `now` dates them. A deployment completes at the second `tick` after it began; one of an image
    in `bad_images` has tasks that never start, and fails when the circuit breaker is on.
    """

    def __init__(self, now: Callable[[], datetime], *, ticks: int = 2) -> None:
        self.now = now
        self.ticks = ticks
        self.bad_images: set[str] = set()
        self.past: list[dict[str, Any]] = []  # service deployments, oldest first, each with its `revision`

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Put this life into moto's ECS, for the whole process, until the block ends."""
        backend, response = EC2ContainerServiceBackend, EC2ContainerServiceResponse
        with (
            patch.object(backend, "create_service", self._creating(backend.create_service)),
            patch.object(backend, "update_service", self._updating(backend.update_service)),
            patch.object(backend, "list_services", _listing(backend.list_services)),
            patch.object(
                backend,
                "register_task_definition",
                self._registering(backend.register_task_definition),
            ),
            patch.object(response, "create_service", _remembering(response.create_service)),
            patch.object(response, "list_service_deployments", self._listing_deployments(), create=True),
            patch.object(response, "describe_service_revisions", self._describing_revisions(), create=True),
        ):
            yield

    def tick(self) -> bool:
        """Take every deployment one step further; False when none was in progress."""
        moved = False
        for account in ecs_backends.values():
            for backend in account.values():
                for service in list(backend.services.values()):
                    if service.status == "ACTIVE" and _in_progress(service):
                        self._step(backend, service)
                        moved = True
        return moved

    # ------------------------------------------------------------ what the API does

    def _creating(self, original: Callable[..., Service]) -> Callable[..., Service]:
        def create_service(
            backend: EC2ContainerServiceBackend, cluster: str, name: str, *args: Any, **kw: Any
        ) -> Service:
            key = f"{backend._get_cluster(cluster).name}:{name}"
            there = backend.services.get(key)
            if there is not None and there.status != "INACTIVE":
                raise InvalidParameterException("Creation of service was not idempotent.")
            service = original(backend, cluster, name, *args, **kw)
            _active(backend, str(service.task_definition))
            self._begin(service, "in progress.")
            return service

        return create_service

    def _updating(self, original: Callable[..., Service]) -> Callable[..., Service]:
        def update_service(backend: EC2ContainerServiceBackend, changes: dict[str, Any]) -> Service:
            service = backend._get_service(changes.get("cluster", "default"), changes["service"])
            if service.status == "INACTIVE":
                raise InvalidParameterException("Service was not ACTIVE.")
            asked = dict(changes)
            if asked.get("task_definition"):
                changes["task_definition"] = _active(backend, asked["task_definition"])
            before = {name: getattr(service, name, None) for name in _REDEPLOYS}
            original(backend, changes)
            after = {name: getattr(service, name, None) for name in _REDEPLOYS}
            if asked.get("force_new_deployment") or before != after:
                self._begin(service, "in progress.")
            return service

        return update_service

    def _registering(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def register(backend: EC2ContainerServiceBackend, *args: Any, **kw: Any) -> Any:
            definition = original(backend, *args, **kw)
            definition.registered_at = self._naive()
            return definition

        return register

    def _listing_deployments(self) -> Callable[..., ActionResult]:
        def list_service_deployments(response: EC2ContainerServiceResponse) -> ActionResult:
            cluster, name = response._get_param("cluster", "default"), response._get_param("service")
            service = response.ecs_backend._get_service(cluster, name)
            wanted = response._get_param("status") or ["SUCCESSFUL", "IN_PROGRESS", "STOPPED", "ROLLBACK_SUCCESSFUL"]
            found = [one for one in self.past if one["serviceArn"] == service.arn and one["status"] in wanted]
            return ActionResult({"serviceDeployments": found[::-1][: response._get_param("maxResults") or 20]})

        return list_service_deployments

    def _describing_revisions(self) -> Callable[..., ActionResult]:
        def describe_service_revisions(response: EC2ContainerServiceResponse) -> ActionResult:
            asked = response._get_param("serviceRevisionArns")
            if len(asked) > 20:
                raise InvalidParameterException("serviceRevisionArns can have at most 20 items.")
            found = [one["revision"] for one in self.past if one["targetServiceRevisionArn"] in asked]
            return ActionResult({"serviceRevisions": found, "failures": []})

        return describe_service_revisions

    # ------------------------------------------------------------ what time does

    def _begin(self, service: Service, reason: str) -> None:
        """Start a deployment of the service's task definition; older ones drain."""
        for deployment in service.deployments:
            deployment["status"] = "ACTIVE"
        if len(service.deployments) == 1 and "tick" not in service.deployments[0]:
            fresh = service.deployments.pop()  # moto's own, of a service just created
        else:
            fresh = copy.copy(service.deployments[0])
        id_ = f"ecs-svc/{mock_random.randint(10**18, 10**19 - 1)}"
        fresh |= {
            "id": id_,
            "taskDefinition": service.task_definition,
            "status": "PRIMARY",
            "rolloutState": "IN_PROGRESS",
            "rolloutStateReason": f"ECS deployment {id_} {reason}",
            "desiredCount": service.desired_count,
            "runningCount": 0,
            "pendingCount": service.desired_count,
            "failedTasks": 0,
            "createdAt": self._naive(),
            "updatedAt": self._naive(),
            "tick": 0,
            # An alarm that fires already is not watched:
            # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-alarm-failure.html
            "watched": not _alarmed(service),
        }
        service.deployments.insert(0, fresh)
        self._end(service, "STOPPED")
        arn = service.arn.replace(":service/", ":service-revision/") + f"/{id_.rsplit('/', 1)[-1]}"
        revision = {"serviceRevisionArn": arn, "serviceArn": service.arn, "taskDefinition": service.task_definition}
        self.past.append({
            "serviceDeploymentArn": arn.replace(":service-revision/", ":service-deployment/"),
            "serviceArn": service.arn, "targetServiceRevisionArn": arn, "status": "IN_PROGRESS",
            "createdAt": self._naive(), "startedAt": self._naive(), "revision": revision,
        })  # fmt: skip

    def _end(self, service: Service, status: str) -> None:
        """Say how the service's deployment under way has ended."""
        for one in self.past:
            if one["serviceArn"] == service.arn and one["status"] == "IN_PROGRESS":
                one |= {"status": status, "finishedAt": self._naive()}

    def _step(self, backend: EC2ContainerServiceBackend, service: Service) -> None:
        primary: dict[str, Any] = service.deployments[0]
        primary["tick"] += 1
        primary["updatedAt"] = self._naive()
        settings = getattr(service, "deployment_configuration", None) or {}
        breaker = settings.get("deploymentCircuitBreaker") or {}
        alarms = settings.get("alarms") or {}
        definition = backend.describe_task_definition(primary["taskDefinition"])
        bad = any(one["image"] in self.bad_images for one in definition.container_definitions)
        if bad:
            primary["failedTasks"] += service.desired_count
        # The threshold of AWS: half of the desired count, at least 3 and at most 200.
        threshold = min(200, max(3, math.ceil(service.desired_count / 2)))
        if primary["watched"] and _alarmed(service):
            self._fail(service, "alarm detected.", back=bool(alarms.get("rollback")))
        elif bad and breaker.get("enable") and primary["failedTasks"] >= threshold:
            reason = "circuit breaker: tasks failed to start."
            self._fail(service, reason, back=bool(breaker.get("rollback")))
        elif not bad and primary["tick"] >= self.ticks:
            self._complete(service)

    def _complete(self, service: Service) -> None:
        primary = service.deployments[0]
        primary |= {
            "rolloutState": "COMPLETED",
            "rolloutStateReason": f"ECS deployment {primary['id']} completed.",
            "runningCount": service.desired_count,
            "pendingCount": 0,
        }
        service.deployments[:] = [primary]
        self._end(service, "SUCCESSFUL")
        service.running_count, service.pending_count = service.desired_count, 0

    def _fail(self, service: Service, reason: str, *, back: bool) -> None:
        """Fail the primary deployment; roll *back* to the last one that completed, if any."""
        failed: dict[str, Any] = service.deployments[0]
        failed |= {
            "rolloutState": "FAILED",
            "rolloutStateReason": f"ECS deployment {failed['id']} failed: {reason}",
            "runningCount": 0,
            "pendingCount": 0,
        }
        self._end(service, "ROLLBACK_SUCCESSFUL" if back else "STOPPED")
        good = [one for one in service.deployments if one["rolloutState"] == "COMPLETED"]
        if back and good:
            service.task_definition = str(good[0]["taskDefinition"])
            self._begin(service, f"circuit breaker: rolling back to deploymentId {good[0]['id']}.")

    def _naive(self) -> datetime:
        """Return the time as moto keeps it: UTC without saying so."""
        return self.now().replace(tzinfo=None)


def _in_progress(service: Service) -> bool:
    return bool(service.deployments) and service.deployments[0]["rolloutState"] == "IN_PROGRESS"


def _active(backend: EC2ContainerServiceBackend, task_definition: str) -> str:
    """Return the ARN of a revision that may be run."""
    definition = backend.describe_task_definition(task_definition)
    if definition.status == "INACTIVE":
        raise InvalidParameterException("TaskDefinition is inactive")
    return str(definition.arn)


def _alarmed(service: Service) -> bool:
    """Whether an alarm fires that is to stop the service's deployments."""
    asked = (getattr(service, "deployment_configuration", None) or {}).get("alarms") or {}
    alarms = cloudwatch_backends[service.arn.split(":")[4]][service.region_name].alarms
    names = asked.get("alarmNames") or [] if asked.get("enable") else []
    return any(name in alarms and alarms[name].state_value == "ALARM" for name in names)


def _listing(original: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """Leave out services that were deleted."""

    def list_services(backend: EC2ContainerServiceBackend, *args: Any, **kw: Any) -> list[str]:
        gone = {one.arn for one in backend.services.values() if one.status == "INACTIVE"}
        return [arn for arn in original(backend, *args, **kw) if arn not in gone]

    return list_services


def _remembering(original: Callable[..., Any]) -> Callable[..., Any]:
    """Keep what moto's `create_service` drops, under the names that its update uses."""

    def create_service(response: EC2ContainerServiceResponse) -> Any:
        result = original(response)
        service = result.result["service"]
        for name in _FORGOTTEN_AT_CREATE:
            snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
            setattr(service, snake, response._get_param(name))
        return result

    return create_service
