"""The endpoints in LitServe, which has one way to run a method: `python -m benchmarks.peers.lit PORT`.

Its annotations are read when it starts, so they are no strings here.
"""

import sys
import time

import litserve
from pydantic import BaseModel


class Text(BaseModel):
    text: str


class Noop(litserve.LitAPI):  # type: ignore[misc] # LitServe ships no types
    wait_s = 0.0

    def setup(self, device: str) -> None:
        """There is no model."""

    def decode_request(self, request: Text) -> str:
        return request.text

    def predict(self, x: str) -> str:
        if self.wait_s:
            time.sleep(self.wait_s)
        return x

    def encode_response(self, output: str) -> dict[str, str]:
        return {"result": output}


class TenMs(Noop):
    wait_s = 0.01


if __name__ == "__main__":
    server = litserve.LitServer([Noop(api_path="/noop"), TenMs(api_path="/ten_ms")], accelerator="cpu")
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        generate_client_file=False,
        log_level="warning",
        access_log=False,
        num_api_servers=1,
        pretty_logs=False,
    )
