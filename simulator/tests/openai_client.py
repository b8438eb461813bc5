"""The official client of OpenAI, as OpenAI and as AzureOpenAI, against `p2psim mock embeddings`.

Arguments: the mock's address, its key.
"""

import base64
import struct
import sys

import openai

address, key = sys.argv[1:]
texts = ["a sword of fire", "a shield of fire", "\N{DRAGON} \"quoted\"\n"]


def check(client, name):
    given = {}
    for encoding in ("float", "base64", None):
        asked = {} if encoding is None else {"encoding_format": encoding}
        answer = client.embeddings.create(input=texts, model="text-embedding-ada-002", **asked)
        vectors = [item.embedding for item in sorted(answer.data, key=lambda item: item.index)]
        if encoding == "base64":
            vectors = [vector if not isinstance(vector, str) else decode(vector) for vector in vectors]
        assert [len(vector) for vector in vectors] == [1536] * len(texts), (name, encoding)
        given[encoding] = [[struct.unpack("<f", struct.pack("<f", n))[0] for n in vector] for vector in vectors]
    assert given["float"] == given["base64"] == given[None], name
    assert len({tuple(vector) for vector in given["float"]}) == len(texts), name
    one = client.embeddings.create(input=texts[0], model="text-embedding-ada-002", encoding_format="float")
    assert len(one.data) == 1, name
    return given["float"]


def decode(text):
    raw = base64.b64decode(text)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def refused(client, name):
    try:
        client.embeddings.create(input=texts, model="text-embedding-ada-002")
    except openai.AuthenticationError:
        return
    raise AssertionError(f"{name}: a wrong key was taken")


def as_openai(key):
    return openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0)


def as_azure(key):
    return openai.AzureOpenAI(azure_endpoint=address, api_key=key, api_version="2023-05-15", max_retries=0)


assert check(as_openai(key), "OpenAI") == check(as_azure(key), "AzureOpenAI")
refused(as_openai("another"), "OpenAI")
refused(as_azure("another"), "AzureOpenAI")
print(f"openai {openai.__version__}: OpenAI and AzureOpenAI got their vectors in float and base64")
