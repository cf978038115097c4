"""The running services: one without a rate limit for most tests, and others with the settings under test.

The others end with the package: a service that nobody calls still takes some percent of a core.
"""

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fixtures.service import RunningService

from .api import Api, open_api, serving


@pytest.fixture(scope="session")
def api(service: RunningService) -> Iterator[Api]:
    """The service that most tests share. Each test has its own events and users."""
    with open_api(service) as api:
        yield api


@pytest.fixture(scope="package")
def busy_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A service of two workers with the default rate limits."""
    with serving(tmp_path_factory.mktemp("limits") / "data", {"BOOKING_WORKERS": "2"}) as api:
        yield api


@pytest.fixture(scope="package")
def outside_key() -> ec.EllipticCurvePrivateKey:
    """The private key of an external identity provider."""
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="package")
def strict_api(tmp_path_factory: pytest.TempPathFactory, outside_key: ec.EllipticCurvePrivateKey) -> Iterator[Api]:
    """A service with an external key, an issuer, an audience, a leeway and two allowed origins."""
    folder = tmp_path_factory.mktemp("strict")
    pem = folder / "key.pem"
    pem.write_bytes(
        outside_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    environment = {
        "BOOKING_RATE_LIMIT": "off",
        "BOOKING_JWT_PUBLIC_KEY": str(pem),
        "BOOKING_JWT_ISSUER": "https://id.example.com",
        "BOOKING_JWT_AUDIENCE": "booking",
        "BOOKING_JWT_LEEWAY_SECONDS": "30",
        "BOOKING_CORS_ORIGINS": "https://shop.example.com, http://localhost:5173",
    }
    with serving(folder / "data", environment) as api:
        yield api
