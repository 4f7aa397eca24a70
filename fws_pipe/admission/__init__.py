"""Who may come in: by token, by page, by address, and by how many there are already.

    a request -> proxies (who asks) -> origins, quotas, tokens -> Admission, or a Refusal

Rule: these decide, and say why. Another room reads the request, and another one writes the answer.
"""
