"""Renewal by ACME, last of its folder: Traefik looks once a minute, which is no time to sit and wait."""

from __future__ import annotations

import ssl

import pytest
from cryptography import x509

from tests.tls.front import BASE
from tests.tls.pebble import Boxed


@pytest.mark.docker
@pytest.mark.limit(180)
def test_a_certificate_near_its_end_is_renewed_while_traefik_runs(by_http: Boxed) -> None:
    first = by_http.front.shown(BASE, ssl.create_default_context(cafile=by_http.authority.root))
    started = by_http.front.started_at()
    renewed = by_http.front.wait_for(BASE, by_http.authority.root, other_than=first, within_s=100)
    before = x509.load_pem_x509_certificate(first.encode())
    assert renewed.not_valid_after_utc > before.not_valid_after_utc
    assert by_http.front.started_at() == started
