"""The endpoint of the prompt writer against the manners of real servers."""

import json
import socket
import threading
import time
from email.utils import formatdate

import pytest
from support import assert_one_line_error
from support.chat_stub import ask

from prompts import read_prompts
from prompts.decoding import Decoding
from prompts.endpoint import Endpoint
from prompts.exchange import chat_addresses
from utils.errors import UserError


@pytest.fixture(autouse=True)
def slept(monkeypatch):
    """The seconds that were slept, without sleeping them."""
    seconds = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    monkeypatch.setenv("THE_KEY", "sesame-of-the-test")
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_hub")
    return seconds


def endpoint(url, model="stub", retries=2, timeout=5):
    return Endpoint(url, model, Decoding(0.7, 0.9, 90), key_variable="THE_KEY", timeout=timeout, retries=retries)


def answers(url, count=1, **options):
    """The texts that an endpoint answers to so many questions, and the endpoint."""
    chat = endpoint(url, **options)
    replies = dict(chat.answer(["a question"] * count, ["A"] * count, seed=3))
    return [replies[number].text for number in range(count)], chat


def openai(message, param=None):
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", "param": param}}, indent=2)


MAX_TOKENS = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
)
TEMPERATURE = (
    "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) is supported."
)
BOTH = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
UNKNOWN = [{"error": {"code": 400, "message": 'Unknown name "seed": Cannot find field.'}}]
DETAIL = {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}
REFUSALS = {  # status, body, refused parameter, the name it goes by then, as servers are known to say it
    "openai max_tokens": (400, openai(MAX_TOKENS, "max_tokens"), "max_tokens", "max_completion_tokens"),
    "copilot max_tokens": (400, json.dumps({"error": {"message": MAX_TOKENS}}), "max_tokens", "max_completion_tokens"),
    "openai temperature": (400, openai(TEMPERATURE, "temperature"), "temperature", None),
    "openai top_p": (400, openai("Unsupported parameter: see the documentation.", "top_p"), "top_p", None),
    "moonshot": (400, openai("invalid temperature: only 1 is allowed for this model"), "temperature", None),
    "anthropic": (400, openai(BOTH), "top_p", None),
    "mistral": (422, json.dumps({"object": "error", "message": DETAIL}), "seed", "random_seed"),
    "mistral behind a proxy": (422, json.dumps({"message": json.dumps(DETAIL)}), "seed", "random_seed"),
    "gemini": (400, json.dumps(UNKNOWN), "seed", None),
    "lm studio": (400, json.dumps({"error": "Unrecognized key(s) in object: 'seed'"}), "seed", None),
    "old llama.cpp": (500, json.dumps({"error": {"code": 500, "message": "Unsupported param: top_p"}}), "top_p", None),
    "plain text": (400, "parameter seed unsupported\n", "seed", None),
}


@pytest.mark.parametrize(("status", "text", "name", "other"), REFUSALS.values(), ids=REFUSALS)
def test_a_refused_parameter_alone_is_renamed_or_left_out(stub, capsys, status, text, name, other):
    def strict(number, right, body):
        return (status, text) if name in body else (200, right)

    server = stub(strict)
    texts, chat = answers(server.url, count=5)
    assert texts == ["an answer"] * 5
    assert len(server.requests) == 6  # it is refused once in the run
    sent = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 90, "seed": 3}
    value = sent.pop(name)
    sent |= {other: value} if other else {}
    body = {key: server.bodies[1][key] for key in server.bodies[1] if key not in ("model", "messages")}
    assert body == sent
    told = [line for line in capsys.readouterr().err.splitlines() if "refuses" in line]
    assert len(told) == 1 and f"refuses {name}" in told[0] and (other or "without it") in told[0]
    record = chat.sent(seed=3)
    own = {"max_tokens": "max_new_tokens"}.get(name, name)
    assert own not in record and record.get(other or "refused") == (value if other else [own])


def test_what_was_really_sent_is_in_the_prompt_file(stub, tmp_path):
    def newest(number, right, body):
        for name, text in (("max_tokens", MAX_TOKENS), ("temperature", TEMPERATURE), ("top_p", "top_p: unsupported")):
            if name in body:
                return 400, openai(text, name)
        return 200, right

    server, output = stub(newest), tmp_path / "prompts.json"
    done = ask(server, output)
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == 24 + 3
    expected = {"max_completion_tokens": 90, "seed": 0, "refused": ["temperature", "top_p"]}
    assert read_prompts(output).origin["sampling"] == expected


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("'max_tokens' or 'max_completion_tokens' is too large: 90. This model's maximum context length is 64 tokens", "max-new-tokens"),
        ("max_tokens must be at least 1, got -1.", "max-new-tokens"),
        ("top_p must be in (0, 1], got 0.9: out of range", "top-p"),
        ("`temperature` must be strictly positive", "temperature"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_for_the_user_to_mend(stub, text, flag):
    server = stub(lambda number, right: (400, openai(text)))
    with pytest.raises(UserError, match=rf"HTTP 400.*mend --{flag}$"):
        answers(server.url)
    assert len(server.requests) == 1


def test_addresses_that_may_be_meant():
    root = "http://host:8000"
    versioned, plain = f"{root}/v1/chat/completions", f"{root}/chat/completions"
    for end in ("", "/"):
        assert chat_addresses(root + end) == [versioned, plain]
    for end in ("/v1", "/v1/", "/v1/chat/completions", "/v1/chat/completions/", "/v1/models"):
        assert chat_addresses(root + end) == [versioned]
    assert chat_addresses(f"{root}/v1beta/openai/")[0] == f"{root}/v1beta/openai/chat/completions"
    assert chat_addresses(f"{root}/chat/completions")[0] == plain
    assert chat_addresses(f"{root}/a?version=2")[0] == f"{root}/a/chat/completions?version=2"
    for bad in ("localhost:8000", "http://", "http://[::1", "http://host:port", "ftp://host"):
        with pytest.raises(UserError, match="--base-url"):
            chat_addresses(bad)
    with pytest.raises(UserError, match="user name") as raised:
        chat_addresses("https://me:sesame@host/v1")
    assert "sesame" not in str(raised.value)


@pytest.mark.parametrize("base", ["", "/", "/v1", "/v1/", "/v1/chat/completions", "/chat/completions", "/models"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions"])
def test_an_endpoint_is_found_from_any_of_its_addresses(stub, base, path):
    server = stub(paths=(path,))
    if "/v1" in base and "/v1" not in path:
        with pytest.raises(UserError, match="no chat endpoint.*Not Found"):
            answers(server.root + base)
        return
    assert answers(server.root + base, count=4)[0] == ["an answer"] * 4
    assert len(server.requests) <= 5  # a wrong address is tried once


PAGE = b"<!DOCTYPE html><html><head><title>Open\nWebUI</title></head><body>" + b"x" * 5000 + b"</body></html>"


@pytest.mark.parametrize(
    ("status", "content", "said"),
    [
        (404, PAGE, "HTTP 404 Not Found: Open WebUI"),
        (405, b'{"detail":"Method Not Allowed"}', "Method Not Allowed"),
        (200, PAGE, "Open WebUI"),
        (200, b'{"error":"Unexpected endpoint or method. (POST /chat/completions)"}', "Unexpected endpoint"),
        (404, b"404 page not found\n", "404 page not found"),
        (404, b"", "no text"),
    ],
)
def test_no_endpoint_there(stub, status, content, said):
    server = stub(lambda number, right: (status, content))
    with pytest.raises(UserError, match="no chat endpoint") as raised:
        answers(server.url)
    assert said in str(raised.value) and "\n" not in str(raised.value) and len(str(raised.value)) < 700


MODEL_UNKNOWN = [
    (404, '{"error":{"message":"model \'stubb\' not found","type":"not_found_error"}}'),
    (404, '{"object":"error","message":"The model `stubb` does not exist.","type":"NotFoundError","code":404}'),
    (400, '{"object":"error","message":"Invalid model: stubb","type":"invalid_model","code":"1500"}'),
]


@pytest.mark.parametrize(("status", "text"), MODEL_UNKNOWN)
def test_an_unknown_model_is_told_with_the_nearest_names(stub, status, text):
    server = stub(lambda number, right: (status, text), models=("llama-8b", "stub", "stubby-2"))
    with pytest.raises(UserError) as raised:
        answers(server.root, model="stubb")
    message = str(raised.value)
    assert "stubb" in message.split("HTTP")[1] and "--model stubb is none of its 3 models" in message
    assert "stubby-2" in message and "llama-8b" not in message and len(server.requests) == 1


@pytest.mark.parametrize("model", ["stub", "zzz"])
def test_no_nearest_names_where_the_model_is_there_or_no_list(stub, model):
    server = stub(lambda number, right: (400, '{"error":"the model is loading"}'), models=("stub",) * (model == "stub"))
    with pytest.raises(UserError, match="the model is loading$"):
        answers(server.url, model=model)


def test_the_key_is_sent_and_never_shown_and_no_other_is_sent(stub, monkeypatch):
    monkeypatch.setenv("HOME", "/nowhere")
    said = "Incorrect API key provided: sesame-of-the-test.\x1b[31m\nSee\tour site"
    server = stub(lambda number, right: (401, openai(said)))
    with pytest.raises(UserError) as raised:
        answers(server.url)
    assert "provided: ***. [31m See our site; put the key into THE_KEY" in str(raised.value)
    monkeypatch.setenv("THE_KEY", "")
    open_server = stub()
    answers(open_server.url)
    assert [request[1] for request in server.requests + open_server.requests] == ["Bearer sesame-of-the-test", None]
    for key in ("sesame\nInjected: yes", "sésame", "two words"):
        monkeypatch.setenv("THE_KEY", key)
        with pytest.raises(UserError, match="THE_KEY holds") as raised:
            endpoint(open_server.url)
        assert key not in str(raised.value)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured_by_one_question_at_a_time(stub, slept, capsys, status, as_date):
    asked, most, first_three = set(), [], threading.Barrier(3)

    def limited(number, right, body):
        asked.add(number)
        most.append(len(asked))
        if number in (2, 3, 4):
            first_three.wait(5)
        else:
            threading.Event().wait(0.02)
        try:
            if 1 < number < 7:
                after = formatdate(time.time() + 20, usegmt=True) if as_date else "20"
                return status, '{"error":{"message":"Rate limit reached"}}', {"Retry-After": after}
            return 200, right
        finally:
            asked.discard(number)

    server = stub(limited)
    assert answers(server.url, count=4, retries=4)[0] == ["an answer"] * 4
    assert 17 < max(slept) <= 20
    assert max(most[5:]) == 1
    assert "Rate limit reached; next try in " in capsys.readouterr().err


def test_a_server_that_asks_to_wait_too_long_is_left(stub, slept):
    server = stub(lambda number, right: (429, "quota of the day", {"Retry-After": "7200"}))
    with pytest.raises(UserError, match=r"asks to wait 7200 s \(HTTP 429 Too Many Requests: quota of the day\)"):
        answers(server.url)
    assert len(server.requests) == 1 and not slept


@pytest.mark.parametrize("after", ["soon", "-5", "1e3", "99999999999999999999", ""])
def test_a_retry_after_that_makes_no_sense(stub, after):
    server = stub(lambda number, right: (429, "busy", {"Retry-After": after}))
    with pytest.raises(UserError, match="busy"):
        answers(server.url)


def test_one_failing_question_loses_no_answer_and_the_same_command_goes_on(stub, tmp_path):
    def limited(number, right):
        return (200, right) if number <= 6 else (429, "Rate limit reached", {"Retry-After": "20"})

    output = tmp_path / "prompts.json"
    failed = ask(stub(limited), output, "--retries", 2)
    assert_one_line_error(failed, "no answer", "3 attempts", "Rate limit reached", "6 of 24 sentences are kept")
    assert "prompts.partial" in failed.stderr and not output.exists()
    server = stub()
    done = ask(server, output, "--retries", 1, "--temperature", 0.2, "--model", "another", "--seed", 5)
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == 18 and "6 sentences" in done.stderr
    origin = read_prompts(output).origin
    assert (origin["model"], origin["sampling"]["temperature"], origin["sampling"]["seed"]) == ("another", 0.2, 5)
    (other,) = origin["others"]
    assert (other["model"], other["sampling"]["temperature"], other["sentences"]) == ("stub", 0.7, 6)
    assert [entry.name for entry in tmp_path.iterdir()] == [output.name]


def test_a_key_that_is_revoked_amid_a_batch(stub, tmp_path):
    server = stub(lambda number, right: (403, "revoked") if number == 3 else (200, right))
    failed = ask(server, tmp_path / "prompts.json")
    assert_one_line_error(failed, "HTTP 403", "revoked", "7 of 24 sentences are kept")


def test_a_question_that_the_server_refuses_is_asked_again(stub, tmp_path):
    filtered = openai("The response was filtered due to the prompt triggering our content policy.", "prompt")

    def filter_some(number, right):
        return (400, filtered) if "aged person wearing" in right and number < until else (200, right)

    until, output = 1000, tmp_path / "prompts.json"
    failed = ask(stub(filter_some), output, "--attempts", 2)
    assert_one_line_error(failed, "6 of 24 sentences")
    assert failed.stderr.count("was filtered") == 6
    until = 20
    done = ask(stub(filter_some), output)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ('[{"error":{"code":429,"details":[{"retryDelay": "38s"}]}}]', 38),
        ("Rate limit reached. Please try again in 7.66s. Visit us", 7.66),
        ("Rate limit reached", 2),
    ],
)
def test_a_wait_without_retry_after(stub, slept, text, seconds):
    server = stub(lambda number, right: (429, text) if number == 1 else (200, right))
    assert answers(server.url)[0] == ["an answer"] and slept == [pytest.approx(seconds, abs=0.5)]


def test_an_interrupted_batch_keeps_what_was_answered(stub, tmp_path, monkeypatch):
    from prompts.writer import Writer

    save = Writer._save

    def interrupt_after_five(writer):
        save(writer)
        if len(writer.answers) == 5:
            raise KeyboardInterrupt

    output = tmp_path / "prompts.json"
    monkeypatch.setattr(Writer, "_save", interrupt_after_five)
    assert ask(stub(), output).returncode == 130
    assert len(json.loads((tmp_path / "prompts.partial").read_text())["answers"]) == 5
    monkeypatch.setattr(Writer, "_save", save)
    server = stub()
    assert ask(server, output).returncode == 0 and len(server.requests) == 19


def test_answers_of_another_request_are_set_aside_and_those_that_serve_are_taken(stub, tmp_path):
    output, partial = tmp_path / "prompts.json", tmp_path / "prompts.partial"
    ask(stub(lambda number, right: (200, right) if number < 9 else (401, "no")), output)
    kept = partial.read_text()
    content = json.loads(kept)
    content["answers"] = [[group, i, text.replace("aged", "old")] for group, i, text, _ in content["answers"]]
    content["request"] |= {"model": "older", "seed": 9, "words": {}}  # the form that earlier versions wrote
    partial.write_text(json.dumps(content))
    server = stub()
    done = ask(server, output)
    assert done.returncode == 0, done.stderr
    assert "4 sentences of another request: set aside" in done.stderr and len(server.requests) == 20
    assert json.loads((tmp_path / "prompts.partial-1").read_text()) == content
    assert read_prompts(output).origin["others"] == [{"model": "older", "sampling": {"seed": 9}, "sentences": 4}]
    output.unlink()
    partial.write_text(kept[:300])
    assert ask(stub(), output).returncode == 0
    assert (tmp_path / "prompts.partial-2").read_text() == kept[:300]


STREAM = (
    'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
    ': ping\n\ndata: {"choices":[{"index":0,"delta":{"content":"an "},"finish_reason":null}]}\r\n\r\n'
    'data: {"choices":[{"index":0,"delta":{"content":"answer"},"finish_reason":null}]}\n\n'
    'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    'data: {"choices":[],"usage":{"total_tokens":5}}\n\ndata: [DONE]\n\n'
)
PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "an answer"}]


@pytest.mark.parametrize("content", [STREAM.encode(), {"content": PARTS}, {"content": "an answer", "reasoning": "hm"}])
def test_streams_and_parts_are_answers(stub, content):
    assert answers(stub(lambda number, right: (200, content)).url)[0] == ["an answer"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no text"),
        (b"plain words", "plain words"),
        (b'{"error":{"message":"Provider returned error","code":503}}', "HTTP 503 in the text of a 200: Provider"),
        (b'data: {"error":{"message":"out of memory"}}\n\n', "out of memory"),
        (b'{"error":{"message":"x","metadata":{"raw":"upstream is full"}}}', "upstream is full"),
        (b"[" * 100_000, "[[["),
        (b"\xff\xfe\x00", "HTTP 502"),
        (b"null", "HTTP 502"),
    ],
)
def test_a_200_that_is_no_answer_is_asked_again(stub, content, said):
    server = stub(lambda number, right: (200, content) if number < 3 else (200, right))
    assert answers(server.url)[0] == ["an answer"]
    with pytest.raises(UserError, match="after 3 attempts") as raised:
        answers(stub(lambda number, right: (200, content)).url)
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_redirects_within_a_server_are_followed_and_others_told(stub):
    elsewhere = stub()

    def mischief(number, right):
        return 301, "moved", {"Location": target}

    server = stub(mischief, paths=("/v1/chat/completions", "/old"))
    target = f"{elsewhere.root.replace('127.0.0.1', 'localhost')}/v1/chat/completions"
    with pytest.raises(UserError, match="redirects to http://localhost"):
        answers(server.url)
    assert not elsewhere.requests  # the key stays
    target = "/old"
    server.mischief = lambda number, right: (308, "", {"Location": target}) if number < 3 else (200, right)
    assert answers(server.url)[0] == ["an answer"]
    assert server.requests[-1][0] == "/old"
    server.mischief = lambda number, right: (302, "", {"Location": f"/v1/chat/completions?n={number}"})
    server.paths = [f"/v1/chat/completions{end}" for end in ("", *(f"?n={n}" for n in range(99)))]
    with pytest.raises(UserError, match="redirects to"):
        answers(server.url)


def rude_server(manner):
    """A server that treats each connection in that manner; its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            connection, _ = listener.accept()
            with connection:
                manner(connection)

    threading.Thread(target=serve, daemon=True).start()
    return f"127.0.0.1:{listener.getsockname()[1]}"


def half_an_answer(connection):
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")


@pytest.mark.parametrize("manner", [lambda connection: None, half_an_answer, lambda c: c.sendall(b"hello\r\n")])
def test_connections_that_break_are_tried_again_and_told_in_a_line(manner):
    with pytest.raises(UserError, match="after 3 attempts") as raised:
        answers(f"http://{rude_server(manner)}")
    assert "\n" not in str(raised.value)


def test_time_outs_tls_and_proxies_in_a_line(stub, monkeypatch):
    slow = rude_server(lambda connection: connection.recv(65536) and threading.Event().wait(1))
    with pytest.raises(UserError, match="longer --timeout"):
        answers(f"http://{slow}", timeout=0.1, retries=0)
    with pytest.raises(UserError, match="no secure connection.*write http://"):
        answers(stub().url.replace("http:", "https:"))
    monkeypatch.setenv("http_proxy", "http://me:sesame@127.0.0.1:9")
    with pytest.raises(UserError, match="proxy") as raised:
        answers("http://somewhere.invalid")
    assert "sesame" not in str(raised.value) and "\n" not in str(raised.value)


THOUGHTS = [
    "<think>\nOkay, one caption.\nPortrait face photo of?\n</think>\n\n{}",
    "Okay, the template opened it.\n</think>\n{}",
    "<think></think>{}",
    "[THINK]Hm.[/THINK]{}",
    "<thinking>a</thinking>\n<think>b</think>\n{}",
]


@pytest.mark.parametrize("form", THOUGHTS)
def test_thoughts_before_the_answer_are_left_out(stub, tmp_path, form):
    output = tmp_path / "prompts.json"
    done = ask(stub(lambda number, right: (200, form.format(right))), output, "--attempts", 1)
    assert done.returncode == 0, done.stderr
    assert "think" not in json.dumps(read_prompts(output).prompts).lower()


@pytest.mark.parametrize(
    "message",
    [
        {"content": "<think>\nOkay, the user wants", "finish_reason": "length"},
        {"content": "Okay, the user wants", "finish_reason": "length"},
        {"content": None, "reasoning_content": "Okay, the user wants", "finish_reason": "length"},
        {"content": "", "reasoning": "Okay", "finish_reason": "stop"},
        {"content": "", "finish_reason": "length"},
    ],
)
def test_an_answer_cut_off_in_its_thoughts_names_the_flag(stub, tmp_path, message):
    failed = ask(stub(lambda number, right: (200, dict(message))), tmp_path / "prompts.json", "--attempts", 1)
    assert_one_line_error(failed, "24 of 24 sentences")
    assert failed.stderr.count("--max-new-tokens") == 10  # of the ten that are shown


def test_flags_of_the_endpoint(stub, tmp_path):
    for flags in (["--retries", "-1"], ["--timeout", "0"]):
        assert ask(stub(), tmp_path / "prompts.json", *flags).returncode == 2
    server = stub()
    assert ask(server, tmp_path / "prompts.json", "--retries", 0).returncode == 0
