"""A service in miniature, to play shoppers against: it knows who looked at what, and what is popular."""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import msgspec

from stream.records import Action, Item, decode


class Twin(ThreadingHTTPServer):
    """Recommends items of the category last looked at, those most looked at first; the rest by what is popular."""

    daemon_threads = True

    def __init__(self, catalogue: list[Item], *, forgets_deletes: bool = False, refuses: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.lock = threading.Lock()
        self.category = {item.item_id: item.category for item in catalogue}
        self.looks: Counter[str] = Counter()
        self.seen: defaultdict[str, list[str]] = defaultdict(list)
        self.actions: list[Action] = []
        self.slates: dict[str, list[str]] = {}
        self.asked: list[dict[str, Any]] = []
        self.forgets_deletes = forgets_deletes
        self.refuses = refuses

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def learn(self, action: Action) -> None:
        with self.lock:
            self.actions.append(action)
            if action.item_id is not None:
                self.looks[action.item_id] += 1
                self.seen[action.user_id].append(action.item_id)

    def trending(self) -> list[str]:
        with self.lock:
            return [item_id for item_id, _ in self.looks.most_common() if item_id in self.category]

    def recommend(self, asked: dict[str, Any]) -> dict[str, Any]:
        user = asked.get("user_id") or f"session:{asked['session_id']}"
        popular = self.trending()
        with self.lock:
            seen = self.seen[user]
            last = self.category.get(seen[-1]) if seen else None
            ranked = sorted(popular, key=lambda item_id: self.category[item_id] != last)
            new = [item_id for item_id in self.category if item_id not in self.looks]
            places = [item_id for item_id in [*ranked, *new] if item_id not in set(seen)][: asked["k"] - 1]
            places += [item_id for item_id in reversed(new) if item_id not in places][:1]
            slate_id = f"slate-{len(self.slates)}"
            self.slates[slate_id] = places
            self.asked.append(asked)
        items = [{"item_id": item_id, "title": "x", "score": 1.0, "source": "twin"} for item_id in places]
        return {"slate_id": slate_id, "user_id": user, "items": items, "versions": {"ranker": "twin-1"}}


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _answer(self) -> None:
        twin = cast(Twin, self.server)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = urlsplit(self.path).path
        status, said = 200, dict[str, Any]()
        if twin.refuses > 0 and path == "/recommend":
            twin.refuses -= 1
            status, said = 422, {"error": "told to"}
        elif path == "/events":
            twin.learn(decode(body, Action))
            status = 202
        elif path == "/recommend":
            said = twin.recommend(msgspec.json.decode(body))
        elif path == "/trending":
            said = {"items": [{"item_id": item_id, "score": 1.0} for item_id in twin.trending()[:100]]}
        elif self.command == "PUT":
            with twin.lock:
                twin.category[unquote(path.rsplit("/", 1)[1])] = msgspec.json.decode(body)["category"]
        elif self.command == "DELETE" and not twin.forgets_deletes:
            with twin.lock:
                twin.category.pop(unquote(path.rsplit("/", 1)[1]), None)
        content = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""


@contextmanager
def serving(twin: Twin) -> Iterator[Twin]:
    """The twin answers until the block ends."""
    thread = threading.Thread(target=twin.serve_forever, daemon=True)
    thread.start()
    try:
        yield twin
    finally:
        twin.shutdown()
        twin.server_close()
        thread.join()
