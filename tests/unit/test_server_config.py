"""No key gets into a config: what may hold one is refused, and the refusal does not repeat it."""

from __future__ import annotations

import pytest

from generation.config import GenerateConfig
from shepherd.config import load_config
from shepherd.errors import ShepherdError
from shepherd.serving import ServerConfig

KEY = "sk-secret-0123456789"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (f"server.base_url=http://user:{KEY}@host/v1", "server.base_url: must be host and path alone"),
        (f"server.base_url=http://{KEY}@host/v1", "server.base_url: must be host and path alone"),
        (f"server.base_url=http://host/v1?api-key={KEY}", "server.base_url: must be host and path alone"),
        (f"server.base_url=http://host/v1#{KEY}", "server.base_url: must be host and path alone"),
        (f"server.base_url={KEY}", "server.base_url: must be a URL as"),
        (f"server.base_url=http://[{KEY}/v1", "server.base_url: must be a URL as"),
        (f"server.base_url=http://host:{KEY}/v1", "server.base_url: must be a URL as"),
        (f"server.base_url=http://host/{KEY} x", "server.base_url: must be a URL as"),
        ("server.base_url=file:///etc/passwd", "server.base_url: must be a URL as"),
        (f"server.api_key={KEY}", "server.api_key: unknown key; did you mean api_key_env?"),
        (f"server={{api_key: {KEY}}}", "server.api_key: unknown key; did you mean api_key_env?"),
        (f"server.api_key_env={KEY}", "server.api_key_env: must be the name of an environment variable"),
        (
            "server.api_key_env=gsk_Secret0123",
            "server.api_key_env: must be the name of an environment variable",
        ),
    ],
)
def test_what_may_hold_a_key_is_refused_in_silence(override: str, said: str) -> None:
    with pytest.raises(ShepherdError) as caught:
        load_config(GenerateConfig, "generate", "embedded", [override])
    assert said in str(caught.value)
    assert KEY not in str(caught.value)
    assert "Secret0123" not in str(caught.value)


def test_a_config_made_in_python_is_as_silent() -> None:
    with pytest.raises(ValueError, match="host and path alone") as caught:
        ServerConfig(base_url=f"http://user:{KEY}@host/v1")
    assert KEY not in str(caught.value)


def test_a_plain_url_is_kept_without_its_last_slash() -> None:
    assert ServerConfig(base_url="https://host:8443/openai/v1/").base_url == "https://host:8443/openai/v1"
    assert ServerConfig(base_url="http://[::1]:8000/v1").base_url == "http://[::1]:8000/v1"
