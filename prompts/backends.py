"""Language models that run here with transformers."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import logging as transformers_logging

from prompts.decoding import Decoding
from prompts.replies import Reply
from utils.arguments import PRECISIONS
from utils.errors import UserError
from utils.machine import why_not_fetched


class LocalModel:
    """A chat model of transformers: a hub id, a local folder, or a GGUF file.

    Raises `UserError` if it cannot be loaded or has no chat template.
    """

    def __init__(self, model: str, device: torch.device, precision: str | None, sampling: Decoding):
        transformers_logging.disable_progress_bar()
        transformers_logging.set_verbosity_error()
        source, options = model, {}
        if model.endswith(".gguf"):
            source, options = str(Path(model).expanduser().parent), {"gguf_file": Path(model).name}
        dtype = getattr(torch, PRECISIONS[precision or ("fp32" if device.type == "cpu" else "fp16")])
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left", **options)
            self.model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, **options).to(device).eval()
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            hint = "; reading GGUF takes pip install gguf" if options and isinstance(error, ImportError) else ""
            raise UserError(
                f"--model {model}: cannot be loaded ({why_not_fetched(error)}){hint}; give a hub id that can "
                "be reached, a folder or a .gguf file"
            ) from error
        if not self.tokenizer.chat_template:
            raise UserError(f"--model {model}: has no chat template; give an instruct model")
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.sampling = sampling

    @torch.inference_mode()
    def answer(self, questions: list[str], openings: list[str], seed: int) -> list[tuple[int, Reply]]:
        """Return the number and `Reply` of each question, without special tokens; the same for the same questions and seed.

        The model continues after the opening, as if it had written it, so that even a small model begins as told. It
        is asked not to think first.
        """
        openings = [f"{opening}," for opening in openings]
        chats = [self._chat(question) + opening for question, opening in zip(questions, openings, strict=True)]
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
        )[:, inputs.input_ids.shape[1] :]
        texts = self.tokenizer.batch_decode(output, skip_special_tokens=True)
        return [
            (number, self._reply(opening, text, tokens))
            for number, (opening, text, tokens) in enumerate(zip(openings, texts, output.tolist(), strict=True))
        ]

    def sent(self, seed: int) -> dict:
        """Return the sampling, for the prompt file."""
        return {**vars(self.sampling), "seed": seed}

    def _chat(self, question: str) -> str:
        """Return the question in the model's template, up to where the answer begins."""
        chat = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            add_generation_prompt=True,
            tokenize=False,
            enable_thinking=False,  # Qwen3's and others' name; a template takes what it knows
            thinking=False,  # DeepSeek's and Granite's
        )
        if chat.rstrip().endswith("<think>"):  # a template that always opens it; an opening there would be a thought
            chat += "\n</think>\n\n"
        return chat

    def _reply(self, opening: str, text: str, tokens: list[int]) -> Reply:
        ends = self.model.generation_config.eos_token_id
        ends = {self.tokenizer.pad_token_id, *(ends if isinstance(ends, list) else [ends])}
        return Reply(f"{opening} {text.lstrip()}", cut_off=ends.isdisjoint(tokens))
