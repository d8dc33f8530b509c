#!/usr/bin/env python3
"""What the Python client's dynamic discovery learns of a cluster's API.

    KUBECONFIG=FILE discover.py lazy|eager                            everything: one line a resource, sorted
    KUBECONFIG=FILE discover.py lazy|eager API-VERSION KIND           finds a kind and lists its objects
"""
import os
import sys
import tempfile

from kubernetes import config
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.discovery import EagerDiscoverer, LazyDiscoverer
from kubernetes.dynamic.resource import Resource


def main(way, *wanted):
    way = {"lazy": LazyDiscoverer, "eager": EagerDiscoverer}[way]
    with tempfile.TemporaryDirectory() as folder:
        cache = os.path.join(folder, "cache")
        client = DynamicClient(config.new_client_from_config(), cache_file=cache, discoverer=way)
        if wanted:
            version, kind = wanted
            found = client.resources.get(api_version=version, kind=kind)
            objects = found.get().to_dict()
            print(found.group_version, found.name, objects["kind"])
            return
        lines = set()
        for resource in client.resources.search():
            if not isinstance(resource, Resource):
                continue
            verbs = ",".join(sorted(resource.verbs or []))
            scope = "namespaced" if resource.namespaced else "cluster"
            subresources = ",".join(sorted(resource.subresources or []))
            lines.add(f"{resource.group_version} {resource.name} {resource.kind} {scope} {verbs} [{subresources}]")
        print("\n".join(sorted(lines)))


main(*sys.argv[1:])
