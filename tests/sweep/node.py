"""One node of a Ray cluster on loopback, in a process of its own; prints the head's address and its pids.

`ray start` refuses to join on loopback alone; Ray's own tests start their nodes as this does.
"""

import json
import sys
import time

from ray._private.node import Node
from ray._private.parameter import RayParams

head, cpus, folder = sys.argv[1:]
options = dict(
    num_cpus=int(cpus), num_gpus=0, object_store_memory=80_000_000, include_dashboard=False,
    include_log_monitor=False, temp_dir=folder, node_ip_address="127.0.0.1",
)
if head != "head":
    options["gcs_address"] = head
node = Node(RayParams(**options), head=head == "head", shutdown_at_exit=False, spawn_reaper=False)
gcs = [info.process.pid for info in node.all_processes.get("gcs_server", [])]
print(json.dumps({"address": node.gcs_address, "node": node.node_id, "gcs": gcs}), flush=True)
time.sleep(3600)
