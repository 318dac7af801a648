"""paho-mqtt over WebSocket, plain and secure, in 3.1.1 and 5.0.

usage: websocket.py WS_HOST:PORT WSS_HOST:PORT CA_FILE
"""

import queue
import ssl
import sys

import paho.mqtt.client as mqtt

DEADLINE = 10
LARGE = bytes(range(256)) * 2048


def check(address, version, ca):
    came, granted = queue.Queue(), queue.Queue()
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2, f"ws-{version}-{bool(ca)}", protocol=version, transport="websockets"
    )
    client.ws_set_options(path="/mqtt")
    if ca:
        client.tls_set(ca_certs=ca, cert_reqs=ssl.CERT_REQUIRED)
    client.on_subscribe = lambda _c, _u, _mid, reasons, _p: granted.put(reasons)
    client.on_message = lambda _c, _u, message: came.put(message)
    host, port = address.rsplit(":", 1)
    client.connect(host, int(port))
    client.loop_start()
    topic = f"ws/{version}/{bool(ca)}"
    client.subscribe(topic, 2)
    granted.get(timeout=DEADLINE)
    for qos in (0, 1, 2):
        for payload in (b"", b"hello", LARGE):
            client.publish(topic, payload, qos).wait_for_publish(DEADLINE)
            message = came.get(timeout=DEADLINE)
            assert (message.payload, message.qos) == (payload, qos), (len(message.payload), message.qos)
    client.disconnect()
    client.loop_stop()


for version in (mqtt.MQTTv311, mqtt.MQTTv5):
    check(sys.argv[1], version, None)
    check(sys.argv[2], version, sys.argv[3])
