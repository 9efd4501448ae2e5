"""No module imports itself by way of others, imports within functions counted; what is heavy is not imported early."""

import subprocess
import sys

import grimp
import networkx
import pytest


def circles(graph):
    """Groups of modules that import each other."""
    return [sorted(group) for group in networkx.strongly_connected_components(graph) if len(group) > 1]


@pytest.fixture(scope="module")
def imports():
    made = grimp.build_graph("flows", "measure", "tasks", exclude_type_checking_imports=True, cache_dir=None)
    graph = networkx.DiGraph()
    for module in made.modules:
        graph.add_edges_from((module, other) for other in made.find_modules_directly_imported_by(module))
    return graph


def test_no_import_circle(imports):
    assert imports.has_edge("tasks.core.engine.open", "tasks.core.engine.vllm"), "imports within functions are seen"
    assert circles(imports) == []


def test_a_circle_would_be_found(imports):
    changed = imports.copy()
    changed.add_edge("tasks.core.engine.types", "tasks.core.engine.open")
    [circle] = circles(changed)
    assert {"tasks.core.engine.types", "tasks.core.engine.open"} <= set(circle)


def test_a_grpo_process_leaves_vllm_alone_until_it_is_asked_for():
    """TRL imports it whole where it is installed, which doubles what a process imports."""
    code = (
        "import sys, tasks.grpo.train\n"
        "assert sys.modules['trl.import_utils'].is_vllm_available.__module__ == 'trl.import_utils'\n"
        "print([name for name in sys.modules if name.partition('.')[0] == 'vllm'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout == "[]\n", done.stdout + done.stderr[-2000:]
