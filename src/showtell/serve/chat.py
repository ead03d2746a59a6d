"""The routes of OpenAI's API that captioning tools use. Prompts and everything about sampling are ignored."""

import json
import time
import uuid
from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, StrictBool, StrictInt

from showtell.config.generation import DecodingOptions
from showtell.serve.answers import Outcome
from showtell.serve.problems import Problem


class ChatMessage(BaseModel):
    """A message: text, or parts of which some are images."""

    role: str = "user"
    content: str | list[dict[str, Any]] | None = None


class ChatRequest(BaseModel):
    """What is read of a request; all other members are ignored."""

    messages: list[ChatMessage]
    stream: StrictBool | None = None
    max_tokens: StrictInt | None = Field(None, ge=1)
    max_completion_tokens: StrictInt | None = Field(None, ge=1)

    def image(self) -> str:
        """Return the image of the last message that has one; the problem 400 if it has none, or several."""
        for message in reversed(self.messages):
            parts = message.content if isinstance(message.content, list) else []
            images = [part.get("image_url") for part in parts if part.get("type") == "image_url"]
            if len(images) > 1:
                hint = "Send a request for each image, or use POST /v1/captions"
                raise Problem(
                    400,
                    f"the message has {len(images)} images, and one is captioned",
                    hint=hint,
                    param="messages",
                )
            if images:
                url = images[0].get("url") if isinstance(images[0], dict) else images[0]
                if isinstance(url, str):
                    return url
        hint = (
            'Add {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,..."}} to a user message'
        )
        raise Problem(400, "no message has an image", hint=hint, param="messages")

    def options(self, defaults: DecodingOptions) -> dict[str, Any]:
        """Return the options that differ from the captioner's: a limit that is lower than its own."""
        limit = min(filter(None, (self.max_tokens, self.max_completion_tokens)), default=defaults.max_tokens)
        if limit >= defaults.max_tokens:
            return {}
        return {"max_tokens": limit, "min_tokens": min(limit, defaults.min_tokens)}


def chat_answer(chat: ChatRequest, outcome: Outcome, model: str) -> Response:
    """Return a caption as the answer of an assistant, at once or as events."""
    caption = outcome.caption
    assert caption is not None
    reason, content = "length" if caption.truncated else "stop", as_sentence(caption.text)
    common = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
    if not chat.stream:
        message = {"role": "assistant", "content": content}
        usage = {
            "prompt_tokens": 0,
            "completion_tokens": len(caption.words),
            "total_tokens": len(caption.words),
        }
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return JSONResponse({**common, "object": "chat.completion", "choices": [choice], "usage": usage})
    first, last = {"role": "assistant", "content": content}, dict[str, str]()
    chunks = [
        {**common, "object": "chat.completion.chunk", "choices": [choice]}
        for choice in (
            {"index": 0, "delta": first, "finish_reason": None},
            {"index": 0, "delta": last, "finish_reason": reason},
        )
    ]
    text = "".join(f"data: {data}\n\n" for data in (*map(json.dumps, chunks), "[DONE]"))
    return Response(text, media_type="text/event-stream")


def describe_models(model: str, name: str = "") -> dict[str, Any]:
    """Return the answer of ``GET /v1/models``, or of ``/v1/models/NAME``; a problem 404 if that is another one."""
    one = {"id": model, "object": "model", "created": 0, "owned_by": "showtell"}
    if name not in ("", model):
        raise Problem(404, "no such model", title="Model not found", hint=f"The only one is '{model}'")
    return one if name else {"object": "list", "data": [one]}


def as_sentence(text: str) -> str:
    """Return a caption with a capital and a full stop: tools cut an answer at its last one."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")
