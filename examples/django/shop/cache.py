"""Reads through Redis. Nothing here, and nothing elsewhere, deletes a copy.

Redis is a help, never a condition: while it is away every read goes to the database. Every copy has a
time to live, which ends what no deletion can: a row that was read before a change and stored after it.
"""

import json

import redis
from django.conf import settings

client = redis.Redis.from_url(
    settings.REDIS_URL, socket_timeout=0.25, socket_connect_timeout=2, decode_responses=True
)


def read(key, load):
    """The value under `key`, else what `load` gives (None: nothing is stored), and where it is from."""
    try:
        copy = client.get(key)
    except redis.RedisError:
        # Not stored: it would arrive late, perhaps behind its own deletion.
        return load(), "off"
    if copy is not None:
        return json.loads(copy), "hit"
    value = load()
    if value is not None:
        try:
            client.set(key, json.dumps(value), ex=settings.CACHE_TTL)
        except redis.RedisError:
            pass
    return value, "miss"
