"""A chat endpoint that answers rightly, or as a test wants it to: on the port of a thread of the test."""

import json
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock

from prompts import write
from support import run_here

EYEGLASSES = [
    "--target-sensitive", "Eyeglasses_Young", "--target", "wearing eyeglasses|without eyeglasses", "--protected",
    "young|aged", "--sentence", "Portrait face photo of a {Young} person {Eyeglasses}", "--count", "6",
]  # fmt: skip


class Stub(ThreadingHTTPServer):
    """Answers as a chat endpoint would: rightly, after `mischief(number, right)` has had its way.

    A mischief returns (status, content) or (status, content, headers). The content of a 200 is the model's message, or
    its text; `bytes`, and those of other statuses, are sent as they are. `paths` are those that the server knows.
    """

    daemon_threads = True

    def __init__(self, mischief, paths=("/v1/chat/completions",), models=("stub",)):
        self.mischief, self.paths, self.models = mischief, paths, models
        self.requests, self.lock = [], threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        self.root = f"http://127.0.0.1:{self.server_port}"
        self.url = f"{self.root}/v1"

    @property
    def bodies(self):
        return [body for _, _, body in self.requests]

    def handle_error(self, request, client_address):
        pass


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append((self.path, self.headers.get("Authorization"), body))
            number = len(self.server.requests)
        if self.path not in self.server.paths:
            return self.send(404, b'{"detail":"Not Found"}')
        asked = re.search(r"^Begin with: (.*)\nDetails: (.*)$", body["messages"][0]["content"], re.M)
        right = f"{asked[1]}, {asked[2].replace('; ', ', ')}" if asked else "an answer"
        mischief = self.server.mischief
        takes_body = mischief.__code__.co_argcount == 3
        status, content, *headers = mischief(number, right, body) if takes_body else mischief(number, right)
        if status == 200 and not isinstance(content, bytes):
            message = content if isinstance(content, dict) and "content" in content else {"content": content}
            finish = message.pop("finish_reason", "stop")
            choice = {"message": {"role": "assistant", **message}, "finish_reason": finish}
            content = json.dumps({"choices": [choice]}).encode()
        self.send(status, content if isinstance(content, bytes) else content.encode(), *headers)

    def do_GET(self):
        content = json.dumps({"data": [{"id": name} for name in self.server.models]})
        self.send(200 if self.path == "/v1/models" else 404, content.encode())

    def send(self, status, content, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


def ask(server, output, *more, key="sesame-of-the-test"):
    """Write the prompts of a pair with a stub."""
    command = [*EYEGLASSES, "--output", output, "--base-url", server.url, "--model", "stub", *more]
    with mock.patch.dict(os.environ, {"OPENAI_API_KEY": key}):
        return run_here(write.main, *command)
