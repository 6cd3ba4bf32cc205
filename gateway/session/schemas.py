"""The bodies of the responses of a page's session; that of a sign-in is `TokenCreate`."""

from pydantic import BaseModel


class SessionUser(BaseModel):
    id: int
    username: str


class Session(BaseModel):
    """`expires_in`: seconds until the access token expires."""

    access: str
    expires_in: int
    user: SessionUser
