"""Language models that answer one question at a time: run here with transformers, or behind an HTTP endpoint."""

import json
import os
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import logging as transformers_logging

from utils.errors import UserError

DEFAULT_MODEL = "Qwen/Qwen2.5-1.5B-Instruct"
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
ANSWER_LIMIT = 1_000_000  # bytes of an HTTP answer


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn. Temperature 0 takes the likeliest word each time."""

    temperature: float
    top_p: float
    max_new_tokens: int


class LocalModel:
    """A chat model of transformers: a hub id, a local folder, or a GGUF file.

    Raises `UserError` where it cannot be loaded or has no chat template.
    """

    def __init__(self, model: str, device: torch.device, precision: str | None, sampling: Sampling):
        transformers_logging.disable_progress_bar()
        transformers_logging.set_verbosity_error()
        source, options = model, {}
        if model.endswith(".gguf"):
            source, options = str(Path(model).expanduser().parent), {"gguf_file": Path(model).name}
        dtype = PRECISIONS[precision or ("fp32" if device.type == "cpu" else "fp16")]
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left", **options)
            self.model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, **options).to(device).eval()
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            hint = "; reading GGUF takes pip install gguf" if options and isinstance(error, ImportError) else ""
            raise UserError(
                f"--model {model}: cannot be loaded ({str(error).strip().splitlines()[0]}){hint}; give a hub id that can "
                "be reached, a folder or a .gguf file"
            ) from error
        if not self.tokenizer.chat_template:
            raise UserError(f"--model {model}: has no chat template; give an instruct model")
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.sampling = sampling

    @torch.inference_mode()
    def answer(self, questions: list[str], openings: list[str], seed: int) -> list[str]:
        """An answer to each question, without special tokens; the same for the same questions and seed.

        Each opening is put into the model's mouth: it goes on after it, so that even a small model begins as told.
        """
        openings = [f"{opening}," for opening in openings]
        chats = [
            self.tokenizer.apply_chat_template(
                [{"role": "user", "content": question}], add_generation_prompt=True, tokenize=False
            )
            + opening
            for question, opening in zip(questions, openings, strict=True)
        ]
        inputs = self.tokenizer(chats, return_tensors="pt", padding=True, add_special_tokens=False)
        inputs = inputs.to(self.model.device)
        torch.manual_seed(seed)
        sampling = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if self.sampling.temperature > 0:
            sampling = {"do_sample": True, "temperature": self.sampling.temperature, "top_p": self.sampling.top_p}
        output = self.model.generate(
            input_ids=inputs.input_ids,
            attention_mask=inputs.attention_mask,
            max_new_tokens=self.sampling.max_new_tokens,
            pad_token_id=self.tokenizer.pad_token_id,
            **sampling,
        )
        texts = self.tokenizer.batch_decode(output[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
        return [f"{opening} {text.lstrip()}" for opening, text in zip(openings, texts, strict=True)]


class Endpoint:
    """An OpenAI-compatible HTTP endpoint, such as a local server's `http://localhost:8000/v1`.

    The key is taken from the environment variable `key_variable` where it is set, and is stored nowhere.
    """

    def __init__(
        self, base_url: str, model: str, sampling: Sampling, *, key_variable: str, timeout: float, retries: int
    ):
        if not base_url.startswith(("http://", "https://")):
            raise UserError(f"--base-url {base_url}: must begin with http:// or https://")
        self.url = base_url.rstrip("/") + "/chat/completions"
        self.model, self.sampling, self.timeout, self.retries = model, sampling, timeout, retries
        self.key_variable = key_variable

    def answer(self, questions: list[str], openings: list[str], seed: int) -> list[str]:
        """An answer to each question, asked side by side; an empty one where the endpoint's reply makes no sense.

        The openings are part of the questions already, and there is no common way to begin an answer for the model.
        Raises `UserError` where the endpoint refuses or, after all retries, cannot be reached.
        """
        with ThreadPoolExecutor(max_workers=len(questions)) as pool:
            return list(pool.map(lambda numbered: self._ask(numbered[1], seed + numbered[0]), enumerate(questions)))

    def _ask(self, question: str, seed: int) -> str:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": question}],
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "max_tokens": self.sampling.max_new_tokens,
            "seed": seed % 2**31,
        }
        headers = {"Content-Type": "application/json"}
        if os.environ.get(self.key_variable):
            headers["Authorization"] = f"Bearer {os.environ[self.key_variable]}"
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers)
        for attempt in range(self.retries + 1):
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as reply:
                    content = json.loads(reply.read(ANSWER_LIMIT))
                text = content["choices"][0]["message"]["content"]
                return text if isinstance(text, str) else ""
            except (KeyError, IndexError, TypeError, ValueError):
                return ""
            except urllib.error.HTTPError as error:
                reason = f"HTTP {error.code} {error.reason}"
                if error.code != 429 and error.code < 500:
                    hint = f"; put the key into {self.key_variable}" if error.code in (401, 403) else ""
                    raise UserError(f"--base-url: {self.url} refuses: {reason}{hint}") from error
            except OSError as error:  # no connection, a reset, a time-out
                reason = str(getattr(error, "reason", error))
            if attempt < self.retries:
                time.sleep(min(2**attempt, 30) * 0.5)
        raise UserError(f"--base-url: no answer from {self.url} after {self.retries + 1} attempts ({reason})")
