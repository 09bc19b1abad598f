"""Answers in the shapes that model servers send, and what the meter must read in each.

Written after what each server sends: field order, spacing, separators and the place of `usage` differ between them.
"""

from __future__ import annotations

from clawloops.model.usage import Tokens

_OPENAI = (
    'data: {"id":"chatcmpl-A","object":"chat.completion.chunk","created":1,"model":"gpt-x","service_tier":"default",'
)
_OLLAMA = (
    'data: {"id":"chatcmpl-7","object":"chat.completion.chunk","created":1,"model":"qwen3","system_fingerprint":"f",'
)
_VLLM = 'data: {"id":"cmpl-9","object":"chat.completion.chunk","created":1,"model":"m","choices":['
_LITELLM = 'data: {"id":"x","created":1,"model":"anthropic/c","object":"chat.completion.chunk","choices":['
DONE = "data: [DONE]\n\n"

STREAMS: dict[str, tuple[list[str], Tokens]] = {
    "openai": (
        [
            _OPENAI
            + '"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null,'
            '"obfuscation":"x1"}\n\n',
            _OPENAI
            + '"choices":[{"index":0,"delta":{"content":"Gr\\u00fc\\u00df"},"finish_reason":null}],"usage":null}\n\n',
            _OPENAI + '"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\n\n',
            _OPENAI + '"choices":[],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,'
            '"prompt_tokens_details":{"cached_tokens":8,"audio_tokens":0},"completion_tokens_details":'
            '{"reasoning_tokens":3,"audio_tokens":0,"accepted_prediction_tokens":0}}}\n\n' + DONE,
        ],
        Tokens(19, 10, 8, 3),
    ),
    "ollama, one byte at a time": (
        list(
            _OLLAMA
            + '"choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":null}]}\n\n'
            + _OLLAMA
            + '"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop"}]}\n\n'
            + _OLLAMA
            + '"choices":[],"usage":{"prompt_tokens":26,"completion_tokens":2,"total_tokens":28}}\n\n'
            + DONE
        ),
        Tokens(26, 2),
    ),
    "vllm, two events in one piece": (
        [
            _VLLM
            + '{"index":0,"delta":{"reasoning_content":"hm","content":null},"finish_reason":null}]}\n\n'
            + _VLLM
            + '{"index":0,"delta":{"content":"a"},"finish_reason":"stop","stop_reason":null}]}\n\n',
            _VLLM + '],"usage":{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2,"prompt_tokens_details":null}}'
            "\n\n",
            DONE,
        ],
        Tokens(5, 2),
    ),
    "llama.cpp, usage beside timings": (
        [
            'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"x"}}],"created":1,"id":"c"}\n\n',
            'data: {"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"created":1,"id":"c","usage":'
            '{"completion_tokens":9,"prompt_tokens":4,"total_tokens":13},"timings":{"prompt_n":4}}\n\n',
            DONE,
        ],
        Tokens(4, 9),
    ),
    "litellm, an empty choice beside the usage": (
        [
            _LITELLM + '{"index":0,"delta":{"content":"Hi","role":"assistant"}}]}\n\n',
            _LITELLM + '{"finish_reason":"stop","index":0,"delta":{}}]}\n\n',
            _LITELLM + '{"index":0,"delta":{}}],"usage":{"completion_tokens":3,"prompt_tokens":7,"total_tokens":10,'
            '"prompt_tokens_details":{"cached_tokens":2}}}\n\n',
            DONE,
        ],
        Tokens(7, 3, 2),
    ),
    "CRLF, comments and fields of SSE": (
        [
            ": KEEPALIVE\r\n\r\n",
            'event: message\r\nid: 1\r\ndata: {"choices":[{"index":0,"delta":{"content":"a"}}]}\r',
            '\n\r\n: KEEPALIVE\r\n\r\ndata: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\r\n',
            "\r\ndata: [DONE]\r\n\r\n",
        ],
        Tokens(1, 1),
    ),
    "tool call, with words that look like usage": (
        [
            'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t","type":"function","function":'
            '{"name":"f","arguments":"{\\"usage\\": {\\"prompt_tokens\\": 999}}"}}]},"finish_reason":null}]}\n\n',
            'data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}\n\n',
            'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":6}}\n\n',
            DONE,
        ],
        Tokens(3, 6),
    ),
    "no usage and no end mark": (
        ['data: {"choices":[{"delta":{"content":"a"}}]}\n\n', 'data: {"choices":[{"delta":{"content":"b"}}]}\n\n'],
        Tokens(0, 2),
    ),
    "an error in mid-stream": (
        [
            'data: {"choices":[{"delta":{"content":"a"}}]}\n\n',
            'data: {"error":{"message":"overloaded","code":529}}\n\n',
        ],
        Tokens(0, 2),
    ),
    "an unfinished event at the end": (
        ['data: {"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":1}}\n\n', "data: [DO"],
        Tokens(2, 1),
    ),
}

BODIES: dict[str, tuple[str, Tokens]] = {
    "openai": (
        '{\n  "id": "chatcmpl-B",\n  "object": "chat.completion",\n  "choices": [\n    {\n      "index": 0,\n'
        '      "message": {"role": "assistant", "content": "\\"usage\\": {\\"prompt_tokens\\": 999}"}}\n  ],\n'
        '  "usage": {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29},\n'
        '  "service_tier": "default"\n}\n',
        Tokens(19, 10),
    ),
    "usage first": ('{"usage":{"prompt_tokens":2,"completion_tokens":1},"choices":[]}', Tokens(2, 1)),
    "no usage": ('{"choices":[]}', Tokens()),
    "not JSON": ("hello", Tokens()),
    "large": (
        '{"data":[' + '"' + "x" * 3_000_000 + '"],"usage":{"prompt_tokens":8,"total_tokens":8}}',
        Tokens(8, 0),
    ),
}
