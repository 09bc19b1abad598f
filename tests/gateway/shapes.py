"""Answers in the shapes that model servers send, and what the meter must read in each.

Written after what each server sends: field order, spacing, separators and the place of `usage` differ between them.
"""

from __future__ import annotations

from clawloops.gateway.endpoints import Usage
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

# Of the other forms; the last of a form's streams ends before it tells all.
OTHER_STREAMS: dict[str, tuple[Usage, list[str], Tokens]] = {
    "openai responses": (
        Usage.RESPONSES,
        [
            'event: response.created\ndata: {"type":"response.created","response":{"id":"r","usage":null}}\n\n',
            'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"a","item_id":"m"}',
            '\n\nevent: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":'
            '"\\"response.completed\\" \\"usage\\": {"}\n\n',
            'event: response.completed\ndata: {"type":"response.completed","response":{"id":"r","usage":{'
            '"input_tokens":36,"input_tokens_details":{"cached_tokens":12},"output_tokens":87,"output_tokens_details":'
            '{"reasoning_tokens":64},"total_tokens":123}}}\n\n',
        ],
        Tokens(36, 87, 12, 64),
    ),
    "responses through litellm, with chat's end mark": (
        Usage.RESPONSES,
        [
            'data: {"type":"response.output_text.delta","delta":"a","model":"x"}\n\n',
            'data: {"type": "response.incomplete", "response": {"usage": {"input_tokens": 3, "output_tokens": 1}}}\n\n',
            DONE,
        ],
        Tokens(3, 1),
    ),
    "responses, cut": (
        Usage.RESPONSES,
        [
            'data: {"type":"response.output_text.delta","delta":"a"}\n\n',
            'data: {"type":"response.output_text.delta","delta":"b"}\n\n',
        ],
        Tokens(0, 2),
    ),
    "anthropic messages": (
        Usage.MESSAGES,
        [
            'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":25,'
            '"cache_creation_input_tokens":5,"cache_read_input_tokens":100,"output_tokens":1}}}\n\n',
            'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text"}}'
            '\n\nevent: ping\ndata: {"type": "ping"}\n\n',
            'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",'
            '"text":"\\"message_stop\\""}}\n\nevent: content_block_stop\ndata: {"type":"content_block_stop"}\n\n',
            'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":'
            '{"output_tokens":15,"input_tokens":null}}\n\n',
            'event: message_stop\ndata: {"type":"message_stop"}\n\n',
        ],
        Tokens(130, 15, 100),
    ),
    "messages through litellm, counted at the end": (
        Usage.MESSAGES,
        [
            'event: message_start\ndata: {"type": "message_start", "message": {"usage": {"input_tokens": 0, '
            '"output_tokens": 0}}}\n\n',
            'event: content_block_delta\ndata: {"type": "content_block_delta", "delta": {"text": "a"}}\n\n',
            'event: message_delta\ndata: {"type": "message_delta", "delta": {}, "usage": {"input_tokens": 7, '
            '"output_tokens": 5, "cache_read_input_tokens": 4}}\n\n',
            'event: message_stop\ndata: {"type": "message_stop"}\n\n',
        ],
        Tokens(11, 5, 4),
    ),
    "messages, cut": (
        Usage.MESSAGES,
        [
            'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":9,'
            '"output_tokens":1}}}\n\n',
            'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"a"}}\n\n',
            'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"b"}}\n\n',
        ],
        Tokens(9, 2),
    ),
    "ollama chat": (
        Usage.LINES,
        [
            '{"model":"qwen3","created_at":"2026","message":{"role":"assistant","content":"\\"done\\":true"},'
            '"done":false}\n',
            '{"model":"qwen3","created_at":"2026","message":{"role":"assistant","content":""},"done":true,'
            '"done_reason":"stop","prompt_eval_count":26,"prompt_eval_duration":1,"eval_count":298}\n',
        ],
        Tokens(26, 298),
    ),
    "ollama generate, cut": (
        Usage.LINES,
        ['{"response":"a","done":false}\n', '{"response":"b","done":false}\n{"respon'],
        Tokens(0, 2),
    ),
}

OTHER_BODIES: dict[str, tuple[Usage, str, Tokens]] = {
    "responses": (
        Usage.RESPONSES,
        '{"id":"r","output":[],"usage":{"input_tokens":3,"output_tokens":2,"input_tokens_details":{"cached_tokens":1}}}',
        Tokens(3, 2, 1),
    ),
    "messages": (
        Usage.MESSAGES,
        '{"type":"message","content":[],"usage":{"input_tokens":3,"output_tokens":2,"cache_read_input_tokens":7}}',
        Tokens(10, 2, 7),
    ),
    "lines": (Usage.LINES, '{"response":"x","done":true,"prompt_eval_count":4,"eval_count":6}', Tokens(4, 6)),
    "large embeddings": (
        Usage.LINES,
        '{"embeddings":[[' + "0.1," * 900_000 + '0]],"load_duration":1,"prompt_eval_count":8}',
        Tokens(8),
    ),
    "no usage": (Usage.MESSAGES, '{"input_tokens":14}', Tokens()),
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
