"""Server routes of the pack: finishing a training early, what it shows, the photos that a node will load, and the store of people.

POST /facechain/train/finish {"node_id"}; GET /facechain/train/picture?node_id=; POST /facechain/photos {"source", "folder", "files"};
GET /facechain/persons; POST /facechain/persons/rename {"name", "new_name"}; POST /facechain/persons/delete {"name", "confirm"}, where
`confirm` repeats the name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from server import PromptServer

from ..errors import FaceChainError
from . import live


@dataclass(frozen=True)
class PersonActions:
    """What the routes may do with the store. Passed in, since the store is in a higher room."""

    listed: Callable[[], list[dict]]
    rename: Callable[[str, str], None]
    delete: Callable[[str], None]


def register(persons: PersonActions, thumbnails: Callable[[str, str, str], dict]) -> None:
    """Add the routes to the host's server. Called once, when the pack is loaded."""
    routes: web.RouteTableDef = PromptServer.instance.routes

    @routes.post("/facechain/train/finish")
    async def finish(request: web.Request) -> web.Response:
        node = (await _body(request)).get("node_id")
        if not live.request_finish(str(node)):
            return _refusal(404, f"Node {node} is not training at the moment.")
        return web.json_response({"node_id": str(node), "finishing": True})

    @routes.get("/facechain/train/picture")
    async def picture(request: web.Request) -> web.Response:
        return web.json_response({"picture": live.shown(request.query.get("node_id", ""))})

    @routes.post("/facechain/photos")
    async def photos(request: web.Request) -> web.Response:
        body = await _body(request)
        try:
            answer = await asyncio.to_thread(thumbnails, *(_text(body, key) for key in ("source", "folder", "files")))
        except FaceChainError as error:
            return _refusal(400, str(error))
        return web.json_response(answer)

    @routes.get("/facechain/persons")
    async def everybody(request: web.Request) -> web.Response:
        return web.json_response({"persons": persons.listed()})

    @routes.post("/facechain/persons/rename")
    async def rename(request: web.Request) -> web.Response:
        body = await _body(request)
        return _answer(lambda: persons.rename(_text(body, "name"), _text(body, "new_name")), persons)

    @routes.post("/facechain/persons/delete")
    async def delete(request: web.Request) -> web.Response:
        body = await _body(request)
        if body.get("confirm") != body.get("name"):
            return _refusal(400, "Nothing was deleted: 'confirm' must repeat the name of the person.")
        return _answer(lambda: persons.delete(_text(body, "name")), persons)


async def _body(request: web.Request) -> dict:
    try:
        body = await request.json()
    except json.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text='{"error": "Expected a JSON object."}', content_type="application/json")
    return body


def _text(body: dict, key: str) -> str:
    value = body.get(key)
    return value if isinstance(value, str) else ""


def _answer(action: Callable[[], None], persons: PersonActions) -> web.Response:
    try:
        action()
    except FaceChainError as error:
        return _refusal(400, str(error))
    return web.json_response({"persons": persons.listed()})


def _refusal(status: int, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status)
