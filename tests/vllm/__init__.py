"""A real vLLM, its CPU build, with a model made by the test: `tests/run vllm`."""
