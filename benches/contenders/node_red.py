"""Node-RED: `mqtt in` and a function node with npm's `pg` and its pool; one UPDATE a message.

This module writes the flow and becomes Node-RED. mqtt.js acknowledges a message when the flow has been given it.
"""

import json
import os
from pathlib import Path
from typing import Any

from benches.contenders.place import HOST, SESSION_EXPIRY_S, TOPIC

SETTINGS = """module.exports = {
    flowFile: "flows.json", uiHost: "127.0.0.1", uiPort: 0, httpAdminRoot: false, httpNodeRoot: false,
    credentialSecret: false, telemetry: { enabled: false }, logging: { console: { level: "warn" } },
};
"""
ON_START = 'context.set("pool", new pg.Pool({ connectionString: env.get("BENCH_DATABASE") }));'
ON_MESSAGE = """
const { battery, rssi, ts } = msg.payload;
const device = msg.topic.split("/")[1];
await context.get("pool").query(
    "update devices set battery_level = $3, signal_strength = $4, last_seen = to_timestamp($5), status = 'online',"
    + " updated_at = now() where integration_id = $1 and external_device_id = $2",
    [env.get("BENCH_INTEGRATION_ID"), device, battery, rssi, ts / 1e6]);
"""


def flow() -> list[dict[str, Any]]:
    """Return the flow: a persistent session, QoS 1. Node-RED itself puts in what stands in the environment."""
    broker = {
        "id": "broker",
        "type": "mqtt-broker",
        "broker": HOST,
        "port": "${BENCH_PORT}",
        "clientid": "${BENCH_CLIENT_ID}",
        "autoConnect": True,
        "protocolVersion": "5",
        "keepalive": "60",
        "cleansession": False,
        "autoUnsubscribe": False,
        "sessionExpiry": str(SESSION_EXPIRY_S),
    }
    source = {
        "id": "in",
        "type": "mqtt in",
        "z": "flow",
        "broker": "broker",
        "topic": TOPIC,
        "qos": "1",
        "datatype": "json",
        "inputs": 0,
        "wires": [["store"]],
    }
    store = {
        "id": "store",
        "type": "function",
        "z": "flow",
        "initialize": ON_START,
        "func": ON_MESSAGE,
        "libs": [{"var": "pg", "module": "pg"}],
        "outputs": 0,
        "wires": [],
    }
    return [{"id": "flow", "type": "tab", "label": "devices"}, broker, source, store]


def write(user: Path) -> list[str]:
    """Write settings and flow into Node-RED's user folder; return the command that runs them."""
    (user / "settings.js").write_text(SETTINGS)
    (user / "flows.json").write_text(json.dumps(flow()))
    modules = user / "node_modules"
    return [str(modules / ".bin" / "node"), str(modules / "node-red" / "red.js"), "--userDir", str(user)]


if __name__ == "__main__":
    command = write(Path(os.environ["BENCH_NODE_RED"]))
    os.execv(command[0], command)
