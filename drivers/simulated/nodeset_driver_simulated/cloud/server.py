"""The HTTP interface of the cloud (``wire``): who may call, what is made to go wrong, and when the answer comes.

May touch: the listening socket. What the calls do is decided in ``inventory``.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from nodeset_driver_simulated.cloud.boots import Boots
from nodeset_driver_simulated.cloud.errors import CloudError
from nodeset_driver_simulated.cloud.faults import ANSWER_FAULTS, FaultBook
from nodeset_driver_simulated.cloud.inventory import Inventory
from nodeset_driver_simulated.knobs import Fault, Operation
from nodeset_driver_simulated.wire import DEFAULT_PAGE, CreateInstance, DiskList, TypeList

T = TypeVar("T")
HEALTH = "/healthz"
_encoder = msgspec.json.Encoder()


class Api:
    """The calls under /v1."""

    def __init__(self, inventory: Inventory, faults: FaultBook, boots: Boots, open_: asyncio.Event) -> None:
        self._inventory = inventory
        self._faults = faults
        self._boots = boots
        self._open = open_

    def routes(self) -> list[web.RouteDef]:
        """For the application's router."""
        return [
            web.get(HEALTH, self.health),
            web.get("/v1/types", self.types),
            web.get("/v1/types/{name}", self.type),
            web.post("/v1/instances", self.create),
            web.get("/v1/instances", self.list),
            web.get("/v1/instances/{id}", self.get),
            web.delete("/v1/instances/{id}", self.delete),
            web.get("/v1/instances/{id}/console", self.console),
            web.get("/v1/disks", self.disks),
            web.delete("/v1/disks/{id}", self.delete_disk),
            web.get("/v1/ledger", self.ledger),
        ]

    async def health(self, _: web.Request) -> web.Response:
        """GET /healthz: whether it answers; the only call without a token."""
        return web.Response(text="ok")

    async def types(self, request: web.Request) -> web.Response:
        """GET /v1/types."""
        return await self._answer(request, "types", lambda: TypeList(types=list(self._inventory.types.values())))

    async def type(self, request: web.Request) -> web.Response:
        """GET /v1/types/{name}."""
        return await self._answer(request, "types", lambda: self._inventory.type(request.match_info["name"]))

    async def create(self, request: web.Request) -> web.Response:
        """POST /v1/instances."""
        body = await read_body(request, CreateInstance)

        def effect() -> object:
            fault = self._faults.take("create", ("bootFails", "bootNever"), machine=body.machine, type_=body.type)
            instance, made = self._inventory.create(body, fault=fault.kind if fault else None)
            if made is not None and made.boots(made.created_at):
                self._boots.start([made])
            return instance

        return await self._answer(request, "create", effect, machine=body.machine, type_=body.type, token=body.token)

    async def get(self, request: web.Request) -> web.Response:
        """GET /v1/instances/{id}."""
        name, cluster = request.match_info["id"], request.query.get("cluster", "")
        machine, type_, token = self._about(name)
        effect = partial(self._inventory.get, name, cluster)
        return await self._answer(request, "get", effect, machine=machine, type_=type_, token=token)

    async def list(self, request: web.Request) -> web.Response:
        """GET /v1/instances."""
        query = request.query
        limit = query.get("limit", "")

        def effect() -> object:
            return self._inventory.page(
                query.get("cluster", ""),
                token=query.get("token", ""),
                after=query.get("after", ""),
                limit=min(int(limit), DEFAULT_PAGE) if limit.isdigit() and int(limit) else DEFAULT_PAGE,
            )

        return await self._answer(request, "list", effect)

    async def delete(self, request: web.Request) -> web.Response:
        """DELETE /v1/instances/{id}."""
        name, cluster = request.match_info["id"], request.query.get("cluster", "")
        machine, type_, token = self._about(name)

        def effect() -> object:
            self._inventory.get(name, cluster)  # what is not there uses up no fault
            stays = self._faults.take("delete", ("diskStays",), machine=machine, type_=type_) is not None
            instance, record = self._inventory.delete(name, cluster, disk_stays=stays)
            self._boots.stop(record)
            return instance

        return await self._answer(request, "delete", effect, machine=machine, type_=type_, token=token)

    async def console(self, request: web.Request) -> web.Response:
        """GET /v1/instances/{id}/console."""
        record = self._inventory.record(request.match_info["id"])
        if record is None:
            raise CloudError("InstanceNotFound", f"no instance {request.match_info['id']}")
        return web.Response(text="".join(f"{line}\n" for line in record.console))

    async def disks(self, request: web.Request) -> web.Response:
        """GET /v1/disks."""
        query = request.query

        def effect() -> object:
            return DiskList(disks=self._inventory.disks(query.get("cluster", ""), query.get("token", "")))

        return await self._answer(request, "disks", effect)

    async def delete_disk(self, request: web.Request) -> web.Response:
        """DELETE /v1/disks/{id}."""
        return await self._answer(request, "disks", lambda: self._inventory.delete_disk(request.match_info["id"]))

    async def ledger(self, _: web.Request) -> web.Response:
        """GET /v1/ledger. Nothing goes wrong with the bill."""
        return json_answer(self._inventory.ledger())

    def _about(self, instance_id: str) -> tuple[str, str, str]:
        """``(machine, type, token)``, by which faults are narrowed down and latencies vary."""
        record = self._inventory.record(instance_id)
        return (record.machine, record.type, record.token) if record else ("", "", "")

    async def _answer(
        self,
        request: web.Request,
        operation: Operation,
        effect: Callable[[], object],
        *,
        machine: str = "",
        type_: str = "",
        token: str = "",
    ) -> web.Response:
        """The effect, with what the administrator asked to go wrong before and after it."""
        await self._open.wait()
        fault = self._faults.take(operation, ANSWER_FAULTS, "before", machine=machine, type_=type_)
        if fault is not None and (answer := await _play(fault, request)):
            return answer
        result = effect()
        fault = self._faults.take(operation, ANSWER_FAULTS, "after", machine=machine, type_=type_)
        if fault is not None and (answer := await _play(fault, request)):
            return answer
        latency = self._inventory.knobs.latency
        seconds = latency.create if operation == "create" else latency.read
        if seconds:
            await asyncio.sleep(self._inventory.vary(operation, seconds, token))
        return json_answer(result)


def guard(api_token: str) -> Middleware:
    """Middleware: whoever has no token learns nothing, and every error is one in the cloud's words."""
    expected = f"Bearer {api_token}".encode()

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            given = request.headers.get("Authorization", "").encode(errors="replace")
            if request.path != HEALTH and not hmac.compare_digest(given, expected):
                raise CloudError("Unauthorized", "the Authorization header holds no valid token")  # noqa: TRY301
            return await handler(request)
        except CloudError as error:
            headers = {} if error.retry_after is None else {"Retry-After": f"{error.retry_after:g}"}
            return json_answer(error.answer, status=error.status, headers=headers)

    return middleware


async def read_body(request: web.Request, type_: type[T]) -> T:
    """The body as that type. Raises CloudError that names the key."""
    try:
        return msgspec.json.decode(await request.read(), type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        field = str(error).rpartition("`$.")[2].rstrip("`") if "`$." in str(error) else ""
        raise CloudError("InvalidParameter", str(error), field=field) from None


def json_answer(body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """An answer in JSON."""
    return web.Response(body=_encoder.encode(body), status=status, headers=headers, content_type="application/json")


async def _play(fault: Fault, request: web.Request) -> web.Response | None:
    """Make it go wrong. None where the call goes on after all (a hang that has ended)."""
    match fault.kind:
        case "error":
            raise CloudError(fault.code, fault.message or "as the administrator wanted")
        case "throttle":
            raise CloudError("TooManyRequests", fault.message or "too many calls", retry_after=fault.retry_after)
        case "drop":
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        case _:
            await asyncio.sleep(fault.seconds)
            return None
