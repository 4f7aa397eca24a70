"""Admission: decides whether a client may connect, by its token, its page, its address and the quotas.

    a request -> proxies (the client's address) -> origins, quotas, tokens -> Admission, or a Refusal

Rule: these modules decide, and say why. `http` parses the request, `front` writes the answer.
"""
