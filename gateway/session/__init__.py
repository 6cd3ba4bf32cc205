"""Sign-in for the pages: the refresh token is in a cookie that no script reads."""
