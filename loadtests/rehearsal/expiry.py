"""When access tokens end, as they themselves say."""

import math

import jwt


def expires_at(token: str) -> float:
    """In Unix seconds; infinite where the token does not say, as an API key does not."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return math.inf
    return float(claims.get("exp", math.inf))
