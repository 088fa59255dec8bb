import copy
import json

import pytest

from reports.loading.load import load_report_data


@pytest.fixture(scope="session")
def load(tmp_path_factory):
    """Documents as the data of a report."""
    folder = tmp_path_factory.mktemp("overview")

    def load_documents(*documents):
        files = []
        for document in documents:
            files.append(folder / f"{len(list(folder.iterdir()))}.json")
            files[-1].write_text(json.dumps(document), encoding="utf-8")
        return load_report_data(files)

    return load_documents


@pytest.fixture(scope="session")
def bench(pristine, pristine_language):
    """A file with benchmarks of both kinds."""
    document = copy.deepcopy(pristine)
    document["benchmarks"] += copy.deepcopy(pristine_language["benchmarks"])
    document["study"]["language_model"] = pristine_language["study"]["language_model"]
    return document


@pytest.fixture(scope="session")
def data(load, bench):
    return load(bench)


@pytest.fixture(scope="session")
def tuned(load, bench, pristine_tuning):
    return load(bench, pristine_tuning)


@pytest.fixture(scope="session")
def many(pristine):
    """A file of forty routers, whose times and loads are those of two."""
    document = dict(pristine)
    wanted = [
        b
        for b in pristine["benchmarks"]
        if b["extra_info"]["router"] in ("linear", "mlp")
        and (b["extra_info"]["scenario"], b["extra_info"]["input"]) in (("router", "random"), ("router", "contextual"))
    ]
    document["benchmarks"] = []
    for place in range(40):
        for benchmark in wanted[place % 2 :: 2] if place > 1 else wanted[place::2]:
            twin = copy.deepcopy(benchmark)
            if place > 1:
                twin["extra_info"]["router"] = f"a_variant_of_some_length_{place}"
            document["benchmarks"].append(twin)
    return document
